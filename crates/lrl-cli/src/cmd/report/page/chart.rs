//! A line over time, from zero, with its values as a table beside it.

use super::table::{head, table};
use super::text;
use crate::render::html::Html;

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 60.0;
/// Points that are drawn.
const MOST_DRAWN: usize = 240;
/// Rows of the table.
const MOST_ROWS: usize = 16;

/// One value over time.
pub struct Chart<'a> {
    /// What it is.
    pub name: &'a str,
    /// Its values by time in seconds since 1970, oldest first.
    pub values: Vec<(i64, u64)>,
    /// How a value is written.
    pub show: fn(u64) -> String,
    /// What has to be known of it.
    pub note: &'a str,
}

/// Writes a card with the newest value and the line; nothing where there is no value.
pub fn write(h: &mut Html, chart: &Chart<'_>) {
    let (Some(first), Some(last)) = (chart.values.first(), chart.values.last()) else { return };
    // Of one moment there is no line.
    let has_line = first.0 < last.0;
    h.el("figure", &[("class", "card")], |h| {
        h.leaf("figcaption", "", chart.name);
        h.leaf("div", "value", &(chart.show)(last.1));
        if has_line {
            h.leaf("div", "soft", &format!("{} on {}", (chart.show)(first.1), text::day_text(first.0)));
            svg(h, chart);
            h.el("div", &[("class", "ends"), ("aria-hidden", "true")], |h| {
                h.leaf("span", "", &text::short_day(first.0));
                h.leaf("span", "", &text::short_day(last.0));
            });
        }
        if !chart.note.is_empty() {
            h.leaf("div", "soft", chart.note);
        }
        if has_line {
            h.el("details", &[], |h| {
                h.leaf("summary", "", "Values");
                table(h, chart.name, |h| {
                    head(h, &["Day", &format!(">{}", chart.name)]);
                    h.el("tbody", &[], |h| {
                        for (at, value) in thinned(&chart.values, MOST_ROWS).iter().rev() {
                            h.el("tr", &[], |h| {
                                h.el("td", &[], |h| text::day(h, *at));
                                h.leaf("td", "num", &(chart.show)(*value));
                            });
                        }
                    });
                });
            });
        }
    });
}

fn svg(h: &mut Html, chart: &Chart<'_>) {
    let points = points(&thinned(&chart.values, MOST_DRAWN));
    let (first, last) = (chart.values[0], chart.values[chart.values.len() - 1]);
    let size = format!("0 0 {WIDTH} {HEIGHT}");
    let attributes = [("class", "chart"), ("viewBox", &*size), ("preserveAspectRatio", "none"), ("role", "img")];
    h.el("svg", &attributes, |h| {
        h.leaf("title", "", chart.name);
        h.leaf(
            "desc",
            "",
            &format!(
                "From {} on {} to {} on {}",
                (chart.show)(first.1),
                text::day_text(first.0),
                (chart.show)(last.1),
                text::day_text(last.0)
            ),
        );
        let area = format!("M0 {HEIGHT} L{points} L{WIDTH} {HEIGHT} Z");
        h.el("path", &[("class", "area"), ("d", &area)], |_| {});
        h.el("path", &[("class", "line"), ("d", &format!("M{points}"))], |_| {});
        h.el("path", &[("class", "base"), ("d", &format!("M0 {HEIGHT} H{WIDTH}"))], |_| {});
    });
}

/// Returns up to `most` values, the first and the last among them.
fn thinned(values: &[(i64, u64)], most: usize) -> Vec<(i64, u64)> {
    let last = values.len().saturating_sub(1);
    if last < most {
        return values.to_vec();
    }
    (0..most).map(|n| values[n * last / (most - 1)]).collect()
}

fn points(values: &[(i64, u64)]) -> String {
    let (begin, end) = (values[0].0, values[values.len() - 1].0);
    let most = values.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1) as f64;
    let span = (end - begin).max(1) as f64;
    let points = values.iter().map(|(at, value)| {
        let (x, y) = ((at - begin) as f64 / span * WIDTH, HEIGHT - 2.0 - *value as f64 / most * (HEIGHT - 4.0));
        format!("{x:.1} {y:.1}")
    });
    points.collect::<Vec<_>>().join(" L")
}

#[cfg(test)]
mod tests {
    use super::{points, thinned};

    #[test]
    fn a_long_series_is_thinned_to_its_ends_and_what_is_between() {
        let values: Vec<_> = (0..1000).map(|n| (n, n as u64)).collect();
        let few = thinned(&values, 16);
        assert_eq!((few.len(), few[0], few[15]), (16, (0, 0), (999, 999)));
        assert_eq!(thinned(&values[..3], 16).len(), 3);
        assert_eq!(thinned(&[], 16), []);
    }

    #[test]
    fn points_stay_in_the_drawing() {
        assert_eq!(points(&[(0, 0), (10, 5), (20, 10)]), "0.0 58.0 L120.0 30.0 L240.0 2.0");
        assert_eq!(points(&[(7, 0), (7, 0)]), "0.0 58.0 L0.0 58.0");
    }
}
