//! The rows of one table, or those of them that a user's condition holds for.

use rusqlite::Batch;

use super::cell::OwnedCell;
use super::inspect::{Inspector, Stop};
use super::merge::cells;
use super::sql_text::quoted;
use super::table_shape::name_list;
use super::user_query::only;
use crate::error::{Error, Result};

/// A user's condition on rows, as after WHERE, and what ends its query.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'f> {
    /// The condition.
    pub condition: &'f str,
    /// Asked often.
    pub stop: &'f Stop<'f>,
}

impl Inspector<'_> {
    /// Gives the rows of a table to `visit`, in the order in which they are stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with what SQLite says, [`Error::Refused`] with what is wrong with the condition, the error of `visit`.
    pub(crate) fn each_row(
        &self,
        table: &str,
        columns: &[String],
        filter: Option<Filter<'_>>,
        visit: &mut dyn FnMut(&[OwnedCell]) -> Result<()>,
    ) -> Result<()> {
        let mut refused = None;
        let names = name_list(columns.iter().map(String::as_str));
        let from = format!("SELECT {names} FROM main.{}", quoted(table));
        let sql = match filter {
            // An index may have an order that only the application knows.
            None => format!("{from} NOT INDEXED"),
            // A comment at the end of the condition ends with its line.
            Some(Filter { condition, .. }) => format!("{from} WHERE ({condition}\n)"),
        };
        let work = |conn: &rusqlite::Connection| {
            let mut statements = Batch::new(conn, &sql);
            let Some(mut statement) = only(&mut statements)? else {
                refused = Some(Error::Refused("the condition must be one expression".into()));
                return Ok(());
            };
            if !statement.readonly() || statement.column_count() != columns.len() {
                refused = Some(Error::Refused("the condition must read, and nothing else".into()));
                return Ok(());
            }
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Err(error) = visit(&cells(row)?) {
                    refused = Some(error);
                    break;
                }
            }
            Ok(())
        };
        let read = match filter {
            None => self.watched(work),
            Some(Filter { condition, .. }) if condition.contains('\0') => {
                return Err(Error::Refused("the condition holds a NUL".into()));
            }
            Some(Filter { stop, .. }) => self.limited(stop, work),
        };
        refused.map_or(read, Err)
    }
}
