//! What a comparison works on and what it finds.

use crate::error::Result;
use crate::source::database::Inspector;
use crate::source::database::cell::OwnedCell;
use crate::source::database::merge::RowChange;

/// Two states of one database, the older first.
pub struct Session<'s> {
    /// The older.
    pub from: &'s Inspector<'s>,
    /// The newer.
    pub to: &'s Inspector<'s>,
    /// Which pages are known to be the same; `None` where nothing is known.
    pub unchanged: Option<&'s super::pages::Unchanged>,
}

/// What happened to the schema.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SchemaChange {
    /// `table`, `index`, `trigger`, `view`, or `pragma` for a number that applications give their schema.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The definition before, or the number.
    pub from: Option<String>,
    /// The definition after, or the number.
    pub to: Option<String>,
}

/// How many rows of a table differ.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Only in the newer state.
    pub added: u64,
    /// Only in the older state.
    pub removed: u64,
    /// In both by their key, with other values.
    pub changed: u64,
}

/// How a table was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// None of its pages differ: it was not read.
    Unread,
    /// By these columns.
    ByKey(Vec<String>, Counts),
    /// As whole rows: it has no key.
    WholeRows(Counts),
    /// Only one of the states has it; all of its rows count.
    OneSided(Counts),
    /// Its rows cannot be compared, and why.
    Refused(String),
}

/// Receives what a comparison finds. An error of any method ends it.
pub trait DiffSink {
    /// Takes a change of the schema; all of them come first.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn schema(&mut self, change: &SchemaChange) -> Result<()>;
    /// Takes a table that is left out, and why.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn left_out(&mut self, table: &str, why: &str) -> Result<()>;
    /// Takes the columns of a table whose rows follow.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn begin(&mut self, table: &str, columns: &[String], key: usize) -> Result<()>;
    /// Takes a row; the columns of the key come first.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn row(&mut self, change: &RowChange<'_>) -> Result<()>;
    /// Takes what was found of a table.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn end(&mut self, table: &str, compared: &Compared) -> Result<()>;
}

impl Counts {
    /// Counts a row.
    pub(super) fn add(&mut self, change: &RowChange<'_>) {
        match change {
            RowChange::Removed(_) => self.removed += 1,
            RowChange::Added(_) => self.added += 1,
            RowChange::Changed(..) => self.changed += 1,
        }
    }

    /// Returns whether no row differs.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns the values of a row that differ, by the place of their column.
pub(crate) fn differences<'r>(
    from: &'r [OwnedCell],
    to: &'r [OwnedCell],
) -> impl Iterator<Item = (usize, &'r OwnedCell, &'r OwnedCell)> {
    from.iter().zip(to).enumerate().filter(|(_, (a, b))| a != b).map(|(at, (a, b))| (at, a, b))
}
