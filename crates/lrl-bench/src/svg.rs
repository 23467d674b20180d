//! Two kinds of plots as SVG: panels of bars, and lines over a number. On white, so that they are readable on any page.

use std::fmt::Write;

/// One bar.
pub struct Bar {
    /// Which tool: decides the colour.
    pub series: usize,
    /// What stands before it.
    pub name: String,
    /// How long it is; not negative.
    pub value: f64,
    /// What stands behind it.
    pub label: String,
}

/// A heading and its bars, on a scale of their own that begins at 0.
pub struct Panel {
    /// The heading.
    pub title: String,
    /// The bars from top to bottom.
    pub bars: Vec<Bar>,
}

/// One line.
pub struct Line {
    /// Which tool: decides the colour.
    pub series: usize,
    /// What stands in the legend.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// What the axes of a plot of lines say, with units.
pub struct Axes<'a> {
    /// The heading.
    pub title: &'a str,
    /// Below the horizontal axis.
    pub x: &'a str,
    /// Beside the vertical axis.
    pub y: &'a str,
    /// Powers of ten at equal distances.
    pub logarithmic: bool,
    /// How a number beside the vertical axis is written.
    pub number: fn(f64) -> String,
}

const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d1f", "#56b4e9", "#777777"];
const WIDTH: f64 = 760.0;

struct Svg(String);

impl Svg {
    fn new(height: f64, title: &str) -> Self {
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\" aria-label=\"{0}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{0}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
            escaped(title)
        );
        let mut svg = Self(out);
        svg.text(16.0, 24.0, "start", "font-size=\"15\" font-weight=\"bold\"", title);
        svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222222\" {more}>{text}</text>"
        );
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let ((a, b), (c, d)) = (from, to);
        let _ = writeln!(self.0, "<line x1=\"{a:.1}\" y1=\"{b:.1}\" x2=\"{c:.1}\" y2=\"{d:.1}\" stroke=\"{colour}\"/>");
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// Draws panels of bars; `axis` says what the bars' lengths mean, with its unit.
pub fn bars(title: &str, axis: &str, panels: &[Panel]) -> String {
    const LEFT: f64 = 110.0;
    const RIGHT: f64 = 120.0;
    const BAR: f64 = 18.0;
    let height = 70.0 + panels.iter().map(|panel| 34.0 + BAR * panel.bars.len() as f64).sum::<f64>();
    let mut svg = Svg::new(height, title);
    let mut y = 46.0;
    for panel in panels {
        svg.text(16.0, y + 8.0, "start", "font-weight=\"bold\"", &panel.title);
        y += 18.0;
        let top = y;
        let longest = panel.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        for bar in &panel.bars {
            let width = (WIDTH - LEFT - RIGHT) * bar.value / longest;
            svg.text(LEFT - 8.0, y + 13.0, "end", "", &bar.name);
            svg.rect(LEFT, y + 2.0, width.max(1.0), BAR - 4.0, COLOURS[bar.series % COLOURS.len()]);
            svg.text(LEFT + width + 6.0, y + 13.0, "start", "", &bar.label);
            y += BAR;
        }
        svg.line((LEFT, top), (LEFT, y), "#222222");
        y += 16.0;
    }
    svg.text(LEFT, y + 6.0, "start", "", axis);
    svg.finish()
}

/// Draws lines over a number that begins at 0.
pub fn lines(axes: &Axes<'_>, lines: &[Line]) -> String {
    const LEFT: f64 = 90.0;
    const RIGHT: f64 = 20.0;
    const TOP: f64 = 66.0;
    const BOTTOM: f64 = 50.0;
    const HEIGHT: f64 = 400.0;
    let mut svg = Svg::new(HEIGHT, axes.title);
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (low, high) = range(points().map(|(_, y)| y), axes.logarithmic);
    let last = points().map(|(x, _)| x).fold(1.0, f64::max);
    let shown = |y: f64| if axes.logarithmic { y.max(low).log10() } else { y };
    let place = |(x, y): (f64, f64)| {
        let up = (shown(y) - shown(low)) / (shown(high) - shown(low));
        (LEFT + (WIDTH - LEFT - RIGHT) * x / last, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up)
    };
    for tick in ticks(low, high, axes.logarithmic) {
        let (from, to) = (place((0.0, tick)), place((last, tick)));
        svg.line(from, to, "#dddddd");
        svg.text(LEFT - 6.0, from.1 + 4.0, "end", "", &(axes.number)(tick));
    }
    for tick in ticks(0.0, last, false) {
        let (x, y) = place((tick, low));
        svg.line((x, y), (x, y + 4.0), "#222222");
        svg.text(x, y + 18.0, "middle", "", &format!("{tick}"));
    }
    svg.line(place((0.0, low)), place((last, low)), "#222222");
    svg.line(place((0.0, low)), place((0.0, high)), "#222222");
    svg.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", "", axes.x);
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    svg.text(18.0, middle, "middle", &format!("transform=\"rotate(-90 18 {middle:.1})\""), axes.y);
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[line.series % COLOURS.len()];
        let path: Vec<_> = line.points.iter().map(|point| place(*point)).collect();
        let text: Vec<_> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            text.join(" ")
        );
        // A single point makes no line.
        for (x, y) in path.iter().filter(|_| path.len() <= 10) {
            let _ = writeln!(svg.0, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let x = LEFT + 110.0 * number as f64;
        svg.rect(x, 40.0, 14.0, 10.0, colour);
        svg.text(x + 20.0, 49.0, "start", "", &line.name);
    }
    svg.finish()
}

/// Returns the ends of the vertical axis: whole powers of ten, or from 0 to a round number.
fn range(values: impl Iterator<Item = f64>, logarithmic: bool) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, 0.0), |(low, high), value| (value.min(low), value.max(high)));
    match (high > 0.0, logarithmic) {
        (false, true) => (1.0, 10.0),
        (false, false) => (0.0, 1.0),
        (true, true) => {
            let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
            (low, if high > low { high } else { low * 10.0 })
        }
        (true, false) => {
            let step = step(high);
            (0.0, (high / step).ceil() * step)
        }
    }
}

fn ticks(low: f64, high: f64, logarithmic: bool) -> Vec<f64> {
    if logarithmic {
        return (low.log10().round() as i32..=high.log10().round() as i32).map(|power| 10f64.powi(power)).collect();
    }
    let step = step(high);
    (0..)
        .map(|n| f64::from(n) * step)
        .take_while(|tick| *tick <= high * 1.0001)
        .map(|tick| (tick * 1e6).round() / 1e6)
        .collect()
}

/// Returns a round distance that divides `high` into four to ten parts.
fn step(high: f64) -> f64 {
    let unit = 10f64.powf((high / 4.0).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|n| n * unit).find(|step| high / step >= 4.0).unwrap_or(unit)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Axes, Bar, Line, Panel, bars, lines, range, ticks};

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(range([3.0, 870.0].into_iter(), true), (1.0, 1000.0));
        assert_eq!(range([100.0].into_iter(), true), (100.0, 1000.0));
        assert_eq!(range([0.3, 0.87].into_iter(), false), (0.0, 1.0));
        assert_eq!(range(std::iter::empty(), false), (0.0, 1.0));
        assert_eq!(ticks(0.0, 100.0, false), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(0.0, 1.0, false).len(), 6);
        assert_eq!(ticks(1.0, 1000.0, true), [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |value| Bar { series: 0, name: "a & b".into(), value, label: "x".into() };
        let svg = bars("Title", "seconds", &[Panel { title: "<case>".into(), bars: vec![bar(1.0), bar(2.0)] }]);
        assert!(svg.contains("width=\"265.0\"") && svg.contains("width=\"530.0\""), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;case&gt;") && svg.contains(">seconds<"));
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let axes = Axes { title: "t", x: "steps", y: "bytes", logarithmic: true, number: |n| n.to_string() };
        let points = vec![(0.0, 1.0), (50.0, 10.0), (100.0, 100.0)];
        let svg = lines(&axes, &[Line { series: 1, name: "lrl".into(), points }]);
        assert!(svg.contains("points=\"90.0,350.0 415.0,208.0 740.0,66.0\""), "{svg}");
        assert!(svg.contains(">steps<") && svg.contains(">bytes<") && svg.contains(">lrl<"));
    }
}
