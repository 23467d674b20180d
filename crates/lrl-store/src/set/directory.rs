//! What is in a backup directory, by the names of its files: sets, parts of sets, and what is beside them. Opens none of them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::layout::{ASSETS, MANIFEST, STAMP_BYTES, database_stamp, is_stamp};
use crate::error::{Error, Place, Result};

/// Prefix of the manifest of a set whose removal has begun: it is no longer a set, and its other files may still be there.
const RETIRED_PREFIX: &str = ".retired-";

/// What has one timestamp in its names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SetFiles {
    /// A manifest is there.
    pub manifest: bool,
    /// A manifest of a set whose removal has begun is there.
    pub retired: bool,
    /// A database or an archive is there.
    pub files: bool,
    /// Bytes on disk of its files, as far as no set before it in the listing has them by hard link.
    pub disk_bytes: u64,
    /// Names of other files that hold the timestamp, as `lrl_db_….sqlite-wal` does.
    pub beside: Vec<String>,
}

/// A backup directory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BackupDir {
    /// By timestamp, or whatever the names have in its place.
    pub by_timestamp: BTreeMap<String, SetFiles>,
    /// Bytes on disk of all sets and parts of sets. A file with several hard links counts once, one that shares blocks by reflink in full.
    pub disk_bytes: u64,
}

impl BackupDir {
    /// Counts the sets: every manifest is one.
    pub fn sets(&self) -> u64 {
        self.by_timestamp.values().filter(|set| set.manifest).count() as u64
    }
}

/// Returns the path of a set's manifest while the set is being removed.
pub(crate) fn retired(manifest: &Path) -> PathBuf {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    manifest.with_file_name(format!("{RETIRED_PREFIX}{name}"))
}

/// Lists a directory, with the sizes of what belongs to sets.
///
/// # Errors
/// [`Error::Io`] if it cannot be listed.
pub fn look(dir: &Path) -> Result<BackupDir> {
    let mut found = BackupDir::default();
    let mut seen = HashSet::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let manifest = name.strip_prefix(RETIRED_PREFIX).unwrap_or(&name);
        let set = if let Some(stamp) = database_stamp(&name).or_else(|| ASSETS.stamp(&name)) {
            let set = found.by_timestamp.entry(stamp.into()).or_default();
            set.files = true;
            set
        } else if let Some(stamp) = MANIFEST.stamp(manifest) {
            let set = found.by_timestamp.entry(stamp.into()).or_default();
            if manifest.len() == name.len() {
                set.manifest = true
            } else {
                set.retired = true
            }
            set
        } else {
            others.push(name);
            continue;
        };
        match entry.metadata() {
            Ok(meta) if seen.insert((meta.dev(), meta.ino())) => {
                set.disk_bytes += meta.blocks() * 512;
                found.disk_bytes += meta.blocks() * 512;
            }
            // Removed since it was listed.
            _ => {}
        }
    }
    for name in others {
        if let Some(set) = stamp_in(&name).and_then(|stamp| found.by_timestamp.get_mut(stamp)) {
            set.beside.push(name);
        }
    }
    found.by_timestamp.values_mut().for_each(|set| set.beside.sort_unstable());
    Ok(found)
}

/// Finds the manifests in a directory, oldest first by name.
///
/// # Errors
/// [`Error::NoStore`] if there is no such directory.
pub fn manifests(dir: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            Error::NoStore { what: Place::BackupDir, path: dir.to_path_buf() }
        }
        _ => Error::io("list", dir)(e),
    })?;
    let mut found = Vec::new();
    for entry in listing {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        if name.to_str().is_some_and(|name| MANIFEST.stamp(name).is_some()) {
            found.push(dir.join(name));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Finds the first `YYYYMMDD_HHMMSS` in a name.
fn stamp_in(name: &str) -> Option<&str> {
    (0..name.len()).filter_map(|at| name.get(at..at + STAMP_BYTES)).find(|part| is_stamp(part))
}

#[cfg(test)]
mod tests {
    use super::{look, manifests, retired, stamp_in};
    use crate::error::Error;
    use std::fs;
    use std::path::Path;

    #[test]
    fn names_are_put_together_by_timestamp_and_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, len: usize| fs::write(dir.path().join(name), vec![1; len]).unwrap();
        write("lrl_db_20260114_120000.sqlite", 5000);
        write("lrl_assets_20260114_120000.tar.gz", 100_000);
        write("backup_manifest_20260114_120000.json", 10);
        write("lrl_db_20260114_120000.sqlite-wal", 10);
        write("lrl_db_20260115_120000.sqlite", 0);
        write(".retired-backup_manifest_20260113_120000.json", 10);
        write("notes of 20260101_000000", 1 << 20);
        fs::create_dir(dir.path().join("store")).unwrap();
        let once = look(dir.path()).unwrap();
        let first = dir.path().join("lrl_assets_20260114_120000.tar.gz");
        fs::hard_link(first, dir.path().join("lrl_assets_20260115_120000.tar.gz")).unwrap();
        let found = look(dir.path()).unwrap();
        assert!(found.disk_bytes == once.disk_bytes && (105_000..200_000).contains(&found.disk_bytes), "{found:?}");
        assert_eq!((found.sets(), found.by_timestamp.len()), (1, 3));
        let of = |stamp: &str| found.by_timestamp[stamp].clone();
        assert_eq!(of("20260114_120000").beside, ["lrl_db_20260114_120000.sqlite-wal"]);
        assert!(of("20260115_120000").files && !of("20260115_120000").manifest);
        assert!(of("20260113_120000").retired && !of("20260113_120000").manifest);
    }

    #[test]
    fn manifests_come_in_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["backup_manifest_2.json", "backup_manifest_1.json", "other.json", "backup_manifest_3.json.tmp"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> = manifests(dir.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["backup_manifest_1.json", "backup_manifest_2.json"]);
        assert!(matches!(manifests(&dir.path().join("none")), Err(Error::NoStore { .. })));
    }

    #[test]
    fn a_timestamp_is_found_in_any_name() {
        assert_eq!(stamp_in("ä20260114_120000.x"), Some("20260114_120000"));
        assert_eq!(stamp_in("lrl_db_2026011_1200001"), None);
        assert_eq!(stamp_in(""), None);
        assert_eq!(retired(Path::new("b/m.json")), Path::new("b/.retired-m.json"));
    }
}
