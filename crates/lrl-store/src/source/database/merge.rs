//! The rows of a table in two databases, side by side: both are read in the order of a key, so memory is one row of each.

use std::cmp::Ordering;

use rusqlite::{Row, Rows};

use super::cell::{Cell, Encoding, OwnedCell};
use super::inspect::Inspector;
use super::sql_text::quoted;
use super::table_shape::name_list;
use crate::error::{Error, Result};

/// A row that is not the same in both.
#[derive(Debug)]
pub enum RowChange<'r> {
    /// Only in the first.
    Removed(&'r [OwnedCell]),
    /// Only in the second.
    Added(&'r [OwnedCell]),
    /// In both by its key, with other values: the first, then the second.
    Changed(&'r [OwnedCell], &'r [OwnedCell]),
}

/// Which columns are read, in which order.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// The table.
    pub table: String,
    /// The columns, those of the key first.
    pub columns: Vec<String>,
    /// How many columns are the key; 0 compares whole rows, of which there may be several alike.
    pub key: usize,
    /// The key is the rowid.
    pub by_rowid: bool,
}

impl Selection {
    /// Returns the query that gives the rows in their order.
    fn sql(&self) -> String {
        let columns = name_list(self.columns.iter().map(String::as_str));
        let order: Vec<String> = match self.key {
            // Whole rows: 1 and 1.0 are equal to SQLite, so types decide as well.
            0 => self
                .columns
                .iter()
                .flat_map(|name| {
                    let name = quoted(name);
                    [format!("{name} COLLATE BINARY"), format!("typeof({name})")]
                })
                .collect(),
            _ if self.by_rowid => vec![quoted(&self.columns[0])],
            key => self.columns[..key].iter().map(|name| format!("{} COLLATE BINARY", quoted(name))).collect(),
        };
        format!("SELECT {columns} FROM main.{} ORDER BY {}", quoted(&self.table), order.join(", "))
    }

    fn order(&self, a: &[OwnedCell], b: &[OwnedCell], encoding: Encoding) -> Ordering {
        let length = if self.key == 0 { self.columns.len() } else { self.key };
        let each = a.iter().zip(b).take(length).map(|(a, b)| {
            let (a, b) = (a.as_cell(), b.as_cell());
            let by_value = a.order(&b, encoding);
            if self.key == 0 { by_value.then_with(|| a.type_name().cmp(b.type_name())) } else { by_value }
        });
        each.fold(Ordering::Equal, Ordering::then)
    }
}

impl Inspector<'_> {
    /// Returns whether a row has NULL in one of these columns.
    pub(crate) fn has_null(&self, table: &str, columns: &[String]) -> Result<bool> {
        let condition: Vec<String> = columns.iter().map(|name| format!("{} IS NULL", quoted(name))).collect();
        let sql = format!("SELECT EXISTS(SELECT 1 FROM main.{} WHERE {})", quoted(table), condition.join(" OR "));
        self.watched(|conn| conn.query_row(&sql, [], |row| row.get::<_, bool>(0)))
    }

    /// Returns the numbers of a table's pages to `visit` until that returns false; returns false if it did, or if SQLite cannot tell.
    pub(crate) fn each_page(&self, table: &str, visit: &mut dyn FnMut(u32) -> bool) -> Result<bool> {
        let walked = self.watched(|conn| {
            let mut statement = conn.prepare("SELECT pageno FROM dbstat('main') WHERE name = ?1")?;
            let mut rows = statement.query([table])?;
            while let Some(row) = rows.next()? {
                if !visit(row.get(0)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        match walked {
            Err(Error::Corrupt { .. }) => Ok(false),
            other => other,
        }
    }
}

/// Gives what differs between two databases' rows to `visit`, in the order of the key.
///
/// # Errors
/// [`Error::Corrupt`] with what SQLite says of either, the error of `visit`, [`Error::Interrupted`].
pub(crate) fn merge(
    a: &Inspector<'_>,
    b: &Inspector<'_>,
    selection: &Selection,
    encoding: Encoding,
    visit: &mut dyn FnMut(RowChange<'_>) -> Result<()>,
) -> Result<()> {
    let sql = selection.sql();
    let mut inner = Ok(());
    let outer = a.watched(|conn_a| {
        let mut statement_a = conn_a.prepare(&sql)?;
        let mut rows_a = statement_a.query([])?;
        let mut failed_a = None;
        let mut refused = None;
        inner = b.watched(|conn_b| {
            let mut statement_b = conn_b.prepare(&sql)?;
            let mut rows_b = statement_b.query([])?;
            let mut next_a = || match next(&mut rows_a) {
                Ok(row) => row,
                Err(error) => {
                    failed_a = Some(error);
                    None
                }
            };
            let (mut row_a, mut row_b) = (next_a(), next(&mut rows_b)?);
            loop {
                let order = match (&row_a, &row_b) {
                    (None, None) => break,
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(a), Some(b)) => selection.order(a, b, encoding),
                };
                let visited = match (order, &row_a, &row_b) {
                    (Ordering::Less, Some(a), _) => visit(RowChange::Removed(a)),
                    (Ordering::Greater, _, Some(b)) => visit(RowChange::Added(b)),
                    (Ordering::Equal, Some(a), Some(b)) if a != b && selection.key > 0 => {
                        visit(RowChange::Changed(a, b))
                    }
                    (Ordering::Equal, Some(a), Some(b)) if a != b => {
                        visit(RowChange::Removed(a)).and_then(|()| visit(RowChange::Added(b)))
                    }
                    _ => Ok(()),
                };
                if let Err(error) = visited {
                    refused = Some(error);
                    break;
                }
                if order.is_le() {
                    row_a = next_a();
                }
                if order.is_ge() {
                    row_b = next(&mut rows_b)?;
                }
            }
            Ok(())
        });
        if let Some(error) = refused {
            inner = Err(error);
        }
        failed_a.map_or(Ok(()), Err)
    });
    outer.and(inner)
}

fn next(rows: &mut Rows<'_>) -> rusqlite::Result<Option<Vec<OwnedCell>>> {
    rows.next()?.map(cells).transpose()
}

/// Keeps the values of a row.
pub(crate) fn cells(row: &Row<'_>) -> rusqlite::Result<Vec<OwnedCell>> {
    (0..row.as_ref().column_count()).map(|at| Ok(Cell::from(row.get_ref(at)?).into())).collect()
}
