//! The files of one archive or snapshot by path, with length and SHA-256, in a temporary database that SQLite removes itself.
//! Holds a few MiB in memory however many files there are.

use rusqlite::{Connection, OptionalExtension};

use crate::error::{Error, Result};
use crate::fs::temp_db::{self, Rollback};
use crate::set::archive::extract::FileVisitor;

/// What is known of a file: its length in bytes, and its SHA-256 unless it has very large holes.
pub(super) type Facts = (u64, Option<[u8; 32]>);

pub(super) struct Files {
    conn: Connection,
    hardlinks: u64,
    hardlink_bytes: u64,
}

/// What is at one path: a file, or a symbolic link.
struct Row {
    size: Option<i64>,
    sha256: Option<[u8; 32]>,
    target: Option<Vec<u8>>,
}

/// Paths in the order of the list that rows and archives come in, so that both insert and look up go forward.
fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

const PURPOSE: &str = "the list of files cannot be kept";
const CACHE_KIB: u32 = 8192;

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}

impl Files {
    pub fn new() -> Result<Self> {
        let schema = "CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, sha256 BLOB, target BLOB) WITHOUT ROWID";
        let conn = temp_db::create(PURPOSE, schema, CACHE_KIB, Rollback::Never)?;
        Ok(Self { conn, hardlinks: 0, hardlink_bytes: 0 })
    }

    pub fn add(&self, path: &[u8], size_bytes: u64, sha256: Option<&[u8; 32]>) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO files (path, size, sha256) VALUES (?1, ?2, ?3)";
        let done = self.conn.prepare_cached(insert).and_then(|mut insert| {
            insert.execute((key(path), size_bytes.cast_signed(), sha256.map(<[u8; 32]>::as_slice)))
        });
        done.map(drop).map_err(failed)
    }

    /// Adds a hard link to a file.
    pub fn add_name(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.hardlinks += 1;
        if let Some((size_bytes, sha256)) = self.find(target)? {
            self.hardlink_bytes += size_bytes;
            self.add(path, size_bytes, sha256.as_ref())?;
        }
        Ok(())
    }

    /// Takes a symbolic link, for rows whose path leads through it.
    pub fn add_link(&self, path: &[u8], target: &[u8]) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO files (path, target) VALUES (?1, ?2)";
        let done = self.conn.prepare_cached(insert).and_then(|mut insert| insert.execute((key(path), target)));
        done.map(drop).map_err(failed)
    }

    /// Returns the number of hard links, and the bytes of what they link to.
    pub fn hardlinks(&self) -> (u64, u64) {
        (self.hardlinks, self.hardlink_bytes)
    }

    /// Finds the file at a clean path; follows symbolic links that stay inside.
    pub fn find(&self, path: &[u8]) -> Result<Option<Facts>> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            if let Some(Row { size: Some(size), sha256, .. }) = self.row(&path)? {
                return Ok(Some((size.cast_unsigned(), sha256)));
            }
            let Some(next) = self.follow(&path)? else { return Ok(None) };
            path = next;
        }
        Ok(None)
    }

    fn row(&self, path: &[u8]) -> Result<Option<Row>> {
        let select = "SELECT size, sha256, target FROM files WHERE path = ?1";
        let row = self.conn.prepare_cached(select).and_then(|mut select| {
            let row = |row: &rusqlite::Row<'_>| Ok(Row { size: row.get(0)?, sha256: row.get(1)?, target: row.get(2)? });
            select.query_row([key(path)], row).optional()
        });
        row.map_err(failed)
    }

    /// Replaces the first symbolic link on the way by what it leads to.
    fn follow(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let Some(Row { target: Some(target), .. }) = self.row(&path[..end])? else { continue };
            let parent = path[..end].iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
            return Ok(join(parent, &target, &path[end..]));
        }
        Ok(None)
    }
}

/// Joins a directory, a relative target and the rest of a path; `None` if that leads out.
fn join(parent: &[u8], target: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [parent, target, rest].into_iter().flat_map(|path| path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

impl FileVisitor for Files {
    fn file(&mut self, path: &[u8], size_bytes: u64, sha256: &[u8; 32]) -> Result<()> {
        self.add(path, size_bytes, Some(sha256))
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.add_name(path, target)
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.add_link(path, target)
    }
}

#[cfg(test)]
mod tests {
    use super::Files;

    #[test]
    fn files_are_found_by_every_name_that_leads_to_them() {
        let mut files = Files::new().unwrap();
        files.add(b"assets/a/x", 5, Some(&[1; 32])).unwrap();
        files.add_name(b"assets/a/y", b"assets/a/x").unwrap();
        files.add_link(b"assets/b", b"a").unwrap();
        files.add_link(b"assets/c", b"../assets/b/./x").unwrap();
        files.add_link(b"assets/out", b"../../etc/passwd").unwrap();
        files.add_link(b"assets/loop", b"loop").unwrap();
        for path in ["assets/a/x", "assets/a/y", "assets/b/x", "assets/b/y", "assets/c"] {
            assert_eq!(files.find(path.as_bytes()).unwrap(), Some((5, Some([1; 32]))), "{path}");
        }
        for path in ["assets", "assets/a", "assets/b", "assets/out", "assets/loop", "assets/loop/x", "assets/z", ""] {
            assert_eq!(files.find(path.as_bytes()).unwrap(), None, "{path}");
        }
        assert_eq!(files.hardlinks(), (1, 5));
    }
}
