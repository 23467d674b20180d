//! What is known of the files of sets: versions, digests, and where the segments of the newest archive are.

use std::fs;
use std::path::Path;

use rusqlite::params;

use super::cache::RunCache;
use crate::error::{Error, Result};

/// Where a segment of the newest archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// Offset in the archive.
    pub offset: u64,
    /// Compressed length.
    pub len: u64,
    /// Digest of the compressed bytes.
    pub digest: [u8; 32],
    /// CRC-32 of the plain bytes.
    pub crc32: u32,
    /// Plain length.
    pub plain_len: u64,
}

/// Identifies the version of an output file: size, inode and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(String);

impl Stamp {
    /// Takes the stamp of a file that lies still.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let m = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
        Ok(Self(format!(
            "{} {} {} {}.{} {}.{}",
            m.len(),
            m.dev(),
            m.ino(),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec()
        )))
    }

    /// Returns what stays the same when the file gets another name: length, device and inode.
    fn file(&self) -> String {
        self.0.split(' ').take(3).collect::<Vec<_>>().join(" ")
    }

    fn but_ctime(&self) -> Option<&str> {
        self.0.rsplit_once(' ').map(|(rest, _)| rest)
    }
}

impl RunCache {
    /// Returns the newest archive's path and coder.
    pub(crate) fn archive(&self) -> Option<(std::path::PathBuf, String)> {
        use std::os::unix::ffi::OsStringExt;
        let row = self
            .db
            .query_row("SELECT path, coder FROM archive", [], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)));
        row.ok().map(|(path, coder)| (std::ffi::OsString::from_vec(path).into(), coder))
    }

    /// Begins to note the segments of a new archive, on disk and beside those of the one before.
    pub(crate) fn start_archive(&self) -> rusqlite::Result<()> {
        self.db.execute_batch(
            "DROP TABLE IF EXISTS temp.fresh; CREATE TEMP TABLE fresh AS SELECT * FROM segments LIMIT 0;",
        )
    }

    /// Forgets the segments of the archive before: the new one, whose segments were noted, is whole.
    pub(crate) fn finish_archive(&self, path: &Path, coder: &str) -> rusqlite::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        self.db.execute_batch(
            "DELETE FROM archive; DELETE FROM segments;
             INSERT OR REPLACE INTO segments SELECT * FROM temp.fresh; DROP TABLE temp.fresh;",
        )?;
        self.db.execute("INSERT INTO archive VALUES(?,?)", params![path.as_os_str().as_bytes(), coder]).map(|_| ())
    }

    /// Finds a segment of the newest archive.
    pub(crate) fn segment(&self, key: &[u8; 32]) -> Option<SegmentState> {
        let mut statement =
            self.db.prepare_cached("SELECT offset, len, digest, crc, plain_len FROM segments WHERE key=?").ok()?;
        let row = statement.query_row([key], |row| {
            Ok(SegmentState {
                offset: row.get::<_, i64>(0)? as u64,
                len: row.get::<_, i64>(1)? as u64,
                digest: row.get(2)?,
                crc32: row.get(3)?,
                plain_len: row.get::<_, i64>(4)? as u64,
            })
        });
        row.ok()
    }

    /// Notes a segment of the new archive.
    pub(crate) fn put_segment(&self, key: &[u8; 32], s: &SegmentState) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("INSERT INTO temp.fresh VALUES(?,?,?,?,?,?)")?
            .execute(params![key, s.offset as i64, s.len as i64, s.digest, s.crc32, s.plain_len as i64])
            .map(|_| ())
    }

    /// Finds an output file in `dir` that has this SHA-256 and is still the version that was written.
    pub(crate) fn find_output(&self, sha256: &str, dir: &Path) -> Option<std::path::PathBuf> {
        self.names_of(sha256)
            .unwrap_or_default()
            .into_iter()
            .find(|(path, stamp)| path.parent() == Some(dir) && Stamp::of(path).is_ok_and(|now| now.0 == *stamp))
            .map(|(path, _)| path)
    }

    /// Returns when an output file's bytes were last compared with its digest, in seconds since 1970.
    pub(crate) fn verified_at(&self, path: &Path) -> Option<i64> {
        let stamp = Stamp::of(path).ok()?;
        self.db.query_row("SELECT at FROM verified WHERE file=?", [stamp.file()], |row| row.get(0)).ok()
    }

    /// Notes that an output file's bytes were compared with its digest, or written with it.
    pub(crate) fn put_verified(&self, path: &Path, at: i64) -> rusqlite::Result<()> {
        let Ok(stamp) = Stamp::of(path) else { return Ok(()) };
        self.db.execute("INSERT OR REPLACE INTO verified VALUES(?,?)", params![stamp.file(), at]).map(|_| ())
    }

    /// Finds the newest output file in `dir` whose name ends so; only its place is known, not that it is still what was written.
    pub(crate) fn newest_output(&self, dir: &Path, extension: &str) -> Option<std::path::PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let mut statement = self.db.prepare_cached("SELECT path FROM outputs ORDER BY path DESC").ok()?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).ok()?;
        rows.flatten().map(|path| std::path::PathBuf::from(std::ffi::OsString::from_vec(path))).find(|path| {
            path.parent() == Some(dir) && path.extension().is_some_and(|e| e == extension) && path.exists()
        })
    }

    /// Returns the SHA-256 of an output file that is still the version whose bytes were known, under this name or another one of the same file.
    pub(crate) fn output_sha256(&self, path: &Path) -> Option<String> {
        let stamp = Stamp::of(path).ok()?;
        self.db.query_row("SELECT sha256 FROM outputs WHERE stamp=?", [stamp.0], |row| row.get(0)).ok()
    }

    /// Removes an output file. Losing a name moves the ctime of the file's other names: what is known of those stays known, and the segments of
    /// the newest archive are looked for under one of them.
    pub(crate) fn remove_output(
        &self,
        path: &Path,
        sha256: &str,
        remove: impl FnOnce() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let before = Stamp::of(path).ok();
        remove()?;
        // From here on trouble costs the next run time, no more.
        for (name, stamp) in self.names_of(sha256).unwrap_or_default() {
            let known = before.as_ref().is_some_and(|before| before.0 == stamp);
            if known && Stamp::of(&name).is_ok_and(|now| now.but_ctime() == Stamp(stamp).but_ctime()) {
                let _ = self.put_output(&name, sha256);
            }
        }
        if let Some(before) =
            before.filter(|_| path.parent().is_some_and(|dir| self.find_output(sha256, dir).is_none()))
        {
            let _ = self.db.execute("DELETE FROM verified WHERE file=?", [before.file()]);
        }
        let gone = path.as_os_str().as_bytes();
        let _ = self.db.execute("DELETE FROM outputs WHERE path=?", [gone]);
        if let Some(left) = path.parent().and_then(|dir| self.find_output(sha256, dir)) {
            let left = left.as_os_str().as_bytes();
            let _ = self.db.execute("UPDATE archive SET path=? WHERE path=?", [left, gone]);
        }
        Ok(())
    }

    fn names_of(&self, sha256: &str) -> rusqlite::Result<Vec<(std::path::PathBuf, String)>> {
        use std::os::unix::ffi::OsStringExt;
        let mut statement = self.db.prepare_cached("SELECT path, stamp FROM outputs WHERE sha256=?")?;
        let rows = statement.query_map([sha256], |row| {
            Ok((std::ffi::OsString::from_vec(row.get::<_, Vec<u8>>(0)?).into(), row.get::<_, String>(1)?))
        })?;
        rows.collect()
    }

    /// Notes an output file that was just written.
    pub(crate) fn put_output(&self, path: &Path, sha256: &str) -> rusqlite::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let Ok(stamp) = Stamp::of(path) else { return Ok(()) };
        self.db
            .execute(
                "INSERT OR REPLACE INTO outputs VALUES(?,?,?)",
                params![path.as_os_str().as_bytes(), stamp.0, sha256],
            )
            .map(|_| ())
    }
}
