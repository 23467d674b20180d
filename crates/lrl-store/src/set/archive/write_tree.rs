//! Owns the writing of members below one directory. Never writes outside it, never follows a link, never replaces what is
//! there, never sets a setuid bit. Does not sync.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::fs::{chownat, fchmod, fchown, fstat, futimens, linkat, mkdirat, openat, statat, symlinkat, utimensat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::paths::{Checked, NO_TARGET, Refusal, THROUGH, TWICE};
use super::read::{Data, Member, MemberKind};
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};
use crate::time::Time;

/// Runs of zeros of this length become holes.
const HOLE: usize = 64 << 10;

/// Why a member could not be written.
pub(crate) enum Stop {
    /// The archive's fault, in words that follow "its member <name>".
    Member(Refusal),
    Engine(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Contents on their way to a file: hashed and counted as they pass.
pub(crate) struct Contents<'c, 's, 'a> {
    pub data: &'c mut Data<'s, 'a>,
    pub sha256: Option<Sha256>,
    pub observer: &'c dyn Observer,
}

impl Contents<'_, '_, '_> {
    pub fn run(&mut self) -> Result<Option<&[u8]>> {
        checkpoint(self.observer)?;
        let run = self.data.run()?;
        if let Some(run) = run {
            self.observer.advance(run.len() as u64, 0);
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(run);
            }
        }
        Ok(run)
    }
}

/// A directory on the way from the destination to the member at hand.
struct Level {
    name: Vec<u8>,
    /// Device and inode of the directory above, to which `..` must lead back.
    above: (u64, u64),
    /// What to set when it is left, contents being written.
    mode: Option<u32>,
    mtime: Option<Time>,
    owner: Option<(u32, u32)>,
}

/// The destination, with one open directory: where the last member was written. Each step goes one component down or up,
/// so no path is ever resolved that an archive could have planted a link in.
pub(crate) struct TreeWriter {
    dest: PathBuf,
    root: OwnedFd,
    here: OwnedFd,
    levels: Vec<Level>,
    owners: bool,
    /// Members that could not be given to their owner.
    not_given: Cell<u64>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn times(mtime: Time) -> Timestamps {
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

impl TreeWriter {
    /// Starts at an open directory, which messages call `dest`.
    pub fn new(dir: impl AsFd, dest: &Path, owners: bool) -> Result<Self> {
        let here = dir.as_fd().try_clone_to_owned().map_err(Error::io("open", dest))?;
        let root = here.try_clone().map_err(Error::io("open", dest))?;
        Ok(Self { dest: dest.to_path_buf(), root, here, levels: Vec::new(), owners, not_given: Cell::new(0) })
    }

    fn io(&self, op: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> Error {
        let parts: Vec<&[u8]> = self.levels.iter().map(|l| l.name.as_slice()).chain([name]).collect();
        let path = self.dest.join(PathBuf::from(String::from_utf8_lossy(&parts.join(&b'/')).into_owned()));
        move |errno| Error::io(op, path)(errno.into())
    }

    pub fn write(
        &mut self,
        member: &Member,
        checked: &Checked,
        contents: &mut Contents<'_, '_, '_>,
    ) -> Result<(), Stop> {
        let owner = self.owners.then_some((member.uid, member.gid));
        let (parent, name) = match checked.path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&checked.path[..slash], &checked.path[slash + 1..]),
            None => (&b""[..], checked.path.as_slice()),
        };
        if member.kind == MemberKind::Dir {
            self.enter(&checked.path, TWICE)?;
            if let Some(level) = self.levels.last_mut() {
                // A setgid or sticky bit of a directory stays: they give nobody more rights.
                level.mode = Some(member.mode & 0o3777);
                level.mtime = Some(member.mtime);
                level.owner = owner;
            }
            return Ok(());
        }
        self.enter(parent, THROUGH)?;
        match member.kind {
            MemberKind::Symlink => self.symlink(name, member, &checked.link, owner),
            MemberKind::Hardlink => self.hardlink(name, &checked.link),
            _ => self.file(name, member, owner, contents),
        }
    }

    fn file(
        &self,
        name: &[u8],
        member: &Member,
        owner: Option<(u32, u32)>,
        contents: &mut Contents<'_, '_, '_>,
    ) -> Result<(), Stop> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(
            openat(&self.here, name, flags, Mode::from_raw_mode(0o600)).map_err(|e| self.not_created(name, e))?,
        );
        let failed = |e: std::io::Error| match Errno::from_io_error(&e) {
            Some(errno) => self.io("write", name)(errno),
            None => Error::io("write", self.dest.join(String::from_utf8_lossy(name).as_ref()))(e),
        };
        let (mut at, mut hole) = (0, false);
        while let Some(run) = contents.run()? {
            for part in run.chunks(HOLE) {
                hole = part.len() == HOLE && part.iter().all(|b| *b == 0);
                if !hole {
                    file.write_all_at(part, at).map_err(failed)?;
                }
                at += part.len() as u64;
            }
        }
        if hole {
            file.set_len(at).map_err(failed)?;
        }
        self.set_metadata(&file, name, member.mode & 0o777, Some(member.mtime), owner)?;
        Ok(())
    }

    /// Sets owner, mode and time, in the order in which none undoes another.
    fn set_metadata(
        &self,
        fd: impl AsFd,
        name: &[u8],
        mode: u32,
        mtime: Option<Time>,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        if let Some((uid, gid)) = owner {
            let given = fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            self.given(given).map_err(self.io("give away", name))?;
        }
        fchmod(&fd, Mode::from_raw_mode(mode)).map_err(self.io("set the mode of", name))?;
        mtime.map_or(Ok(()), |mtime| futimens(&fd, &times(mtime))).map_err(self.io("set the time of", name))
    }

    /// Where an owner is nobody (a user namespace), or root is not root (a network file system), what is unpacked stays the caller's.
    fn given(&self, done: Result<(), Errno>) -> Result<(), Errno> {
        match done {
            Err(Errno::INVAL | Errno::PERM) => {
                self.not_given.set(self.not_given.get() + 1);
                Ok(())
            }
            done => done,
        }
    }

    fn symlink(&self, name: &[u8], member: &Member, target: &[u8], owner: Option<(u32, u32)>) -> Result<(), Stop> {
        symlinkat(target, &self.here, name).map_err(|e| self.not_created(name, e))?;
        let itself = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            self.given(chownat(&self.here, name, uid, gid, itself)).map_err(self.io("give away", name))?;
        }
        Ok(utimensat(&self.here, name, &times(member.mtime), itself).map_err(self.io("set the time of", name))?)
    }

    fn hardlink(&self, name: &[u8], target: &[u8]) -> Result<(), Stop> {
        let missing = |_| Stop::Member(NO_TARGET.into());
        let mut parts: Vec<&[u8]> = target.split(|b| *b == b'/').collect();
        let last = parts.pop().unwrap_or_default();
        let root = openat(&self.root, ".", DIRECTORY, Mode::empty()).map_err(self.io("open", b""))?;
        let dir =
            parts.iter().try_fold(root, |dir, part| openat(dir, *part, DIRECTORY, Mode::empty())).map_err(missing)?;
        let stat = statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Stop::Member(NO_TARGET.into()));
        }
        linkat(&dir, last, &self.here, name, AtFlags::empty()).map_err(|e| self.not_created(name, e))
    }

    fn not_created(&self, name: &[u8], errno: Errno) -> Stop {
        match errno {
            Errno::EXIST => Stop::Member(TWICE.into()),
            errno => Stop::Engine(self.io("create", name)(errno)),
        }
    }

    /// Goes to the directory `path` below the destination, and makes what is not there. `taken` is what to say of the
    /// member if something else stands at `path` itself.
    fn enter(&mut self, path: &[u8], taken: &str) -> Result<(), Stop> {
        let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
        let common = self.levels.iter().zip(&parts).take_while(|(level, part)| level.name == **part).count();
        while self.levels.len() > common {
            self.leave()?;
        }
        for (i, part) in parts.iter().enumerate().skip(common) {
            self.descend(part, if i + 1 == parts.len() { taken } else { THROUGH })?;
        }
        Ok(())
    }

    fn descend(&mut self, name: &[u8], taken: &str) -> Result<(), Stop> {
        let made = match mkdirat(&self.here, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(self.io("create", name)(e).into()),
        };
        let below = openat(&self.here, name, DIRECTORY, Mode::empty()).map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => Stop::Member(taken.into()),
            e => Stop::Engine(self.io("open", name)(e)),
        })?;
        let above = identity(&fstat(&self.here).map_err(self.io("stat", b""))?);
        let stat = fstat(&below).map_err(self.io("stat", name))?;
        // A directory that no member describes gets the usual mode; one that was left before gets its time back.
        let (mode, mtime) = if made {
            (Some(0o755), None)
        } else {
            (None, Some(Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }))
        };
        self.levels.push(Level { name: name.to_vec(), above, mode, mtime, owner: None });
        self.here = below;
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let above = openat(&self.here, "..", DIRECTORY, Mode::empty()).map_err(self.io("open", &level.name))?;
        if identity(&fstat(&above).map_err(self.io("stat", &level.name))?) != level.above {
            let path = self.dest.display();
            return Err(Error::Refused(format!(
                "directories in {path} were moved while an archive was unpacked into it"
            )));
        }
        match level.mode {
            Some(mode) => self.set_metadata(&self.here, &level.name, mode, level.mtime, level.owner)?,
            None => {
                let mtime = level.mtime.unwrap_or_default();
                futimens(&self.here, &times(mtime)).map_err(self.io("set the time of", &level.name))?;
            }
        }
        self.here = above;
        Ok(())
    }

    /// Leaves all directories; returns how many members could not be given to their owner.
    pub fn finish(&mut self) -> Result<u64> {
        while !self.levels.is_empty() {
            self.leave()?;
        }
        Ok(self.not_given.get())
    }
}
