//! What makes targets safe to replace: none carries another or the source away, none is a mount, and nobody has one open.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::model::Part;
use super::open_files::{self, Process, Watched};
use super::sqlite_locks::AskLocks;
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::real_path;
use crate::hint::{AddHint, Hint};
use crate::source::database::source::SIDE_FILES;

/// Finds the processes that have open what would be replaced; `databases` are those inside a target.
pub(super) fn find_open_files(
    targets: &[(&Target, Part)],
    databases: Vec<PathBuf>,
    locks: Option<AskLocks>,
) -> Result<Vec<Process>> {
    let mut watched: Vec<Watched> = databases.into_iter().map(Watched::Locks).collect();
    for (target, part) in targets {
        match part {
            Part::Database => watch_database(target, &mut watched)?,
            Part::Uploads | Part::Path => watch_tree(target, &mut watched),
        }
    }
    Ok(open_files::find(&watched, locks))
}

/// Watches a database and what is beside it.
fn watch_database(target: &Target, watched: &mut Vec<Watched>) -> Result<()> {
    let real = real_path(target.dir.as_ref(), &target.dir_path);
    for suffix in [""].iter().chain(&SIDE_FILES) {
        let name = [target.name.as_slice(), suffix.as_bytes()].concat();
        if let Some(stat) = target.stat_of(&name)? {
            watched.push(Watched::File(stat.st_dev, stat.st_ino, real.join(to_path(&name))));
            if suffix.is_empty() {
                watched.push(Watched::Locks(real.join(to_path(&name))));
            }
        }
    }
    Ok(())
}

/// Watches a file, or all that is below a directory.
fn watch_tree(target: &Target, watched: &mut Vec<Watched>) {
    let path = real_path(target.dir.as_ref(), &target.dir_path).join(to_path(&target.name));
    match target.existing_file() {
        Some(stat) => watched.push(Watched::File(stat.st_dev, stat.st_ino, path)),
        None => watched.push(Watched::Below(path)),
    }
}

/// Splits the storage directory into its parent and its name.
pub(super) fn storage_home(storage_dir: &Path) -> Result<(PathBuf, Vec<u8>)> {
    match (storage_dir.parent(), storage_dir.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_path_buf(), name.as_bytes().to_vec())),
        _ => {
            let text = "cannot be swapped for a restored directory: give it as a directory with a name";
            Err(Error::refused(format!("{} {text}", storage_dir.display()).hint(Hint::NameDataDir)))
        }
    }
}

/// Refuses targets of which one would carry another away, or the source that is read from.
pub(super) fn refuse_overlap(targets: &[&Target], sources: &[PathBuf]) -> Result<()> {
    let of = |target: &&Target| real_path(target.dir.as_ref(), &target.dir_path).join(to_path(&target.name));
    let real: Vec<PathBuf> = targets.iter().map(of).collect();
    for (at, outer) in real.iter().enumerate() {
        if let Some(other) = real.iter().enumerate().find(|(other, path)| *other != at && path.starts_with(outer)) {
            let (inner, outer) = (other.1.display(), outer.display());
            let text = format!("{inner} lies inside {outer}: both cannot be restored in one go");
            return Err(Error::refused(text.hint(Hint::RestoreInParts).hint(Hint::NameDataDir)));
        }
        if let Some(source) = sources.iter().find(|source| fs::canonicalize(source).is_ok_and(|s| s.starts_with(outer)))
        {
            let text = format!("{} lies inside {}, which would be moved away", source.display(), outer.display());
            return Err(Error::refused(text.hint(Hint::OtherTarget)));
        }
    }
    targets.iter().try_for_each(|target| target.refuse_mount())
}
