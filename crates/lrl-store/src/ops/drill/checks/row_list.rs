//! The rows of a query that name files, in the order of the files, in a temporary database that SQLite removes itself. Holds a few MiB in memory
//! however many rows there are.

use rusqlite::Connection;

use crate::budget::ROWS_CACHE_KIB;
use crate::error::{Error, Result};
use crate::fs::temp_db::{self, Rollback};
use crate::ops::drill::files::key;
use crate::source::database::FileFacts;

pub(crate) struct RowList {
    conn: Connection,
}

const PURPOSE: &str = "the rows that name files cannot be kept";

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}

impl RowList {
    pub(crate) fn new() -> Result<Self> {
        let schema =
            "CREATE TABLE named (path BLOB, size INTEGER, no_size TEXT, sha256 TEXT, md5 TEXT, md5_base64 TEXT)";
        Ok(Self { conn: temp_db::create(PURPOSE, schema, ROWS_CACHE_KIB, Rollback::Never)? })
    }

    /// Adds what a row knows of the file at a clean path.
    pub(crate) fn add(&self, path: &[u8], facts: &FileFacts) -> Result<()> {
        let (size, no_size) = match &facts.size {
            None => (None, None),
            Some(Ok(size)) => (Some(size.cast_signed()), None),
            Some(Err(text)) => (None, Some(text)),
        };
        let insert = "INSERT INTO named VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let done = self.conn.prepare_cached(insert).and_then(|mut insert| {
            insert.execute((key(path), size, no_size, &facts.sha256, &facts.md5, &facts.md5_base64))
        });
        done.map(drop).map_err(failed)
    }

    /// Gives the rows to `sink`, in the order of their paths.
    pub(crate) fn each(&self, sink: &mut dyn FnMut(&[u8], FileFacts) -> Result<()>) -> Result<()> {
        let select = "SELECT path, size, no_size, sha256, md5, md5_base64 FROM named ORDER BY path";
        let mut statement = self.conn.prepare(select).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let facts = || {
                let size = row.get::<_, Option<i64>>(1)?.map(|size| Ok(size.cast_unsigned()));
                Ok(FileFacts {
                    size: size.or(row.get::<_, Option<String>>(2)?.map(Err)),
                    sha256: row.get(3)?,
                    md5: row.get(4)?,
                    md5_base64: row.get(5)?,
                })
            };
            let mut path: Vec<u8> = row.get(0).map_err(failed)?;
            path.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'/');
            sink(&path, facts().map_err(failed)?)?;
        }
        Ok(())
    }
}
