//! Stages the files of a set: the copy of the database and the unpacked archive, each proved by its SHA-256.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::set_parts::SetDatabase;
use super::source::Run;
use super::stage_database::{Recorded, adopt, existing};
use super::stage_file::FLUSH_BYTES;
use super::target::Target;
use super::target_dirs::StagingHome;
use crate::error::{Error, Result};
use crate::fs::dir::{create_file, to_path};
use crate::fs::flush::Flusher;
use crate::fs::metadata::set_owner_at;
use crate::fs::remove::{Step, walk};
use crate::hint::Message;
use crate::progress::{Observer, checkpoint};
use crate::set::archive::extract;
use crate::set::archive::extract::{Counts, Wanted, extract_into};
use crate::set::manifest::Assets;
use crate::set::sha256::read_hashed;
use crate::units::hex;

/// Notes if the archive and its manifest disagree. Links may count as files or not.
pub(super) fn note_count(assets: &Assets, counts: &Counts, notes: &mut Vec<Message>) {
    if let Some(stated) =
        assets.file_count.filter(|stated| !(counts.files..=counts.files + counts.links).contains(stated))
    {
        notes.push(format!("the archive holds {} regular files, its manifest says {stated}", counts.files).into());
    }
}

/// Proves one file of a set and returns its length in bytes.
pub(super) fn prove(
    path: &Path,
    sha256: Option<&str>,
    len: Option<u64>,
    observer: &dyn Observer,
    notes: &mut Vec<Message>,
) -> Result<u64> {
    let (found, found_len) = read_hashed(path, observer, &mut |bytes| {
        observer.advance(bytes.len() as u64, 0);
        Ok(())
    })?;
    compare(path, (&found, found_len), sha256, len, notes)
}

fn compare(
    path: &Path,
    found: (&str, u64),
    sha256: Option<&str>,
    len: Option<u64>,
    notes: &mut Vec<Message>,
) -> Result<u64> {
    match sha256 {
        Some(stated) if !stated.eq_ignore_ascii_case(found.0) => {
            return Err(Error::corrupt(path.display(), "does not have the SHA-256 that its manifest says"));
        }
        Some(_) => {}
        None => notes.push(format!("the manifest has no SHA-256 of {}: it could not be proved", path.display()).into()),
    }
    match len {
        Some(stated) if stated != found.1 => {
            Err(Error::corrupt(path.display(), format!("has {} bytes, its manifest says {stated}", found.1)))
        }
        _ => Ok(found.1),
    }
}

/// Copies the database of a set into the staging directory, under a name, and proves the copy; returns its length.
pub(super) fn stage_copy(
    database: &SetDatabase<'_>,
    (target, name): (&Target, &[u8]),
    home: &StagingHome,
    run: &Run<'_>,
    notes: &mut Vec<Message>,
) -> Result<u64> {
    let path = home.staging.path.join(to_path(name));
    let file = create_file(&home.staging.dir, name).map_err(|e| Error::io("create", &path)(e.into()))?;
    let len = copy_proved(database, &file, &path, home, run, notes)?;
    let existing = existing(target);
    let recorded = Recorded { mode_and_owner: database.mode.zip(target.owner()), ..Recorded::default() };
    let how = (run.owners, run.counts.xattrs(run.owners));
    run.counts.owner(adopt(&file, (existing.as_ref(), target.owner()), &recorded, how, &path)?);
    Ok(len)
}

/// Copies the database of a set into a new file, called `path` in messages, and proves the copy; returns its length.
pub(super) fn copy_proved(
    database: &SetDatabase<'_>,
    file: &File,
    path: &Path,
    home: &StagingHome,
    run: &Run<'_>,
    notes: &mut Vec<Message>,
) -> Result<u64> {
    let SetDatabase { entry, copy, .. } = database;
    let mut source = File::open(copy).map_err(Error::io("open", copy))?;
    let cloned = ioctl_ficlone(file, &source).is_ok();
    if cloned {
        source = file.try_clone().map_err(Error::io("open", path))?;
    }
    let (mut sha256, mut at) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    let mut flusher = Flusher::new(FLUSH_BYTES);
    loop {
        checkpoint(run.observer)?;
        let read = source.read(&mut buffer).map_err(Error::io("read", copy))?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        if !cloned {
            home.space.charge(read as u64)?;
            file.write_all_at(&buffer[..read], at).map_err(Error::io("write", path))?;
            flusher.wrote(file, read as u64).map_err(Error::io("write", path))?;
        }
        at += read as u64;
        run.observer.advance(read as u64, 0);
    }
    flusher.finish().map_err(Error::io("sync", path))?;
    compare(copy, (&hex(&sha256.finalize()), at), entry.sha256.as_deref(), entry.size_bytes, notes)?;
    database.require_readable(run)?;
    run.observer.advance(0, 1);
    Ok(at)
}

/// Unpacks an archive, or only the members that are wanted, into a staging directory; returns where, and what that is.
pub(super) fn unpack(
    archive: &Path,
    only: Option<&Wanted<'_>>,
    home: &StagingHome,
    run: &Run<'_>,
) -> Result<(Arc<OwnedFd>, Counts)> {
    let (dir, path) = home.staging.subdir("archive")?;
    let before = AtomicU64::new(0);
    let limit = |total: u64| home.space.charge(total.saturating_sub(before.swap(total, Ordering::Relaxed)));
    let owners = run.owners.recorded && run.owners.all.is_none();
    let xattrs = Some(run.counts.xattrs(run.owners));
    let mut how = extract::Options { owners, xattrs, limit: Some(&limit), watch: None, only, observer: run.observer };
    let counts = extract_into(archive, &dir, &path, &mut how)?;
    run.counts.not_given(counts.not_given);
    Ok((dir, counts))
}

/// Gives everything to the owner that was asked for, by handles: whoever owns the directory above can exchange names there. Sets
/// of other programs may have no directories in them: theirs go to the owner of what they replace, because the application could
/// write nothing into root's.
pub(super) fn give_away(
    dir: &Arc<OwnedFd>,
    name: &[u8],
    target: &Target,
    is_foreign: bool,
    run: &Run<'_>,
) -> Result<()> {
    let owners = run.owners;
    let (owner, only_dirs) = match owners.all {
        Some(owner) => (owner, false),
        None if owners.recorded && is_foreign => match target.owner() {
            Some(owner) => (owner, true),
            None => return Ok(()),
        },
        None => return Ok(()),
    };
    let given = walk(dir, name, false, &mut |step: &Step<'_>| {
        if step.is_dir() || !only_dirs {
            run.counts.owner(set_owner_at(step.dir, step.name, owner, owners.all.is_some())?);
        }
        Ok(true)
    });
    given.map_err(|e: Errno| Error::io("give away", target.path())(e.into()))
}

/// Counts the regular files below a name in a directory, and their bytes.
pub(super) fn count(dir: &Arc<OwnedFd>, name: &[u8]) -> Counts {
    let mut sum = Counts::default();
    let _ = walk(dir, name, true, &mut |step: &Step<'_>| {
        if step.is_file() {
            sum.files += 1;
            sum.bytes += step.stat.st_size as u64;
        }
        Ok(true)
    });
    sum
}
