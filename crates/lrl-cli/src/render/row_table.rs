//! A table of any number of rows for people: the first rows decide how wide its columns are, the others are written as they come.

use lrl_store::source::database::cell::Cell;
use unicode_width::UnicodeWidthStr;

use super::cells;
use super::units::safe;
use crate::exit::Result;
use crate::term::{Colour, Term};

/// A longer value is cut, in characters.
const CELL: usize = 80;
/// This many rows decide how wide the columns are, unless their texts are long.
const ROWS: usize = 500;
/// Texts of waiting rows, in bytes.
const BYTES: usize = 256 << 10;

/// A text, and whether it stands at the right of its column.
type Shown = (String, bool);

/// The table.
pub struct RowTable<'t> {
    term: &'t Term,
    heading: Vec<String>,
    waiting: Vec<Vec<Shown>>,
    bytes: usize,
    /// Known once the first rows are written.
    widths: Option<Vec<usize>>,
    is_cut: bool,
}

impl<'t> RowTable<'t> {
    /// Starts a table.
    pub fn new(term: &'t Term) -> Self {
        Self { term, heading: Vec::new(), waiting: Vec::new(), bytes: 0, widths: None, is_cut: false }
    }

    /// Sets the names of the columns.
    pub fn heading(&mut self, names: &[String]) {
        self.heading = names.iter().map(|name| safe(name).into_owned()).collect();
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        self.is_cut |= cells.iter().any(|cell| cells::is_cut(cell, CELL));
        let is_number = |cell: &Cell<'_>| matches!(cell, Cell::Integer(_) | Cell::Real(_));
        let row: Vec<Shown> = cells.iter().map(|cell| (cells::shown(cell, CELL), is_number(cell))).collect();
        if let Some(widths) = &self.widths {
            return self.term.line(line(&row, widths));
        }
        self.bytes += row.iter().map(|(text, _)| text.len() + size_of::<Shown>()).sum::<usize>();
        self.waiting.push(row);
        if self.waiting.len() >= ROWS || self.bytes >= BYTES { self.write_waiting() } else { Ok(()) }
    }

    /// Writes what waits; returns whether values were cut.
    pub fn finish(mut self) -> Result<bool> {
        if self.widths.is_none() {
            self.write_waiting()?;
        }
        Ok(self.is_cut)
    }

    fn write_waiting(&mut self) -> Result<()> {
        let cells = |at: usize| self.waiting.iter().filter_map(move |row| row.get(at)).map(|(text, _)| text.width());
        let widths: Vec<usize> = self
            .heading
            .iter()
            .enumerate()
            .map(|(at, name)| cells(at).chain([name.width()]).max().unwrap_or(0))
            .collect();
        let heading: Vec<Shown> = self
            .heading
            .iter()
            .enumerate()
            .map(|(at, name)| {
                (name.clone(), self.waiting.first().and_then(|row| row.get(at)).is_some_and(|cell| cell.1))
            })
            .collect();
        self.term.line(self.term.paint(Colour::Dim, &line(&heading, &widths)))?;
        for row in std::mem::take(&mut self.waiting) {
            self.term.line(line(&row, &widths))?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn line(row: &[Shown], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((text, is_right), width) in row.iter().zip(widths) {
        let gap = " ".repeat(width.saturating_sub(text.width()));
        match is_right {
            true => line.extend([&gap, text.as_str(), "  "]),
            false => line.extend([text.as_str(), &gap, "  "]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}
