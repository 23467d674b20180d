//! The files of a set: their names, and the manifest, which is written last.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::manifest::{self, Layout, Manifest, ManifestEntry, Origin};
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::format::snapshot::{Database, Snapshot, THE_DATABASE};
use crate::fs::durable::SyncedFile;
use crate::fs::temp_file::temporary_file;
use crate::store::SnapshotName;

/// The names of one kind of a set's files: what is before the timestamp, and after it.
pub(crate) struct Pattern(&'static str, &'static str);

pub(crate) const DATABASE: Pattern = Pattern("lrl_db_", ".sqlite");
/// The databases after the first: a name of their own and `_` come before the timestamp.
const OTHER_DATABASE: Pattern = Pattern("lrl_db-", ".sqlite");
pub(crate) const ASSETS: Pattern = Pattern("lrl_assets_", ".tar.gz");
/// The list of what a set lacks.
pub(crate) const MISSING: Pattern = Pattern("lrl_missing_", ".txt");
pub(crate) const MANIFEST: Pattern = Pattern("backup_manifest_", ".json");

impl Pattern {
    fn join(&self, out: &Path, timestamp: &str) -> PathBuf {
        out.join(format!("{}{timestamp}{}", self.0, self.1))
    }

    /// Returns what a name of this kind has in place of the timestamp.
    pub(crate) fn stamp<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.0)?.strip_suffix(self.1)
    }
}

/// Returns the timestamp in the name of any database of a set.
pub(crate) fn database_stamp(name: &str) -> Option<&str> {
    DATABASE.stamp(name).or_else(|| {
        let rest = OTHER_DATABASE.stamp(name)?;
        let at = rest.len().checked_sub(STAMP_BYTES + 1)?;
        rest.get(at..)?.strip_prefix('_').filter(|stamp| is_stamp(stamp))
    })
}

/// Returns whether a text has the form `YYYYMMDD_HHMMSS`.
pub(crate) fn is_stamp(text: &str) -> bool {
    text.len() == STAMP_BYTES
        && text.bytes().enumerate().all(|(at, byte)| if at == 8 { byte == b'_' } else { byte.is_ascii_digit() })
}

/// Length of a timestamp.
pub(crate) const STAMP_BYTES: usize = "YYYYMMDD_HHMMSS".len();

/// Returns the part of a file's name that tells a database from the others of its set.
fn slug(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let slug: String = text.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    // Names of files have an end.
    slug.get(slug.len().saturating_sub(MOST_SLUG)..).unwrap_or_default().into()
}

/// The end of a path tells databases apart better than its beginning.
const MOST_SLUG: usize = 100;

/// The names of a set's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The first database.
    pub database: PathBuf,
    /// The files' archive.
    pub assets: PathBuf,
    /// The list of what it lacks, if it lacks anything.
    pub missing: PathBuf,
    /// The manifest.
    pub manifest: PathBuf,
}

impl Names {
    /// Names the files of a set in `out`, whose path is kept as the user gave it.
    pub(crate) fn new(out: &Path, timestamp: &str) -> Self {
        Self {
            database: DATABASE.join(out, timestamp),
            assets: ASSETS.join(out, timestamp),
            missing: MISSING.join(out, timestamp),
            manifest: MANIFEST.join(out, timestamp),
        }
    }

    /// Names the databases of a set, in their order.
    pub(crate) fn databases(&self, databases: &[Database]) -> Vec<PathBuf> {
        let mut taken = HashSet::new();
        let mut names = Vec::new();
        for (at, database) in databases.iter().enumerate() {
            if at == 0 {
                names.push(self.database.clone());
                continue;
            }
            let (slug, mut count) = (slug(&database.path), 1);
            let mut free = slug.clone();
            // Some file systems, those of most USB sticks among them, do not tell capital letters from small ones.
            while !taken.insert(free.to_ascii_lowercase()) {
                count += 1;
                free = format!("{slug}-{count}");
            }
            let first = self.database.file_name().unwrap_or_default().to_string_lossy();
            let stamp = DATABASE.stamp(&first).unwrap_or_default();
            names.push(self.database.with_file_name(format!("{}{free}_{stamp}{}", OTHER_DATABASE.0, OTHER_DATABASE.1)));
        }
        names
    }

    /// Returns whether a set, or a part of one, has these names.
    pub(crate) fn is_taken(&self) -> bool {
        [&self.database, &self.assets, &self.manifest].iter().any(|path| path.symlink_metadata().is_ok())
            || self.has_other_database()
    }

    /// Returns whether the directory holds a database of these names that is not the first of its set.
    fn has_other_database(&self) -> bool {
        let first = self.database.file_name().unwrap_or_default().to_string_lossy();
        let stamp = DATABASE.stamp(&first);
        let listing = self.database.parent().and_then(|dir| std::fs::read_dir(dir).ok());
        // A directory that cannot be listed says so when the set is written.
        let mut names = listing.into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_str().is_some_and(|name| database_stamp(name) == stamp && stamp.is_some()))
    }
}

/// Describes the set of a snapshot, whose archive's digest is in the snapshot. `program` is the one that writes the set.
pub(crate) fn manifest(names: &Names, name: &SnapshotName, snapshot: &Snapshot, program: &str) -> Result<Manifest> {
    manifest_of(names, &names.databases(&snapshot.databases), name, snapshot, program)
}

/// As [`manifest`], with the names of the databases' copies in their order.
pub(crate) fn manifest_of(
    names: &Names,
    copies: &[PathBuf],
    name: &SnapshotName,
    snapshot: &Snapshot,
    program: &str,
) -> Result<Manifest> {
    let mut backups = Vec::new();
    for (path, database) in copies.iter().zip(&snapshot.databases) {
        let sha256 = database.sha256.clone();
        backups.push(ManifestEntry::Database(manifest::Database {
            path: (database.path != THE_DATABASE).then(|| path_text::encode(&database.path)),
            source: database.source_path.clone(),
            backup: path.display().to_string(),
            size_bytes: Some(database.size_bytes),
            sha256: Some(sha256.ok_or_else(|| Error::Missing { object: "a database's digest".into() })?),
        }));
    }
    if let Some(uploads) = &snapshot.files {
        let made = uploads.archive.as_ref().ok_or_else(|| Error::Missing { object: "the archive's digest".into() })?;
        backups.push(ManifestEntry::Assets(manifest::Assets {
            layout: if uploads.is_site() { Layout::Root } else { Layout::Manual },
            source: uploads.shown_source(),
            backup: names.assets.display().to_string(),
            file_count: Some(uploads.files),
            total_source_size_bytes: Some(uploads.bytes),
            archive_size_bytes: Some(made.size_bytes),
            sha256: Some(made.sha256.clone()),
        }));
    }
    Ok(Manifest {
        timestamp_utc: snapshot.timestamp.clone(),
        created_at: created_at(&snapshot.timestamp),
        version: manifest::VERSION.into(),
        backups,
        lrl: Some(Origin {
            snapshot: name.id.to_string(),
            source: name.source.clone(),
            program: program.into(),
            modes: snapshot.databases.iter().map(mode).collect(),
        }),
    })
}

/// Returns a database's path and permission bits, as the manifest has them.
fn mode(database: &Database) -> (String, String) {
    (path_text::encode(&database.path), format!("{:04o}", database.mode & 0o777))
}

/// Writes the manifest: from here on the set is whole, so its other files must be in place.
pub(crate) fn write_manifest(names: &Names, manifest: &Manifest) -> Result<()> {
    let mut file = temporary_file(names.manifest.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&manifest.encode()).map_err(Error::io("write", &names.manifest))?;
    SyncedFile::new(file)?.persist_new(&names.manifest)
}

/// `20260114_120000` as `2026-01-14T12:00:00+00:00`.
fn created_at(timestamp: &str) -> String {
    let t = |range: std::ops::Range<usize>| timestamp.get(range).unwrap_or_default();
    format!("{}-{}-{}T{}:{}:{}+00:00", t(0..4), t(4..6), t(6..8), t(9..11), t(11..13), t(13..15))
}

#[cfg(test)]
mod tests {
    use super::{Names, database_stamp};
    use crate::format::snapshot::Database;
    use crate::id::ChunkId;
    use crate::time::Time;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::path::Path;

    const STAMP: &str = "20260114_120000";

    fn database(path: &[u8]) -> Database {
        Database {
            path: path.to_vec(),
            source_path: String::new(),
            size_bytes: 0,
            sha256: None,
            root: ChunkId::of(b""),
            page_size: 4096,
            change_counter: 0,
            used_pages: None,
            tables: None,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Vec::new(),
        }
    }

    fn file_names(paths: &[&[u8]]) -> Vec<String> {
        let databases: Vec<Database> = paths.iter().map(|path| database(path)).collect();
        let names = Names::new(Path::new("out"), STAMP).databases(&databases);
        names.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_string()).collect()
    }

    #[test]
    fn slugs_that_are_equal_get_numbers_also_where_case_does_not_count() {
        let found = file_names(&[b"a.db", b"d/x", b"d-x", b"D_X", b"d-x-2", b"x_20260101_000000.sqlite"]);
        let slugs = ["", "-d-x", "-d-x-2", "-D-X-3", "-d-x-2-2", "-x-20260101-000000.sqlite"];
        let expected = slugs.map(|slug| format!("lrl_db{slug}_{STAMP}.sqlite"));
        assert_eq!(found, expected);
    }

    #[test]
    fn names_of_other_files_have_no_timestamp() {
        for name in
            ["lrl_db-x_2026011x_120000.sqlite", "lrl_db-_.sqlite", "lrl_db-20260114_120000.sqlite", "lrl_db-x.sqlite"]
        {
            assert_eq!(database_stamp(name), None, "{name}");
        }
        let name = "lrl_db-x-20260101_000000.sqlite_20260114_120000.sqlite";
        assert_eq!(database_stamp(name), Some(STAMP));
    }

    #[test]
    fn a_leftover_database_takes_its_timestamp() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::new(dir.path(), STAMP);
        assert!(!names.is_taken());
        std::fs::write(dir.path().join("lrl_db-x_20260114_120001.sqlite"), "").unwrap();
        assert!(!names.is_taken());
        std::fs::write(dir.path().join("lrl_db-x_20260114_120000.sqlite"), "").unwrap();
        assert!(names.is_taken());
    }

    proptest! {
        #[test]
        fn any_paths_have_names_that_differ_and_fit(paths in proptest::collection::vec(proptest::collection::vec(1u8.., 1..600), 1..12)) {
            let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
            let found = file_names(&paths);
            let lower: HashSet<String> = found.iter().map(|name| name.to_ascii_lowercase()).collect();
            prop_assert_eq!(lower.len(), paths.len());
            for name in found {
                prop_assert!(name.len() <= 255 && name.is_ascii() && !name.contains('/'));
                prop_assert_eq!(database_stamp(&name), Some(STAMP));
            }
        }
    }
}
