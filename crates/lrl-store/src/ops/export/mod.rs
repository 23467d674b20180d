//! The verb `export`: writes a snapshot as a set in a directory of its own, which `cp` and `tar` alone can restore. The same coder writes the
//! same archive, byte for byte, as the backup run; the manifest is written last.

mod guide;
mod site_guide;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::verify_snapshot::require_sound;
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::durable::{SyncedFile, create_dir};
use crate::fs::space::{GuardedDir, Reserve};
use crate::fs::temp_file::temporary_file;
use crate::progress::{Observer, Phase, Problem};
use crate::set::archive::content;
use crate::set::archive::deflate::CODER;
use crate::set::archive::model::NoSegments;
use crate::set::flush::BackgroundSync;
use crate::set::layout::{self, Names};
use crate::set::sqlite_file;
use crate::store::{SnapshotName, Store};

/// The name of the instructions for restoring by hand.
pub const GUIDE: &str = "RESTORE.md";

/// How an exported archive relates to the one that the backup run wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "archive", rename_all = "snake_case")]
pub enum Sameness {
    /// The same bytes.
    Same,
    /// The run wrote no set: there is nothing to compare with.
    FirstOfItsKind,
    /// Another coder made that one: the same contents in other bytes.
    OtherCoder {
        /// That coder.
        coder: String,
    },
    /// The same coder made other bytes of the same contents; that should not be.
    Differs,
}

/// What was exported.
#[derive(Debug)]
pub struct Report {
    /// The files' names.
    pub names: Names,
    /// The snapshot, with the exported archive's digest.
    pub snapshot: Snapshot,
    /// How the archive relates to the run's own, if there are uploads.
    pub sameness: Option<Sameness>,
    /// What is not in the set, and notes.
    pub problems: Vec<Problem>,
}

/// Exports a snapshot to `out`, which must not exist or be empty; `reserve` stays free on its disk.
///
/// # Errors
///
/// [`Error::Refused`] if `out` is not empty, [`Error::Corrupt`] if the snapshot could not be restored from the set. After an error nothing of
/// the set is left in `out`.
pub fn export(
    store: &Store,
    name: &SnapshotName,
    snapshot: Snapshot,
    out: &Path,
    reserve: Reserve,
    program: &str,
    observer: &dyn Observer,
) -> Result<Report> {
    require_sound(store, name, &snapshot, observer)?;
    let created = make_fresh(out)?;
    let mut placed = Vec::new();
    let target = store.target(out, reserve);
    let written = target.and_then(|target| write(store, name, snapshot, &target, program, &mut placed, observer));
    if written.is_err() {
        // What cannot be removed is not worth more than the first error.
        placed.iter().for_each(|path| {
            let _ = fs::remove_file(path);
        });
        if created {
            let _ = fs::remove_dir(out);
        }
    }
    written
}

fn write(
    store: &Store,
    name: &SnapshotName,
    mut snapshot: Snapshot,
    target: &GuardedDir<'_>,
    program: &str,
    placed: &mut Vec<PathBuf>,
    observer: &dyn Observer,
) -> Result<Report> {
    let GuardedDir { dir: out, room: space } = target;
    let names = Names::new(out, &snapshot.timestamp);
    let databases = names.databases(&snapshot.databases);
    let mut problems = Vec::new();
    let mut ready = Vec::new();
    space.require(snapshot.database_bytes().saturating_add(archive_bytes(&snapshot)))?;
    observer.phase(Phase::Database, Some(snapshot.database_bytes()));
    for (part, path) in snapshot.databases.iter_mut().zip(databases) {
        let mut file = BackgroundSync::create(out)?;
        part.sha256 = Some(sqlite_file::write(store, part, None, &mut file, &path, space, observer)?);
        ready.push((file.finish()?, path));
    }
    let mut sameness = None;
    if let Some(part) = &mut snapshot.files {
        observer.phase(Phase::Archive, Some(part.bytes));
        let (file, made) = content::write_archive(store, part, &mut NoSegments, &names.assets, space, observer)?;
        problems.extend(made.notes);
        let archive = snapshot::Archive { coder: CODER.into(), size_bytes: made.size_bytes, sha256: made.sha256 };
        sameness = Some(compare(part.archive.as_ref(), &archive));
        part.archive = Some(archive);
        ready.push((file, names.assets.clone()));
    }
    let manifest = layout::manifest(&names, name, &snapshot, program)?;
    let guide = out.join(GUIDE);
    let mut file = temporary_file(out)?;
    let text = if snapshot.is_site() { site_guide::text } else { guide::text };
    file.write_all(text(&names, name, &snapshot).as_bytes()).map_err(Error::io("write", &guide))?;
    ready.push((SyncedFile::new(file)?, guide));
    for (file, path) in ready {
        file.persist_new(&path)?;
        placed.push(path);
    }
    layout::write_manifest(&names, &manifest)?;
    Ok(Report { names, snapshot, sameness, problems })
}

/// The archive will be as long as the one that the run wrote, if it wrote one.
fn archive_bytes(snapshot: &Snapshot) -> u64 {
    snapshot.files.as_ref().and_then(|part| part.archive.as_ref()).map_or(0, |archive| archive.size_bytes)
}

fn compare(run: Option<&snapshot::Archive>, made: &snapshot::Archive) -> Sameness {
    match run {
        None => Sameness::FirstOfItsKind,
        Some(run) if run == made => Sameness::Same,
        Some(run) if run.coder != made.coder => Sameness::OtherCoder { coder: run.coder.clone() },
        Some(_) => Sameness::Differs,
    }
}

/// Creates the directory, or checks that it is empty; returns whether it was created.
fn make_fresh(out: &Path) -> Result<bool> {
    match fs::read_dir(out).map(|mut entries| entries.next()) {
        Ok(None) => Ok(false),
        Ok(Some(_)) => Err(Error::Refused(format!(
            "{} is not empty; an export wants a directory of its own: name one that does not exist",
            out.display()
        ))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => create_dir(out).map(|()| true),
        Err(e) => Err(Error::io("list", out)(e)),
    }
}
