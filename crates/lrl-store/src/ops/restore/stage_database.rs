//! Owns the staging of the database: its image, proved by its SHA-256, then whose it becomes.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::stage_file::{Meta, Owners, Writer, create, set_metadata};
use super::staging_dirs::StagingHome;
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::entry::Content;
use crate::format::snapshot::Database;
use crate::fs::dir::to_path;
use crate::set::hex;
use crate::time::Time;

/// Writes the image of a snapshot's database, named as its target; returns whether it got its owner.
pub(super) fn stage(
    writer: &Writer<'_>,
    home: &StagingHome,
    database: &Database,
    place: &Target,
    owners: Owners,
    snapshot: &str,
) -> Result<bool> {
    let path = home.staging.path.join(to_path(&place.name));
    let file = create(&home.staging.dir, &place.name).map_err(|e| Error::io("create", &path)(e.into()))?;
    let mut sha256 = Sha256::new();
    let content = Content::Tree(database.root);
    let written = writer.write(&file, &content, database.size_bytes, &path, &mut |bytes| sha256.update(bytes));
    written.map_err(|e| e.needed_for(super::plan::DATABASE))?;
    if hex(&sha256.finalize()) != database.sha256 {
        return Err(Error::corrupt(
            format!("the database of {snapshot}"),
            "does not have the SHA-256 that its snapshot says",
        ));
    }
    writer.observer.advance(0, 1);
    let recorded = Some((database.mode, (database.uid, database.gid)));
    adopt(&file, place, recorded, Some(database.mtime), owners, &path)
}

/// Gives a restored database owner and mode of the file that it replaces, else those that were recorded, else the owner of its
/// directory.
pub(super) fn adopt(
    file: &std::fs::File,
    place: &Target,
    recorded: Option<(u32, (u32, u32))>,
    mtime: Option<Time>,
    owners: Owners,
    path: &Path,
) -> Result<bool> {
    let (mode, owner) = match (place.existing_file(), recorded) {
        (Some(stat), _) => (stat.st_mode & 0o777, Some((stat.st_uid, stat.st_gid))),
        (None, Some((mode, owner))) if mode & 0o600 == 0o600 => (mode & 0o777, Some(owner)),
        _ => (0o600, place.owner()),
    };
    let owner = owners.all.or(owner.filter(|_| owners.recorded));
    set_metadata(file, &Meta { mode, owner, is_asked: owners.all.is_some(), mtime }, false, path)
}
