//! The verb `dump --table`: a table of a snapshot, or some of its rows, as SQL, row by row, or as a database of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{image, limit};
use crate::error::{Error, Result};
use crate::format::snapshot::Database;
use crate::hint::{AddHint, Hint};
use crate::progress::Observer;
use crate::source::database::Inspector;
use crate::source::database::cell::OwnedCell;
use crate::source::database::definition::is_single;
use crate::source::database::each_row::Filter;
use crate::source::database::select::RowSink;
use crate::source::database::small_file::{plain_definition, write_table};
use crate::source::database::sql_text::quoted;
use crate::source::database::table_shape::{TableKind, TableShape, name_list};
use crate::store::Store;

/// What is wanted.
pub struct Wanted<'a> {
    /// The table.
    pub table: &'a str,
    /// A condition on its rows, as after WHERE; `None`: all.
    pub condition: Option<&'a str>,
    /// Where the image is made.
    pub temp: &'a Path,
    /// How long reading with a condition may take.
    pub time_limit: Duration,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Rows in it.
    pub rows: u64,
    /// Why the table has a plain definition there, if it has.
    pub plain: Option<String>,
}

/// A table of an image.
struct Source<'o, 'w> {
    inspector: Inspector<'o>,
    shape: TableShape,
    wanted: &'w Wanted<'w>,
}

impl<'o, 'w> Source<'o, 'w> {
    fn open(store: &Store, part: &Database, wanted: &'w Wanted<'w>, observer: &'o dyn Observer) -> Result<Self> {
        let inspector = image::open(store, part, wanted.temp, observer)?;
        if wanted.condition.is_none() {
            // Nothing is compared: the rows come as they are stored.
            inspector.accept_collations()?;
        }
        let shape = inspector.shape(wanted.table)?;
        match &shape.kind {
            TableKind::Shadow => Err(Error::refused(format!(
                "a virtual table keeps its own data in {}: name the virtual table",
                shape.name
            ))),
            TableKind::Virtual(module) if shape.columns.is_empty() => Err(Error::refused(format!(
                "{} is a virtual table, and only the application has its module ({module})",
                shape.name
            ))),
            _ => Ok(Self { inspector, shape, wanted }),
        }
    }

    fn stored(&self) -> Vec<String> {
        self.shape.stored().map(|column| column.name.clone()).collect()
    }

    fn each(&self, columns: &[String], visit: &mut dyn FnMut(&[OwnedCell]) -> Result<()>) -> Result<()> {
        let stop = limit::limit(self.wanted.temp, self.wanted.time_limit);
        let filter = self.wanted.condition.map(|condition| Filter { condition, stop: &stop });
        self.inspector.each_row(&self.shape.name, columns, filter, visit)
    }
}

/// Writes the table as SQL that makes it, with its rows, indexes and triggers; returns how many rows.
///
/// # Errors
/// [`Error::NotFound`] if there is no such table, [`Error::Refused`] with what is wrong with the condition or the table's definition, the
/// error of `out`.
pub fn sql(
    store: &Store,
    part: &Database,
    wanted: &Wanted<'_>,
    out: &mut dyn FnMut(&str) -> Result<()>,
    observer: &dyn Observer,
) -> Result<u64> {
    let source = Source::open(store, part, wanted, observer)?;
    let (name, encoding) = (source.shape.name.clone(), source.inspector.encoding()?);
    let definition = match source.shape.kind {
        TableKind::Ordinary => source.shape.sql.clone(),
        _ => plain_definition(&source.shape),
    };
    let checked = |sql: &str| match is_single(sql) {
        true => Ok(format!("{sql};\n")),
        false => {
            let text = format!("a definition of {name} is not one statement: only a database can do without it");
            Err(Error::refused(text.hint(Hint::DumpTable(name.clone()))))
        }
    };
    out("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n")?;
    out(&checked(&definition)?)?;
    let columns = source.stored();
    let (mut count, mut line) = (0, String::new());
    let start = format!("INSERT INTO {}({}) VALUES(", quoted(&name), name_list(columns.iter().map(String::as_str)));
    source.each(&columns, &mut |cells| {
        line.clear();
        line.push_str(&start);
        for (at, cell) in cells.iter().enumerate() {
            line.push_str(if at > 0 { "," } else { "" });
            cell.as_cell().write_sql(encoding, &mut line);
        }
        line.push_str(");\n");
        count += 1;
        out(&line)
    })?;
    if source.shape.kind == TableKind::Ordinary {
        let items = source.inspector.schema()?;
        for item in items.iter().filter(|item| item.table == name && matches!(item.kind.as_str(), "index" | "trigger"))
        {
            out(&checked(&item.sql)?)?;
        }
    }
    out("COMMIT;\n")?;
    Ok(count)
}

/// Gives the rows of the table to `sink`, generated columns included; returns how many.
///
/// # Errors
/// As [`sql`].
pub fn rows(
    store: &Store,
    part: &Database,
    wanted: &Wanted<'_>,
    sink: &mut dyn RowSink,
    observer: &dyn Observer,
) -> Result<u64> {
    let source = Source::open(store, part, wanted, observer)?;
    let columns: Vec<String> = source.shape.columns.iter().map(|column| column.name.clone()).collect();
    sink.columns(&columns)?;
    let mut count = 0;
    source.each(&columns, &mut |cells| {
        count += 1;
        sink.row(&cells.iter().map(OwnedCell::as_cell).collect::<Vec<_>>())
    })?;
    Ok(count)
}

/// Writes the table to a new database at `path`, which appears whole or not at all.
///
/// # Errors
/// As [`sql`]; [`Error::Refused`] if there is a file already.
pub fn into_file(
    store: &Store,
    part: &Database,
    wanted: &Wanted<'_>,
    path: &Path,
    observer: &dyn Observer,
) -> Result<Written> {
    let exists = || Error::refused(format!("{} is there already: name a new file", path.display()));
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let source = Source::open(store, part, wanted, observer)?;
    let file = tempfile::Builder::new()
        .prefix(".lrl-dump-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .map_err(Error::io("create a file in", parent))?;
    let columns = source.stored();
    let mut rows = 0;
    let plain = write_table(file.path(), source.inspector.encoding()?, &source.shape, &mut |visit| {
        rows = 0;
        source.each(&columns, &mut |cells| {
            rows += 1;
            visit(cells)
        })
    })?;
    file.as_file().sync_all().map_err(Error::io("sync", path))?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(),
        _ => Error::io("rename to", path)(error.error),
    })?;
    Ok(Written { rows, plain })
}
