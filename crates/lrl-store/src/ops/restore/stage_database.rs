//! Stages the database of a snapshot: its image, proved by its SHA-256, then owner and mode.

use std::fs::File;
use std::path::Path;

use rustix::fs::Stat;
use sha2::{Digest, Sha256};

use super::stage_file::Writer;
use super::target::Target;
use super::target_dirs::StagingHome;
use crate::error::{Error, Result};
use crate::format::entry::Content;
use crate::format::snapshot::Database;
use crate::fs::dir::{create_file, to_path};
use crate::fs::metadata::{Metadata, Owners, masked_mode, set_metadata};
use crate::time::Time;
use crate::units::hex;

/// Writes the image of a snapshot's database under a name in its target's staging directory; returns whether it has its owner.
pub(super) fn stage(
    writer: &Writer<'_>,
    home: &StagingHome,
    (database, target): (&Database, &Target),
    name: &[u8],
    owners: Owners,
    snapshot: &str,
) -> Result<bool> {
    let path = home.staging.path.join(to_path(name));
    let file = create_file(&home.staging.dir, name).map_err(|e| Error::io("create", &path)(e.into()))?;
    write_image(writer, &file, database, &path, snapshot)?;
    let recorded = Some((database.mode, (database.uid, database.gid)));
    adopt(&file, (target.existing_file(), target.owner()), recorded, Some(database.mtime), owners, &path)
}

/// Writes the image of a database into an empty file, proved.
pub(super) fn write_image(
    writer: &Writer<'_>,
    file: &File,
    database: &Database,
    path: &Path,
    snapshot: &str,
) -> Result<()> {
    let mut sha256 = Sha256::new();
    let content = Content::Tree(database.root);
    let written = writer.write(file, &content, database.size_bytes, path, &mut |bytes| sha256.update(bytes));
    written.map_err(|e| e.needed_for(&database.path))?;
    if !database.has_sha256(&hex(&sha256.finalize())) {
        return Err(Error::corrupt(
            format!("the {} of {snapshot}", database.shown()),
            "does not have the SHA-256 that its snapshot says",
        ));
    }
    writer.observer.advance(0, 1);
    Ok(())
}

/// Gives a restored database the owner and mode of the file that it replaces, else those that were recorded, else the owner of
/// its directory; returns whether it has that owner.
pub(super) fn adopt(
    file: &File,
    (existing, dir_owner): (Option<&Stat>, Option<(u32, u32)>),
    recorded: Option<(u32, (u32, u32))>,
    mtime: Option<Time>,
    owners: Owners,
    path: &Path,
) -> Result<bool> {
    let (mode, owner) = match (existing, recorded) {
        (Some(stat), _) => (masked_mode(stat.st_mode, false), Some((stat.st_uid, stat.st_gid))),
        (None, Some((mode, owner))) if mode & 0o600 == 0o600 => (masked_mode(mode, false), Some(owner)),
        _ => (0o600, dir_owner),
    };
    let owner = owners.all.or(owner.filter(|_| owners.recorded));
    set_metadata(file, &Metadata { mode, owner, owner_is_required: owners.all.is_some(), mtime }, false, path)
}
