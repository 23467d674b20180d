//! Recognises a set of a source: by its manifest, its snapshot, and the names and lengths of its files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::report::{Kept, Removed};
use crate::error::Error;
use crate::format::snapshot::Snapshot;
use crate::id::SnapshotId;
use crate::ops::judgement::judge;
use crate::set::directory::{self, SetFiles};
use crate::set::layout::{self, Names};
use crate::set::manifest::{Manifest, ManifestEntry};
use crate::set::retention::Parts;
use crate::store::{SnapshotName, Store};

/// A set of this source whose manifest and files are, by name and size, what its snapshot says.
pub(crate) struct Set {
    pub names: Names,
    pub name: SnapshotName,
    pub snapshot: Snapshot,
    /// Other files of the same name beside it.
    pub beside: Vec<String>,
    /// Its removal began in an earlier run.
    pub retired: bool,
}

impl Set {
    pub(crate) fn parts(&self) -> Parts {
        Parts { database: self.snapshot.has_databases(), uploads: self.snapshot.files.is_some() }
    }

    /// Returns which of them are good, judged by the snapshot alone.
    pub(crate) fn good_parts(&self) -> Parts {
        let good = judge(&self.snapshot, None, None).good;
        Parts { database: good.database, uploads: good.uploads }
    }

    /// Returns the set's files with the length and SHA-256 that the snapshot records.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64, String)> {
        let archive = self.snapshot.files.as_ref().and_then(|part| part.archive.as_ref());
        let databases = self.names.databases(&self.snapshot.databases).into_iter().zip(&self.snapshot.databases);
        let databases = databases.map(|(path, part)| (path, part.size_bytes, part.sha256.clone().unwrap_or_default()));
        let archive = archive.map(|made| (self.names.assets.clone(), made.size_bytes, made.sha256.clone()));
        databases.chain(archive).collect()
    }

    pub(crate) fn removed(&self) -> Removed {
        Removed { timestamp: self.snapshot.timestamp.clone(), snapshot: self.name.id }
    }

    pub(crate) fn kept(&self, reason: impl Into<String>) -> Kept {
        Kept { name: file_name(&self.names.manifest), reason: reason.into() }
    }

    /// Recognises a set of this source; otherwise returns its name and why it is none.
    pub(crate) fn recognise(
        store: &Store,
        source: &str,
        known: &[SnapshotName],
        names: Names,
        stamp: &str,
        standing: SetFiles,
    ) -> std::result::Result<Self, Kept> {
        let kept = |name: String, reason: &str| Kept { name, reason: reason.into() };
        let (path, retired) = match (standing.manifest, standing.retired) {
            (true, false) => (names.manifest.clone(), false),
            (false, true) => (directory::retired(&names.manifest), true),
            (true, true) => return Err(kept(file_name(&names.manifest), "it has two manifests")),
            (false, false) => {
                let reason = "it has no manifest: a run did not finish it, or somebody took the manifest away";
                return Err(kept(stamp.to_string(), reason));
            }
        };
        let beside = standing.beside;
        let set = read(&names, &path, source, known, store);
        set.map(|(name, snapshot)| Self { names, name, snapshot, beside, retired })
            .and_then(|set| set.has_its_files().map(|()| set))
            .map_err(|reason| kept(file_name(&path), &reason))
    }

    /// Fails with what is wrong with a set's files, as far as names and sizes tell.
    fn has_its_files(&self) -> std::result::Result<(), String> {
        for (path, len, _) in self.files() {
            match path.symlink_metadata() {
                Ok(meta) if meta.is_file() && meta.size() == len => {}
                Ok(meta) if meta.is_file() => {
                    return Err(format!("{} has another length than it had", file_name(&path)));
                }
                Ok(_) => return Err(format!("{} is no regular file", file_name(&path))),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.retired => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Err(format!("{} is not there", file_name(&path)));
                }
                Err(e) => return Err(Error::io("look at", &path)(e).to_string()),
            }
        }
        Ok(())
    }
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads a manifest, and the snapshot that it was made of; otherwise returns why it is none of this source's.
fn read(
    names: &Names,
    path: &Path,
    source: &str,
    known: &[SnapshotName],
    store: &Store,
) -> std::result::Result<(SnapshotName, Snapshot), String> {
    if !path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        return Err("its manifest is no regular file".into());
    }
    let manifest = Manifest::read(path).map_err(|e| e.to_string())?;
    let origin = manifest.lrl.clone().ok_or("lrl did not write it")?;
    if origin.source != source {
        return Err(format!("it is of the source {}", origin.source));
    }
    let id = SnapshotId::from_hex(&origin.snapshot).map_err(|e| e.to_string())?;
    let name = known.iter().find(|name| name.id == id).ok_or("its snapshot is not in the store")?;
    let snapshot = store.snapshot(name).map_err(|e| e.to_string())?;
    let mut expected = layout::manifest(names, name, &snapshot, &origin.program).map_err(|e| e.to_string())?;
    // Older sets do not have them.
    if let (true, Some(expected)) = (origin.modes.is_empty(), &mut expected.lrl) {
        expected.modes.clear();
    }
    // Nobody's own words may get lost either: they would not be in an exported manifest.
    let bytes = fs::read(path).map_err(|e| Error::io("read", path)(e).to_string())?;
    if snapshot.timestamp != manifest.timestamp_utc
        || bytes != manifest.encode()
        || by_name(manifest) != by_name(expected)
    {
        return Err("its manifest is not what its snapshot says".into());
    }
    Ok((name.clone(), snapshot))
}

/// Takes the directories off the paths of a set's files: they were as the user gave them.
fn by_name(mut manifest: Manifest) -> Manifest {
    for backup in &mut manifest.backups {
        let path = match backup {
            ManifestEntry::Database(entry) => &mut entry.backup,
            ManifestEntry::Assets(entry) => &mut entry.backup,
            ManifestEntry::Missing(entry) => &mut entry.backup,
            ManifestEntry::Unknown { .. } => continue,
        };
        *path = file_name(Path::new(path.as_str()));
    }
    manifest
}
