//! Owns what makes targets safe to replace: none carries another or the source away, none is a mount, nobody has one open.
//! Never changes anything.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::open_files::Watched;
use super::target::{SIDECARS, Target};
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::real_path;

/// Watches a database and what lies beside it.
pub(super) fn watch_database(place: &Target, watched: &mut Vec<Watched>) -> Result<()> {
    let real = real_path(place.dir.as_ref(), &place.dir_path);
    for suffix in [""].iter().chain(&SIDECARS) {
        let name = [place.name.as_slice(), suffix.as_bytes()].concat();
        if let Some(stat) = place.stat_of(&name)? {
            watched.push(Watched::File(stat.st_dev, stat.st_ino, real.join(to_path(&name))));
            if suffix.is_empty() {
                watched.push(Watched::Locks(real.join(to_path(&name))));
            }
        }
    }
    Ok(())
}

/// Watches a file, or all that is below a directory.
pub(super) fn watch_tree(place: &Target, watched: &mut Vec<Watched>) {
    let path = real_path(place.dir.as_ref(), &place.dir_path).join(to_path(&place.name));
    match place.existing_file() {
        Some(stat) => watched.push(Watched::File(stat.st_dev, stat.st_ino, path)),
        None => watched.push(Watched::Below(path)),
    }
}

/// Takes the storage directory apart into where it is and what it is called.
pub(super) fn storage_home(storage_dir: &Path) -> Result<(PathBuf, Vec<u8>)> {
    match (storage_dir.parent(), storage_dir.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_path_buf(), name.as_bytes().to_vec())),
        _ => Err(Error::Refused(format!(
            "{} cannot be swapped for a restored directory: give STORAGE_PATH as a directory with a name",
            storage_dir.display()
        ))),
    }
}

/// Refuses targets of which one would carry another away, or the source that is read from.
pub(super) fn refuse_overlap(places: &[&Target], sources: &[PathBuf]) -> Result<()> {
    let of = |place: &&Target| real_path(place.dir.as_ref(), &place.dir_path).join(to_path(&place.name));
    let real: Vec<PathBuf> = places.iter().map(of).collect();
    for (at, target) in real.iter().enumerate() {
        if let Some(other) = real.iter().enumerate().find(|(other, path)| *other != at && path.starts_with(target)) {
            return Err(Error::Refused(format!(
                "{} lies inside {}: both cannot be restored in one go. Restore them one by one with --path, or set \
                 STORAGE_PATH elsewhere",
                other.1.display(),
                target.display()
            )));
        }
        if let Some(source) =
            sources.iter().find(|source| fs::canonicalize(source).is_ok_and(|s| s.starts_with(target)))
        {
            return Err(Error::Refused(format!(
                "{} lies inside {}, which would be moved away: restore to another --data-dir",
                source.display(),
                target.display()
            )));
        }
    }
    places.iter().try_for_each(|place| place.refuse_mount())
}
