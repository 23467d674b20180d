//! A table for people: columns as wide as their widest cell. The caller keeps the number of rows within reason.

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
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table with its heading.
    pub fn new(heading: &[(&str, Side)]) -> Self {
        Self {
            sides: heading.iter().map(|(_, side)| *side).collect(),
            rows: vec![heading.iter().map(|(name, _)| (*name).to_string()).collect()],
        }
    }

    /// Adds a row; control characters in its cells are escaped.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| safe(cell).into_owned()).collect());
    }

    /// Returns the lines, the heading first, without spaces at their ends.
    pub fn lines(&self) -> Vec<String> {
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.width()).max();
        let widths: Vec<usize> = (0..self.sides.len()).map(|column| width(column).unwrap_or(0)).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
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

#[cfg(test)]
mod tests {
    use super::{Side, Table};

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = Table::new(&[("name", Side::Left), ("size", Side::Right), ("when", Side::Left)]);
        table.row(["a".into(), "1.4 MiB".into(), "now".into()]);
        table.row(["写真".into(), "9 B".into(), String::new()]);
        assert_eq!(table.lines(), ["name     size  when", "a     1.4 MiB  now", "写真      9 B"].map(str::to_string));
    }
}
