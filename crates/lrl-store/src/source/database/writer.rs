//! A database that rows are written into: the one place from which lrl writes to an application's database, and the copy on which that is tried.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::connect::{configure, describe, open_copy};
use super::inspect::Inspector;
use crate::error::{Error, Result};
use crate::progress::Observer;

/// No statement takes longer: triggers are the application's.
const PATIENCE: Duration = Duration::from_secs(600);

/// Opens the live database for writing, as any other program of the application would. `busy` is how long to wait for another's lock.
///
/// # Errors
/// [`Error::Refused`] for a link, [`Error::Source`] if it cannot be opened.
pub(crate) fn open_live<'o>(
    path: &Path,
    busy: Duration,
    triggers: bool,
    observer: &'o dyn Observer,
) -> Result<Inspector<'o>> {
    let failed = |detail: String| Error::Source { path: path.to_path_buf(), detail: detail.into() };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let open = |real: &Path| {
        let conn = configure(Connection::open_with_flags(real, flags)?)?;
        conn.busy_timeout(busy)?;
        // As for every program: the last one to close it leaves no `-wal` behind.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        prepare(conn, triggers)
    };
    let conn = open(&real_path(path)?)
        .map_err(|error| failed(format!("cannot be opened for writing: {}", describe(&error))))?;
    Ok(Inspector::over(conn, path, observer, PATIENCE))
}

/// Opens a private copy, on which a change is tried.
///
/// # Errors
/// [`Error::Corrupt`] if SQLite cannot open it.
pub(crate) fn open_trial<'o>(path: &Path, triggers: bool, observer: &'o dyn Observer) -> Result<Inspector<'o>> {
    let open = || {
        let conn = open_copy(path)?;
        // All of it is in the one file.
        conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
        prepare(conn, triggers)
    };
    let conn = open().map_err(|error| Error::corrupt("the copy of the live database", describe(&error)))?;
    Ok(Inspector::over(conn, path, observer, PATIENCE))
}

/// Follows links of directories, not one at the end: who owns it could have lrl write elsewhere.
fn real_path(path: &Path) -> Result<PathBuf> {
    let meta = fs::symlink_metadata(path).map_err(Error::io("open", path))?;
    if !meta.is_file() {
        return Err(Error::refused(format!(
            "{} is not a regular file: rows are written only into the database itself, not through a link",
            path.display()
        )));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = fs::canonicalize(parent).map_err(Error::io("open", parent))?;
    Ok(parent.join(path.file_name().unwrap_or(OsStr::new(""))))
}

fn prepare(conn: Connection, triggers: bool) -> rusqlite::Result<Connection> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, triggers)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Foreign keys are checked as a whole before the commit, and no action of theirs runs.
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", 1)?;
    conn.pragma_update(None, "cache_size", -4096)?;
    Ok(conn)
}
