//! Publishes a staged set: its files get their names first, the manifest last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::{AssetsOutput, DatabaseOutput, SetOutput};
use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::fs::durable::SyncedFile;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;
use crate::progress::Problem;
use crate::set::layout;
use crate::set::layout::Names;
use crate::store::SnapshotName;
use crate::store::run_cache::RunCache;

/// A file that has its bytes, but not yet its name.
pub(super) enum Ready {
    New(SyncedFile),
    /// A clone of an older file, of whose blocks it is known when they were compared with their digest.
    Clone(SyncedFile, PathBuf),
    /// The same bytes are there under another name; archives are not edited in place.
    LinkTo(PathBuf),
}

/// A set that lacks only its names.
pub(super) struct StagedSet {
    pub names: Names,
    pub databases: Vec<Ready>,
    pub archive: Option<(Ready, u64)>,
    pub space: Arc<SpaceGuard>,
    /// What is not in the archive, and why.
    pub notes: Vec<Problem>,
}

/// Gives the staged files their names, then writes the manifest. On an error the files are removed again.
pub(super) fn publish(
    staged: StagedSet,
    name: &SnapshotName,
    snapshot: &Snapshot,
    cache: Option<&RunCache>,
) -> Result<SetOutput> {
    let mut placed = Vec::new();
    let done = place_all(staged, name, snapshot, cache, &mut placed);
    if done.is_err() {
        for path in placed {
            let _ = fs::remove_file(path);
        }
    }
    done
}

fn place_all(
    staged: StagedSet,
    name: &SnapshotName,
    snapshot: &Snapshot,
    cache: Option<&RunCache>,
    placed: &mut Vec<PathBuf>,
) -> Result<SetOutput> {
    let StagedSet { names, databases, archive, space, notes: _ } = staged;
    let mut output = SetOutput { manifest: names.manifest.clone(), databases: Vec::new(), assets: None };
    let manifest = layout::manifest(&names, name, snapshot, &snapshot.program)?;
    let paths = names.databases(&snapshot.databases);
    for ((ready, part), path) in databases.into_iter().zip(&snapshot.databases).zip(paths) {
        let origin = Origin::of(&ready, snapshot);
        place(ready, &path, &space)?;
        placed.push(path.clone());
        note(cache, &path, part.sha256.as_deref().unwrap_or_default(), &origin);
        output.databases.push(DatabaseOutput { of: part.path.clone(), path, size_bytes: part.size_bytes });
    }
    if let (Some((ready, reused_bytes)), Some(part), Some(made)) =
        (archive, &snapshot.files, snapshot.files.as_ref().and_then(|part| part.archive.as_ref()))
    {
        let origin = Origin::of(&ready, snapshot);
        place(ready, &names.assets, &space)?;
        placed.push(names.assets.clone());
        note(cache, &names.assets, &made.sha256, &origin);
        let (path, archive_size_bytes) = (names.assets.clone(), made.size_bytes);
        output.assets = Some(AssetsOutput { path, file_count: part.files, archive_size_bytes, reused_bytes });
    }
    layout::write_manifest(&names, &manifest)?;
    Ok(output)
}

fn place(ready: Ready, path: &Path, space: &SpaceGuard) -> Result<()> {
    match ready {
        Ready::New(file) | Ready::Clone(file, _) => file.persist_new(path),
        Ready::LinkTo(old) => match fs::hard_link(&old, path) {
            Ok(()) => Ok(()),
            Err(_) => {
                let mut copy = temporary_file(path.parent().unwrap_or(Path::new(".")))?;
                let mut source = File::open(&old).map_err(Error::io("open", &old))?;
                space.charge(source.metadata().map_err(Error::io("look at", &old))?.len())?;
                std::io::copy(&mut source, copy.as_file_mut()).map_err(Error::io("copy", &old))?;
                SyncedFile::new(copy)?.persist_new(path)
            }
        },
    }
}

/// When a file of a set was last compared with its digest.
enum Origin {
    /// As it was written.
    Written(i64),
    /// As an older one was, whose blocks it has.
    Shared(PathBuf),
}

impl Origin {
    fn of(ready: &Ready, snapshot: &Snapshot) -> Self {
        match ready {
            Ready::New(_) => Self::Written(snapshot.created.secs),
            Ready::Clone(_, from) | Ready::LinkTo(from) => Self::Shared(from.clone()),
        }
    }
}

fn note(cache: Option<&RunCache>, path: &Path, sha256: &str, origin: &Origin) {
    let Some(cache) = cache else { return };
    let _ = cache.put_output(path, sha256);
    let _ = match origin {
        Origin::Written(at) => cache.put_verified(path, *at),
        Origin::Shared(from) => cache.verified_at(from).map_or(Ok(()), |at| cache.put_verified(path, at)),
    };
}
