//! The files of one archive or snapshot by path, with length and SHA-256, in a temporary database that SQLite removes itself.
//! Holds a few MiB in memory however many files there are.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension};

use crate::budget::DRILLED_CACHE_KIB;
use crate::error::{Error, Result};
use crate::fs::temp_db::{self, Rollback};
use crate::set::archive::extract::FileVisitor;

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, unless it has very large holes.
    pub sha256: Option<[u8; 32]>,
    /// Its MD5, where that is wanted.
    pub md5: Option<[u8; 16]>,
}

pub(crate) struct Files {
    conn: Connection,
    with_md5: bool,
    marks: Cell<u32>,
    hardlinks: u64,
    hardlink_bytes: u64,
}

/// What is at one path: a file, or a symbolic link.
struct Row {
    facts: Option<Facts>,
    target: Option<Vec<u8>>,
}

/// Paths in the order of the list that rows and archives come in, so that both insert and look up go forward.
pub(crate) fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

const PURPOSE: &str = "the list of files cannot be kept";

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}

impl Files {
    /// Makes an empty list; `with_md5` asks for the files' MD5.
    pub(crate) fn new(with_md5: bool) -> Result<Self> {
        let schema =
            "CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, sha256 BLOB, md5 BLOB, target BLOB, mark INTEGER)
                      WITHOUT ROWID";
        let conn = temp_db::create(PURPOSE, schema, DRILLED_CACHE_KIB, Rollback::Never)?;
        Ok(Self { conn, with_md5, marks: Cell::new(0), hardlinks: 0, hardlink_bytes: 0 })
    }

    pub(crate) fn add(&self, path: &[u8], facts: &Facts) -> Result<()> {
        self.insert(path, facts, Some(0))
    }

    /// Adds a database, for rows that name one; it is never one of the files without a row.
    pub(crate) fn add_database(&self, path: &[u8], facts: &Facts) -> Result<()> {
        self.insert(path, facts, None)
    }

    fn insert(&self, path: &[u8], facts: &Facts, mark: Option<u32>) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO files (path, size, sha256, md5, mark) VALUES (?1, ?2, ?3, ?4, ?5)";
        let done = self.conn.prepare_cached(insert).and_then(|mut insert| {
            let Facts { size, sha256, md5 } = facts;
            insert.execute((
                key(path),
                size.cast_signed(),
                sha256.as_ref().map(<[u8; 32]>::as_slice),
                md5.as_ref().map(<[u8; 16]>::as_slice),
                mark,
            ))
        });
        done.map(drop).map_err(failed)
    }

    /// Returns a mark that no file has.
    pub(crate) fn new_mark(&self) -> u32 {
        self.marks.set(self.marks.get() + 1);
        self.marks.get()
    }

    /// Marks the file at a path as one that a row names.
    pub(crate) fn mark(&self, path: &[u8], mark: u32) -> Result<()> {
        let update = "UPDATE files SET mark = ?2 WHERE path = ?1 AND mark <> ?2";
        let done = self.conn.prepare_cached(update).and_then(|mut update| update.execute((key(path), mark)));
        done.map(drop).map_err(failed)
    }

    /// Gives the files below a directory, or all for an empty one, that do not have this mark.
    pub(crate) fn each_unmarked(
        &self,
        directory: &[u8],
        mark: u32,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        // Keys of a directory's files have its name and a zero, for the separator, before the rest.
        let end = |last: u8| [&key(directory)[..], &[last]].concat();
        let from = if directory.is_empty() { Vec::new() } else { end(0) };
        let select = "SELECT path FROM files WHERE path >= ?1 AND (?2 OR path < ?3) AND size IS NOT NULL AND mark <> ?4 ORDER BY path";
        let mut statement = self.conn.prepare_cached(select).map_err(failed)?;
        let mut rows = statement.query((from, directory.is_empty(), end(1), mark)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let mut path: Vec<u8> = row.get(0).map_err(failed)?;
            path.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'/');
            sink(&path)?;
        }
        Ok(())
    }

    /// Adds a hard link to a file.
    pub(crate) fn add_name(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.hardlinks += 1;
        if let Some(facts) = self.find(target)? {
            self.hardlink_bytes += facts.size;
            self.add(path, &facts)?;
        }
        Ok(())
    }

    /// Takes a symbolic link, for rows whose path leads through it.
    pub(crate) fn add_link(&self, path: &[u8], target: &[u8]) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO files (path, target) VALUES (?1, ?2)";
        let done = self.conn.prepare_cached(insert).and_then(|mut insert| insert.execute((key(path), target)));
        done.map(drop).map_err(failed)
    }

    /// Returns the number of hard links, and the bytes of what they link to.
    pub(crate) fn hardlinks(&self) -> (u64, u64) {
        (self.hardlinks, self.hardlink_bytes)
    }

    /// Finds the file at a clean path; follows symbolic links that stay inside.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Option<Facts>> {
        Ok(self.find_at(path)?.map(|(_, facts)| facts))
    }

    /// As [`Files::find`], with the path that the links lead to.
    pub(crate) fn find_at(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Facts)>> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            if let Some(Row { facts: Some(facts), .. }) = self.row(&path)? {
                return Ok(Some((path, facts)));
            }
            let Some(next) = self.follow(&path)? else { return Ok(None) };
            path = next;
        }
        Ok(None)
    }

    fn row(&self, path: &[u8]) -> Result<Option<Row>> {
        let select = "SELECT size, sha256, md5, target FROM files WHERE path = ?1";
        let row = self.conn.prepare_cached(select).and_then(|mut select| {
            let row = |row: &rusqlite::Row<'_>| {
                let size: Option<i64> = row.get(0)?;
                let (sha256, md5) = (row.get(1)?, row.get(2)?);
                let facts = size.map(|size| Facts { size: size.cast_unsigned(), sha256, md5 });
                Ok(Row { facts, target: row.get(3)? })
            };
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
        self.file_with_md5(path, size_bytes, sha256, None)
    }

    fn wants_md5(&self) -> bool {
        self.with_md5
    }

    fn file_with_md5(&mut self, path: &[u8], size_bytes: u64, sha256: &[u8; 32], md5: Option<&[u8; 16]>) -> Result<()> {
        self.add(path, &Facts { size: size_bytes, sha256: Some(*sha256), md5: md5.copied() })
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
    use super::{Facts, Files};

    #[test]
    fn files_are_found_by_every_name_that_leads_to_them() {
        let mut files = Files::new(false).unwrap();
        let facts = Facts { size: 5, sha256: Some([1; 32]), md5: None };
        files.add(b"assets/a/x", &facts).unwrap();
        files.add_name(b"assets/a/y", b"assets/a/x").unwrap();
        files.add_link(b"assets/b", b"a").unwrap();
        files.add_link(b"assets/c", b"../assets/b/./x").unwrap();
        files.add_link(b"assets/out", b"../../etc/passwd").unwrap();
        files.add_link(b"assets/loop", b"loop").unwrap();
        for path in ["assets/a/x", "assets/a/y", "assets/b/x", "assets/b/y", "assets/c"] {
            assert_eq!(files.find(path.as_bytes()).unwrap(), Some(facts), "{path}");
        }
        for path in ["assets", "assets/a", "assets/b", "assets/out", "assets/loop", "assets/loop/x", "assets/z", ""] {
            assert_eq!(files.find(path.as_bytes()).unwrap(), None, "{path}");
        }
        assert_eq!(files.hardlinks(), (1, 5));
    }

    #[test]
    fn files_without_a_mark_are_those_below_the_directory_alone() {
        let files = Files::new(false).unwrap();
        let facts = Facts { size: 1, sha256: None, md5: None };
        for path in ["a", "a.b", "a/x", "a/y/z", "a0/x", "b", "a/same"] {
            files.add(path.as_bytes(), &facts).unwrap();
        }
        files.add(b"\xff\xff\xff", &facts).unwrap();
        files.add_database(b"a/db", &facts).unwrap();
        files.add_link(b"a/link", b"x").unwrap();
        let (mark, other) = (files.new_mark(), files.new_mark());
        files.mark(b"a/same", mark).unwrap();
        files.mark(b"b", other).unwrap();
        let unmarked = |directory: &str, mark| {
            let mut found = Vec::new();
            let mut take = |path: &[u8]| {
                found.push(String::from_utf8_lossy(path).into_owned());
                Ok(())
            };
            files.each_unmarked(directory.as_bytes(), mark, &mut take).unwrap();
            found
        };
        assert_eq!(unmarked("a", mark), ["a/x", "a/y/z"]);
        assert_eq!(unmarked("a", other), ["a/same", "a/x", "a/y/z"]);
        assert_eq!(unmarked("", mark).len(), 7);
        assert!(unmarked("none", mark).is_empty());
    }
}
