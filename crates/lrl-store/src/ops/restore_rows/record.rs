//! The record of the last restore of rows: a small database in the data directory, with each row as it was and as it is. `--undo` goes by it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::checks::Orphans;
use super::idle;
use super::stopped::Stopped;
use super::target::{Target, refused};
use crate::error::{Error, Result};
use crate::fs::durable;
use crate::hint::{AddHint, Hint};
use crate::progress::Observer;
use crate::source::database::Inspector;
use crate::source::database::cell::{Cell, OwnedCell};
use crate::source::database::merge::cells;
use crate::source::files::kept_copies::ROWS_RECORD;

/// The format of the record.
const FORMAT: u32 = 1;

/// What was restored, in words and as `--undo` needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// The database's path below the data directory, as text with escapes.
    pub database: String,
    /// From where.
    pub from: String,
    /// The table, and how its rows are found.
    pub target: TargetRecord,
    /// Triggers ran.
    pub triggers: bool,
    /// Files were restored with the rows.
    pub files: bool,
    /// The rows are in place; false once that is undone.
    pub restored: bool,
    /// Rows that had nothing to refer to before the restore: an undo may leave them so again.
    pub orphans: Orphans,
}

/// The table, as it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TargetRecord {
    table: String,
    columns: Vec<String>,
    key: Vec<String>,
    definitions: Vec<String>,
    rebuild: Vec<String>,
    rowid: Option<String>,
}

impl From<&Target> for TargetRecord {
    fn from(target: &Target) -> Self {
        let Target { table, columns, key, definitions, rebuild, rowid } = target.clone();
        Self { table, columns, key, definitions, rebuild, rowid }
    }
}

impl From<TargetRecord> for Target {
    fn from(record: TargetRecord) -> Self {
        let TargetRecord { table, columns, key, definitions, rebuild, rowid } = record;
        Self { table, columns, key, definitions, rebuild, rowid }
    }
}

impl About {
    /// Describes a restore that is about to be done.
    pub(crate) fn new(
        database: String,
        from: String,
        target: &Target,
        triggers: bool,
        files: bool,
        orphans: Orphans,
    ) -> Self {
        let target = target.into();
        Self { format: FORMAT, database, from, target, triggers, files, restored: true, orphans }
    }

    fn text(&self, path: &Path) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::corrupt(path.display(), error.to_string()))
    }
}

/// Records rows while they are written.
pub(super) struct Recorder {
    file: NamedTempFile,
    conn: Connection,
    columns: usize,
    rows: i64,
}

fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    move |error| Error::refused(format!("the record for an undo cannot be written to {}: {error}", path.display()))
}

impl Recorder {
    /// Begins a record in a directory, under a temporary name.
    pub(crate) fn create(dir: &Path, columns: usize) -> Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".lrl-restore-rows-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)
            .map_err(Error::io("create a file in", dir))?;
        let names = |letter: char| (0..columns).map(move |at| format!("{letter}{at}"));
        let all: Vec<String> = names('b').chain(names('a')).collect();
        let make = || -> rusqlite::Result<Connection> {
            let conn = Connection::open(file.path())?;
            conn.execute_batch(&format!(
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-1024;
                 BEGIN; CREATE TABLE about(text); CREATE TABLE changed(n INTEGER PRIMARY KEY, was, {})",
                all.join(", ")
            ))?;
            Ok(conn)
        };
        let conn = make().map_err(failed(dir))?;
        Ok(Self { conn, columns, rows: 0, file })
    }

    /// Adds a row: as it was, if it was there, and as it was written.
    pub(crate) fn add(&mut self, before: Option<&[OwnedCell]>, after: &[OwnedCell]) -> Result<()> {
        self.rows += 1;
        let nulls = vec![OwnedCell::Null; self.columns];
        let head = [OwnedCell::Integer(self.rows), OwnedCell::Integer(before.is_some().into())];
        let values = head.iter().chain(before.unwrap_or(&nulls)).chain(after);
        let places = vec!["?"; 2 + 2 * self.columns].join(", ");
        let mut insert = self
            .conn
            .prepare_cached(&format!("INSERT INTO changed VALUES({places})"))
            .map_err(failed(self.file.path()))?;
        insert.execute(params_from_iter(values)).map(drop).map_err(failed(self.file.path()))
    }

    /// Looks at each row once more: a trigger may have changed it since.
    pub(crate) fn finish(&mut self, live: &Connection, target: &Target) -> Result<(), Stopped> {
        let own = failed(self.file.path());
        let names: Vec<String> = (0..self.columns).map(|at| format!("a{at}")).collect();
        let sets: Vec<String> = names.iter().map(|name| format!("{name}=?")).collect();
        let mut select =
            self.conn.prepare(&format!("SELECT {} FROM changed WHERE n = ?1", names.join(", "))).map_err(&own)?;
        let mut update =
            self.conn.prepare(&format!("UPDATE changed SET {} WHERE n = ?", sets.join(", "))).map_err(&own)?;
        let mut find = live.prepare(&target.select())?;
        for n in 1..=self.rows {
            let row = select.query_row([n], cells).map_err(&own)?;
            let key: Vec<&OwnedCell> = target.found_by().into_iter().map(|at| &row[at]).collect();
            let mut found = find.query(params_from_iter(&key))?;
            let Some(now) = found.next()?.map(cells).transpose()? else {
                let why = "a trigger changes or removes rows as they come".hint(Hint::NoTriggers);
                return Err(refused(&target.table, why).into());
            };
            if now != row {
                let n = OwnedCell::Integer(n);
                update.execute(params_from_iter(now.iter().chain([&n]))).map_err(&own)?;
            }
        }
        Ok(())
    }

    /// Gives the record its name, durably: from here on `--undo` goes by it.
    pub(crate) fn persist(self, data_dir: &Path, about: &About) -> Result<()> {
        let path = path(data_dir);
        let Self { file, conn, .. } = self;
        let text = about.text(&path)?;
        let insert = conn.execute("INSERT INTO about VALUES(?1)", [text]);
        let done =
            insert.and_then(|_| conn.execute_batch("COMMIT")).and_then(|()| conn.close().map_err(|(_, error)| error));
        done.map_err(failed(&path))?;
        file.as_file().sync_all().map_err(Error::io("sync", &path))?;
        file.persist(&path).map_err(|error| Error::io("rename to", &path)(error.error))?;
        durable::sync_dir(data_dir)
    }
}

/// Returns where the record is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(ROWS_RECORD)
}

/// Returns whether the last restore was one of rows.
pub fn is_recorded(data_dir: &Path) -> bool {
    path(data_dir).symlink_metadata().is_ok()
}

/// Removes the record: the last restore of rows cannot be undone any more.
///
/// # Errors
/// [`Error::Io`] if it is there and cannot be removed.
pub fn forget(data_dir: &Path) -> Result<()> {
    idle::forget(data_dir)?;
    idle::remove(&path(data_dir))
}

/// Opens the record, which somebody else may have put there.
pub(super) fn open<'o>(data_dir: &Path, observer: &'o dyn Observer) -> Result<(Inspector<'o>, About)> {
    let path = path(data_dir);
    let meta = path.symlink_metadata().map_err(Error::io("open", &path))?;
    let me = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.uid() != me {
        return Err(Error::refused(format!("{} is not a file that this user's lrl wrote", path.display())));
    }
    let inspector = Inspector::open(&path, observer)?;
    let mut text = None;
    inspector.each_row("about", &["text".to_string()], None, &mut |row| {
        if let Some(Cell::Text(bytes)) = row.first().map(OwnedCell::as_cell) {
            text = Some(bytes.to_vec());
        }
        Ok(())
    })?;
    let damaged = |detail: String| Error::corrupt(path.display(), detail);
    let about: About = serde_json::from_slice(&text.unwrap_or_default()).map_err(|error| damaged(error.to_string()))?;
    if about.format != FORMAT {
        return Err(Error::Unsupported { what: format!("{} of format {}", path.display(), about.format).into() });
    }
    Ok((inspector, about))
}

/// Records that the rows are in place, or are not any more.
pub(super) fn turn(data_dir: &Path, about: &About) -> Result<()> {
    let path = path(data_dir);
    let text = about.text(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let write = || -> rusqlite::Result<()> {
        let conn = Connection::open_with_flags(&path, flags)?;
        conn.execute_batch("PRAGMA journal_mode=MEMORY")?;
        conn.execute("UPDATE about SET text = ?1", [text]).map(drop)
    };
    write().map_err(failed(&path))
}

/// Takes a row as it was, if it was there, and as it was restored.
type Visit<'v> = dyn FnMut(Option<&[OwnedCell]>, &[OwnedCell]) -> Result<()> + 'v;

/// Gives each recorded row to `visit`: as it was, if it was there, and as it was restored.
pub(super) fn each(record: &Inspector<'_>, columns: usize, visit: &mut Visit<'_>) -> Result<()> {
    let names = |letter: char| (0..columns).map(move |at| format!("{letter}{at}"));
    let all: Vec<String> = std::iter::once("was".to_string()).chain(names('b')).chain(names('a')).collect();
    record.each_row("changed", &all, None, &mut |row| {
        let (Some(was), Some(rest)) = (row.first(), row.get(1..)) else { return Ok(()) };
        let (before, after) = rest.split_at(columns.min(rest.len()));
        visit((*was == OwnedCell::Integer(1)).then_some(before), after)
    })
}
