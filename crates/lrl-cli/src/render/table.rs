//! A table for people: columns as wide as their widest cell. Of many rows only the widths are kept: they are shown once all were measured.

use unicode_width::UnicodeWidthStr;

use super::units::safe;

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub struct Table {
    sides: Vec<Side>,
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table with its heading.
    pub fn new(heading: &[(&str, Side)]) -> Self {
        Self {
            sides: heading.iter().map(|(_, side)| *side).collect(),
            widths: heading.iter().map(|(name, _)| name.width()).collect(),
            rows: vec![heading.iter().map(|(name, _)| (*name).to_string()).collect()],
        }
    }

    /// Adds a row; control characters in its cells are escaped.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let cells = escaped(&cells);
        self.measure_escaped(&cells);
        self.rows.push(cells);
    }

    /// Makes room for a row that [`Table::shown`] will show.
    pub fn measure<const N: usize>(&mut self, cells: &[String; N]) {
        self.measure_escaped(&escaped(cells));
    }

    fn measure_escaped(&mut self, cells: &[String]) {
        self.widths.iter_mut().zip(cells).for_each(|(width, cell)| *width = cell.width().max(*width));
    }

    /// Returns the line of a row that was measured.
    pub fn shown<const N: usize>(&self, cells: &[String; N]) -> String {
        self.line(&escaped(cells), &self.widths)
    }

    /// Returns the lines, the heading first, without spaces at their ends.
    pub fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| self.line(row, &self.widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, side), width) in row.iter().zip(&self.sides).zip(widths) {
            let gap = " ".repeat(width.saturating_sub(cell.width()));
            match side {
                Side::Left => line.extend([cell.as_str(), &gap, "  "]),
                Side::Right => line.extend([&gap, cell.as_str(), "  "]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn escaped(cells: &[String]) -> Vec<String> {
    cells.iter().map(|cell| safe(cell).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Side, Table};

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = Table::new(&[("name", Side::Left), ("size", Side::Right), ("when", Side::Left)]);
        table.row(["a".into(), "1.4 MiB".into(), "now".into()]);
        table.row(["写真".into(), "9 B".into(), String::new()]);
        let measured = ["b".into(), "10.4 MiB".into(), "then".into()];
        table.measure(&measured);
        assert_eq!(table.shown(&measured), "b     10.4 MiB  then");
        assert_eq!(
            table.lines(),
            ["name      size  when", "a      1.4 MiB  now", "写真       9 B"].map(str::to_string)
        );
    }
}
