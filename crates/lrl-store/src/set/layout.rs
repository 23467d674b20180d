//! The files of a set: their names, and the manifest, which is written last.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest, ManifestEntry, Origin};
use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::fs::durable::SyncedFile;
use crate::fs::temp_file::temporary_file;
use crate::store::SnapshotName;

/// The names of one kind of a set's files: what is before the timestamp, and after it.
pub(crate) struct Pattern(&'static str, &'static str);

pub(crate) const DATABASE: Pattern = Pattern("lrl_db_", ".sqlite");
pub(crate) const ASSETS: Pattern = Pattern("lrl_assets_", ".tar.gz");
pub(crate) const MANIFEST: Pattern = Pattern("backup_manifest_", ".json");

impl Pattern {
    fn join(&self, out: &Path, timestamp: &str) -> PathBuf {
        out.join(format!("{}{timestamp}{}", self.0, self.1))
    }

    /// Returns what a name of this kind has in place of the timestamp.
    pub fn stamp<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.0)?.strip_suffix(self.1)
    }
}

/// The names of a set's three files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The database.
    pub database: PathBuf,
    /// The uploads' archive.
    pub assets: PathBuf,
    /// The manifest.
    pub manifest: PathBuf,
}

impl Names {
    /// Names the files of a set in `out`, whose path is kept as the user gave it.
    pub fn new(out: &Path, timestamp: &str) -> Self {
        Self {
            database: DATABASE.join(out, timestamp),
            assets: ASSETS.join(out, timestamp),
            manifest: MANIFEST.join(out, timestamp),
        }
    }

    /// Returns whether a set, or a part of one, has these names.
    pub fn is_taken(&self) -> bool {
        [&self.database, &self.assets, &self.manifest].iter().any(|path| path.symlink_metadata().is_ok())
    }
}

/// Describes the set of a snapshot, whose archive's digest is in the snapshot. `program` is the one that writes the set.
pub fn manifest(names: &Names, name: &SnapshotName, snapshot: &Snapshot, program: &str) -> Result<Manifest> {
    let mut backups = Vec::new();
    if let Some(database) = &snapshot.database {
        backups.push(ManifestEntry::Database(manifest::Database {
            source: database.path.clone(),
            backup: names.database.display().to_string(),
            size_bytes: Some(database.size_bytes),
            sha256: Some(database.sha256.clone()),
        }));
    }
    if let Some(uploads) = &snapshot.uploads {
        let made = uploads.archive.as_ref().ok_or_else(|| Error::Missing { object: "the archive's digest".into() })?;
        backups.push(ManifestEntry::Assets(manifest::Assets {
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
        lrl: Some(Origin { snapshot: name.id.to_string(), source: name.source.clone(), program: program.into() }),
    })
}

/// Writes the manifest: from here on the set is whole, so its other files must be in place.
pub fn write_manifest(names: &Names, manifest: &Manifest) -> Result<()> {
    let mut file = temporary_file(names.manifest.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&manifest.encode()).map_err(Error::io("write", &names.manifest))?;
    SyncedFile::new(file)?.persist_new(&names.manifest)
}

/// `20260114_120000` as `2026-01-14T12:00:00+00:00`.
fn created_at(timestamp: &str) -> String {
    let t = |range: std::ops::Range<usize>| timestamp.get(range).unwrap_or_default();
    format!("{}-{}-{}T{}:{}:{}+00:00", t(0..4), t(4..6), t(6..8), t(9..11), t(11..13), t(13..15))
}
