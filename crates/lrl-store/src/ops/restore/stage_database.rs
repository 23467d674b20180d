//! Stages the database of a snapshot: its image, proved by its SHA-256, then owner and mode.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};

use super::stage_file::{FLUSH_BYTES, Writer};
use super::target::Target;
use super::target_dirs::StagingHome;
use crate::error::{Error, Result};
use crate::format::snapshot::Database;
use crate::format::xattr::{self, ACL_ACCESS, Xattr, Xattrs};
use crate::fs::dir::{create_file, to_path};
use crate::fs::flush::{Flusher, write_at};
use crate::fs::metadata::{Metadata, Owners, masked_mode, set_all};
use crate::fs::xattrs::{SetXattrs, read_xattrs};
use crate::set::image_reader::read_image;
use crate::set::sha256::Sha256Thread;
use crate::time::Time;

/// Writes the image of a snapshot's database under a name in its target's staging directory; returns whether it has its owner.
pub(super) fn stage(
    writer: &Writer<'_>,
    home: &StagingHome,
    (database, target): (&Database, &Target),
    name: &[u8],
    how: (Owners, SetXattrs<'_>),
    snapshot: &str,
) -> Result<bool> {
    let path = home.staging.path.join(to_path(name));
    let file = create_file(&home.staging.dir, name).map_err(|e| Error::io("create", &path)(e.into()))?;
    write_image(writer, &file, database, &path, snapshot)?;
    adopt(&file, (existing(target).as_ref(), target.owner()), &Recorded::of(database), how, &path)
}

/// Looks at the database that is at a target.
pub(super) fn existing(target: &Target) -> Option<Existing> {
    Existing::look(target.dir.as_ref()?, &target.name)
}

/// Writes the image of a database into an empty file, proved.
pub(super) fn write_image(
    writer: &Writer<'_>,
    file: &File,
    database: &Database,
    path: &Path,
    snapshot: &str,
) -> Result<()> {
    let Writer { store, observer, space } = *writer;
    store.expect_chunks(database.size_bytes / u64::from(store.config().chunking.extent_bytes).max(1), true)?;
    let sha256 = database.sha256.as_ref().map(|_| Sha256Thread::start());
    let (mut flusher, mut at) = (Flusher::new(FLUSH_BYTES), 0);
    let written = read_image(store, database, None, observer, &mut |bytes| {
        if let Some(sha256) = &sha256 {
            sha256.add(Arc::clone(bytes))?;
        }
        let len = bytes.len() as u64;
        space.charge(len)?;
        write_at(file, bytes, at).map_err(Error::io("write", path))?;
        flusher.wrote(file, len).map_err(Error::io("write", path))?;
        at += len;
        observer.advance(len, 0);
        Ok(())
    });
    written.map_err(|e| e.needed_for(&database.path))?;
    flusher.finish().map_err(Error::io("sync", path))?;
    let sha256 = sha256.map(Sha256Thread::finish).transpose()?;
    if sha256.is_some_and(|sha256| !database.has_sha256(&sha256)) {
        return Err(Error::corrupt(
            format!("the {} of {snapshot}", database.shown()),
            "does not have the SHA-256 that its snapshot says",
        ));
    }
    observer.advance(0, 1);
    Ok(())
}

/// A database that is replaced: it gives the new one its owner, mode and ACL.
pub(super) struct Existing {
    stat: Stat,
    acl: Xattrs,
}

impl Existing {
    /// Looks at a regular file in a directory; `None` if there is none.
    pub(crate) fn look(dir: impl AsFd, name: &[u8]) -> Option<Self> {
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok().filter(is_file)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Mode::empty()).ok();
        let mut acl = file.map(|file| read_xattrs(&file).xattrs).unwrap_or_default();
        acl.retain(|(name, _)| name == ACL_ACCESS);
        Some(Self { stat, acl })
    }
}

/// What a database had when it was stored, as far as that is known.
#[derive(Default)]
pub(super) struct Recorded<'a> {
    /// Mode and owner.
    pub mode_and_owner: Option<(u32, (u32, u32))>,
    /// Time of its last change.
    pub mtime: Option<Time>,
    /// Extended attributes.
    pub xattrs: &'a [Xattr],
}

impl<'a> Recorded<'a> {
    /// Takes all from a snapshot.
    pub(crate) fn of(database: &'a Database) -> Self {
        let mode_and_owner = Some((database.mode, (database.uid, database.gid)));
        Self { mode_and_owner, mtime: Some(database.mtime), xattrs: &database.xattrs }
    }
}

/// Gives a restored database the owner, mode and ACL of the file that it replaces, else those that were recorded, else the owner of
/// its directory; returns whether it has that owner.
pub(super) fn adopt(
    file: &File,
    (existing, dir_owner): (Option<&Existing>, Option<(u32, u32)>),
    recorded: &Recorded<'_>,
    (owners, how): (Owners, SetXattrs<'_>),
    path: &Path,
) -> Result<bool> {
    let (mode, owner) = match (existing, recorded.mode_and_owner) {
        (Some(Existing { stat, .. }), _) => (masked_mode(stat.st_mode, false), Some((stat.st_uid, stat.st_gid))),
        (None, Some((mode, owner))) if mode & 0o600 == 0o600 => (masked_mode(mode, false), Some(owner)),
        _ => (0o600, dir_owner),
    };
    let mut xattrs = recorded.xattrs.to_vec();
    if let Some(Existing { acl, .. }) = existing {
        xattrs.retain(|(name, _)| name != ACL_ACCESS);
        acl.iter().for_each(|(name, value)| _ = xattr::add(&mut xattrs, name, value));
    }
    let owner = owners.all.or(owner.filter(|_| owners.recorded));
    let metadata = Metadata { mode, owner, owner_is_required: owners.all.is_some(), mtime: recorded.mtime };
    set_all(file, &metadata, Some((&xattrs, how)), false, path)
}
