//! The table that rows go to: how they are found there, and the statements for one row.

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint, Message};
use crate::source::database::Inspector;
use crate::source::database::definition::is_single;
use crate::source::database::sql_text::quoted;
use crate::source::database::table_shape::{TableKind, TableShape, name_list};

/// The table.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub table: String,
    /// Columns whose values are stored.
    pub columns: Vec<String>,
    /// Columns by which a row is found; empty: all of them, and there may be several alike.
    pub key: Vec<String>,
    /// What makes the table where it is not there: itself first.
    pub definitions: Vec<String>,
    /// Full text indexes of it.
    pub rebuild: Vec<String>,
    /// A name of the rowid, where the table has one.
    pub rowid: Option<String>,
}

/// More columns than this are not recorded.
const MOST_COLUMNS: usize = 500;

impl Target {
    /// Looks for the table in the live database; where it is not, the snapshot's definitions make it.
    pub(crate) fn find(old: &Inspector<'_>, live: &Inspector<'_>, table: &str) -> Result<Self> {
        let from = old.shape(table)?;
        let shapes = live.shapes()?;
        let there = shapes.iter().find(|shape| shape.name.eq_ignore_ascii_case(&from.name));
        for shape in [Some(&from), there].into_iter().flatten() {
            refuse_other_kinds(shape)?;
        }
        let columns: Vec<String> = from.stored().map(|column| column.name.clone()).collect();
        if columns.len() > MOST_COLUMNS {
            return Err(refused(&from.name, format!("it has more than {MOST_COLUMNS} columns")));
        }
        let definitions = match there {
            Some(shape) => {
                let now: Vec<&str> = shape.stored().map(|column| column.name.as_str()).collect();
                if now.len() != columns.len() || !columns.iter().all(|name| now.contains(&name.as_str())) {
                    return Err(refused(&from.name, "its columns are not what they were"));
                }
                Vec::new()
            }
            None => definitions(old, &from)?,
        };
        let shape = there.unwrap_or(&from);
        let mut found = None;
        for key in &shape.keys {
            // SQLite lets a primary key be NULL, any number of times; hardly any is.
            let has_null = key.nullable
                && (old.has_null(&from.name, &key.columns)?
                    || there.map_or(Ok(false), |there| live.has_null(&there.name, &key.columns))?);
            if !has_null {
                found = Some(key);
                break;
            }
        }
        Ok(Self {
            table: shape.name.clone(),
            key: found.map(|key| key.columns.clone()).unwrap_or_default(),
            definitions,
            rebuild: shapes.iter().filter(|shape| shape.indexes(&from.name)).map(|shape| shape.name.clone()).collect(),
            rowid: shape.rowid_name().map(String::from),
            columns,
        })
    }

    /// Returns the places of the columns by which a row is found.
    pub(crate) fn found_by(&self) -> Vec<usize> {
        let place = |name: &String| self.columns.iter().position(|column| column == name);
        match self.key.as_slice() {
            [] => (0..self.columns.len()).collect(),
            key => key.iter().filter_map(place).collect(),
        }
    }

    fn is_row(&self) -> String {
        let one = |at: usize| format!("{} IS ? COLLATE BINARY", quoted(&self.columns[at]));
        self.found_by().into_iter().map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// Returns the query for a row.
    pub(crate) fn select(&self) -> String {
        let columns = name_list(self.columns.iter().map(String::as_str));
        format!("SELECT {columns} FROM main.{} WHERE {}", quoted(&self.table), self.is_row())
    }

    /// Returns the statement that adds a row.
    pub(crate) fn insert(&self) -> String {
        let columns = name_list(self.columns.iter().map(String::as_str));
        let places = vec!["?"; self.columns.len()].join(", ");
        format!("INSERT INTO main.{}({columns}) VALUES({places})", quoted(&self.table))
    }

    /// Returns the statement that gives a row all of its values: first those, then what it is found by. `None` where all of it is the key.
    pub(crate) fn update(&self) -> Option<String> {
        let sets: Vec<String> =
            self.values().into_iter().map(|at| format!("{}=?", quoted(&self.columns[at]))).collect();
        let sql = format!("UPDATE main.{} SET {} WHERE {}", quoted(&self.table), sets.join(", "), self.is_row());
        (!sets.is_empty()).then_some(sql)
    }

    /// Returns the places of the columns that are not the key.
    pub(crate) fn values(&self) -> Vec<usize> {
        let key = self.found_by();
        (0..self.columns.len()).filter(|at| !key.contains(at)).collect()
    }

    /// Returns the statement that removes a row, one of those that are alike.
    pub(crate) fn delete(&self) -> String {
        let table = quoted(&self.table);
        match (&self.rowid, self.key.as_slice()) {
            (Some(rowid), []) => format!(
                "DELETE FROM main.{table} WHERE {rowid} = (SELECT {rowid} FROM main.{table} WHERE {} LIMIT 1)",
                self.is_row()
            ),
            _ => format!("DELETE FROM main.{table} WHERE {}", self.is_row()),
        }
    }

    /// Makes the table itself where it is not there; its indexes and triggers come after the rows.
    pub(crate) fn create(&self, conn: &Connection) -> rusqlite::Result<()> {
        self.definitions.first().map_or(Ok(()), |sql| conn.execute(sql, []).map(drop))
    }

    /// Makes the indexes and triggers of a table that was made.
    pub(crate) fn create_rest(&self, conn: &Connection) -> rusqlite::Result<()> {
        self.definitions.iter().skip(1).try_for_each(|sql| conn.execute(sql, []).map(drop))
    }

    /// Makes the full text indexes again.
    pub(crate) fn rebuild(&self, conn: &Connection) -> rusqlite::Result<()> {
        self.rebuild.iter().try_for_each(|name| {
            let name = quoted(name);
            conn.execute(&format!("INSERT INTO main.{name}({name}) VALUES('rebuild')"), []).map(drop)
        })
    }
}

fn refuse_other_kinds(shape: &TableShape) -> Result<()> {
    match &shape.kind {
        TableKind::Ordinary => Ok(()),
        TableKind::Virtual(module) => Err(refused(
            &shape.name,
            format!("it is a virtual table ({module}): restore the table that it is made from"),
        )),
        TableKind::Shadow => Err(refused(&shape.name, "a virtual table keeps its own data in it")),
    }
}

fn definitions(old: &Inspector<'_>, from: &TableShape) -> Result<Vec<String>> {
    let items = old.schema()?;
    let rest =
        items.into_iter().filter(|item| item.table == from.name && matches!(item.kind.as_str(), "index" | "trigger"));
    let all: Vec<String> = std::iter::once(from.sql.clone()).chain(rest.map(|item| item.sql)).collect();
    if all.iter().all(|sql| is_single(sql)) {
        Ok(all)
    } else {
        Err(refused(&from.name, "a definition of it is not one statement"))
    }
}

/// Says why rows do not go back, and the way that works.
pub(super) fn refused(table: &str, why: impl Into<Message>) -> Error {
    let why = why.into();
    let text = Message::from(format!("rows of {table} are not restored: {why}. Nothing was changed"));
    Error::refused(text.with_hints(why.hints()).hint(Hint::DumpTable(table.into())))
}
