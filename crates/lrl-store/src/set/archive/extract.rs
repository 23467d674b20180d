//! Unpacks an archive below a directory, or proves that it could be unpacked. Both check the same things in the same words, and pass
//! each file's SHA-256 to a visitor.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};

use super::digests::Hasher;
use super::paths::{Checked, Names, Refusal, check};
use super::read::{Limit, Member, MemberKind, walk};
use super::write_tree::{Contents, MemberWriter, Stop};
use crate::error::{Error, Result};
use crate::fs::xattrs::SetXattrs;
use crate::progress::{Observer, checkpoint};

/// Told of every file while an archive is read.
pub trait FileVisitor {
    /// A regular member was read whole; `path` is clean and relative.
    fn file(&mut self, path: &[u8], size_bytes: u64, sha256: &[u8; 32]) -> Result<()>;
    /// Returns whether the MD5 of files is wanted as well.
    fn wants_md5(&self) -> bool {
        false
    }
    /// As [`FileVisitor::file`], with the MD5 where it is wanted.
    fn file_with_md5(&mut self, path: &[u8], size_bytes: u64, sha256: &[u8; 32], md5: Option<&[u8; 16]>) -> Result<()> {
        let _ = md5;
        self.file(path, size_bytes, sha256)
    }
    /// A hard link to an earlier file.
    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let _ = (path, target);
        Ok(())
    }
    /// A symbolic link with its raw target.
    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let _ = (path, target);
        Ok(())
    }
}

/// Tells by its clean path whether a member is read.
pub(crate) type Wanted<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// How an archive is unpacked.
pub struct Options<'a> {
    /// Sets the owners that the archive names (needs root).
    pub owners: bool,
    /// How extended attributes are set; `None`: not at all.
    pub xattrs: Option<SetXattrs<'a>>,
    /// Asked with the count of plain bytes so far; an error stops.
    pub limit: Option<&'a Limit<'a>>,
    /// Told of every file; without it no SHA-256 is computed.
    pub watch: Option<&'a mut dyn FileVisitor>,
    /// Which members are read, by their clean paths; `None`: all.
    pub only: Option<&'a Wanted<'a>>,
    /// Watches; its phase is the caller's to announce.
    pub observer: &'a dyn Observer,
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular members; hard links do not count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Links, symbolic and hard: scripts count some of them as files.
    pub links: u64,
    /// Members whose owner could not be set, which stayed the caller's.
    pub not_given: u64,
}

/// Unpacks `archive` into the empty directory `dest`. Does not sync. After an error, what was written stays there.
///
/// # Errors
/// [`Error::Corrupt`] if the archive is damaged or holds what must not be unpacked, [`Error::Refused`] if `dest` is not empty.
pub(crate) fn extract(archive: &Path, dest: &Path, options: &mut Options<'_>) -> Result<Counts> {
    let mut entries = std::fs::read_dir(dest).map_err(Error::io("read", dest))?;
    if entries.next().is_some() {
        return Err(Error::refused(format!(
            "{} is not empty: an archive is unpacked into an empty directory",
            dest.display()
        )));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(dest, flags, Mode::empty()).map_err(|e| Error::io("open", dest)(e.into()))?;
    extract_into(archive, &Arc::new(dir), dest, options)
}

/// Unpacks `archive` into an open, empty directory, which messages call `dest`.
pub(crate) fn extract_into(
    archive: &Path,
    dir: &Arc<OwnedFd>,
    dest: &Path,
    options: &mut Options<'_>,
) -> Result<Counts> {
    let mut writer = MemberWriter::new(dir, dest, options.owners, options.xattrs);
    let counts = read(archive, options, &mut |member, checked, data| writer.write(member, checked, data))?;
    let not_given = writer.finish()?;
    Ok(Counts { not_given, ..counts })
}

/// Checks everything that `extract` checks, and writes nothing.
///
/// # Errors
/// [`Error::Corrupt`] if the archive is damaged or holds what must not be unpacked.
pub fn verify(archive: &Path, options: &mut Options<'_>) -> Result<Counts> {
    let mut names = Names::new();
    read(archive, options, &mut |member, checked, data| {
        let taken = match names.take(member, checked) {
            Ok(taken) => taken,
            Err(_) => {
                names = remembered(archive, names.count())?;
                names.take(member, checked).unwrap_or(Ok(()))
            }
        };
        taken.map_err(Stop::Member)?;
        while data.run()?.is_some() {}
        Ok(())
    })
}

/// Reads the first `count` members once more, for their names.
fn remembered(archive: &Path, count: u64) -> Result<Names> {
    let mut names = Names::remember();
    let done = walk(archive, &|_| Ok(()), &mut |member, _| {
        if names.count() == count {
            return Err(Error::Interrupted);
        }
        let refused = |why: Refusal| refuse(archive, member, &why);
        let checked = check(member).map_err(refused)?;
        names.take(member, &checked).unwrap_or(Ok(())).map_err(refused)
    });
    match done {
        Err(Error::Interrupted) if names.count() == count => Ok(names),
        other => other.map(|()| names),
    }
}

fn refuse(archive: &Path, member: &Member, why: &str) -> Error {
    Error::corrupt(archive.display(), format!("its member {} {why}", String::from_utf8_lossy(&member.path)))
}

type Write<'w> = dyn FnMut(&Member, &Checked, &mut Contents<'_, '_, '_>) -> Result<(), Stop> + 'w;

/// The walk that both verbs share.
fn read(archive: &Path, options: &mut Options<'_>, write: &mut Write<'_>) -> Result<Counts> {
    let mut counts = Counts::default();
    let (observer, only) = (options.observer, options.only);
    let watch = &mut options.watch;
    let limit = |total| options.limit.map_or(Ok(()), |limit| limit(total));
    walk(archive, &limit, &mut |member, data| {
        let checked = check(member).map_err(|why| refuse(archive, member, &why))?;
        if only.is_some_and(|is_wanted| !is_wanted(&checked.path)) {
            while data.run()?.is_some() {
                checkpoint(observer)?;
            }
            return Ok(());
        }
        let is_file = member.kind == MemberKind::File;
        let hasher = watch.as_ref().filter(|_| is_file).map(|watch| Hasher::new(watch.wants_md5()));
        let mut contents = Contents { data, hasher, observer };
        write(member, &checked, &mut contents).map_err(|stop| match stop {
            Stop::Member(why) => refuse(archive, member, &why),
            Stop::Engine(error) => error,
        })?;
        if is_file {
            counts.files += 1;
            counts.bytes += member.size;
            observer.advance(0, 1);
        }
        counts.links += u64::from(matches!(member.kind, MemberKind::Hardlink | MemberKind::Symlink));
        match (&mut *watch, contents.hasher) {
            (Some(watch), Some(hasher)) => {
                let digests = hasher.finish();
                watch.file_with_md5(&checked.path, member.size, &digests.sha256, digests.md5.as_ref())
            }
            (Some(watch), None) if member.kind == MemberKind::Hardlink => watch.hardlink(&checked.path, &checked.link),
            (Some(watch), None) if member.kind == MemberKind::Symlink => watch.symlink(&checked.path, &checked.link),
            _ => Ok(()),
        }
    })?;
    Ok(counts)
}
