//! Writes the members of an archive below one directory. Directories get their metadata when they are left, so members may come in
//! any order, and directories that no member describes are made.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::fstat;

use super::digests::Hasher;
use super::headers::MissedBecause;
use super::paths::{Checked, NO_TARGET, Refusal, THROUGH, TWICE};
use super::read::{Data, Member, MemberKind};
use crate::error::{Error, Result};
use crate::format::xattr::{Xattr, Xattrs};
use crate::fs::dir::{components, split, to_path};
use crate::fs::metadata::{Metadata, mtime_of, set_all, set_mtime};
use crate::fs::tree_writer::{Obstacle, TreeWriter};
use crate::fs::xattrs::SetXattrs;
use crate::progress::{Observer, checkpoint};
use crate::time::Time;

/// Runs of zeros of this length become holes.
const HOLE: usize = 64 << 10;

/// Why a member could not be written.
pub(crate) enum Stop {
    /// The archive's fault, in words that follow "its member NAME".
    Member(Refusal),
    /// Anything else.
    Engine(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Stop {
    /// Makes the reason; `taken` is what to say if the member's own name is no directory.
    fn of(obstacle: Obstacle, taken: &str) -> Self {
        match obstacle {
            Obstacle::Exists => Self::Member(TWICE.into()),
            Obstacle::NotDirectory => Self::Member(taken.into()),
            Obstacle::NoDirectory => Self::Member(THROUGH.into()),
            Obstacle::NoTarget | Obstacle::TargetNotFile => Self::Member(NO_TARGET.into()),
            Obstacle::Io(error) => Self::Engine(error),
        }
    }
}

/// The contents of a member on their way to a file: hashed and counted as they pass.
pub(crate) struct Contents<'c, 's, 'a> {
    pub data: &'c mut Data<'s, 'a>,
    pub hasher: Option<Hasher>,
    pub observer: &'c dyn Observer,
}

impl Contents<'_, '_, '_> {
    pub(crate) fn run(&mut self) -> Result<Option<&[u8]>> {
        checkpoint(self.observer)?;
        let run = self.data.run()?;
        if let Some(run) = run {
            self.observer.advance(run.len() as u64, 0);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(run);
            }
        }
        Ok(run)
    }
}

/// What to set of a directory when it is left.
enum OnLeave {
    /// What its member says.
    Metadata(Metadata, Xattrs),
    /// The time that it had when it was entered again.
    Time(Time),
}

/// Writes members below a directory.
pub(crate) struct MemberWriter<'x> {
    tree: TreeWriter,
    /// For each directory that the writer is below.
    on_leave: Vec<OnLeave>,
    owners: bool,
    /// `None`: extended attributes are not set.
    xattrs: Option<SetXattrs<'x>>,
    /// Members that did not get their owner.
    not_given: u64,
}

impl<'x> MemberWriter<'x> {
    /// Starts at an open directory, which messages call `dest`.
    pub(crate) fn new(dir: &Arc<OwnedFd>, dest: &Path, owners: bool, xattrs: Option<SetXattrs<'x>>) -> Self {
        Self { tree: TreeWriter::new(dir, dest), on_leave: Vec::new(), owners, xattrs, not_given: 0 }
    }

    /// Writes one member.
    pub(crate) fn write(
        &mut self,
        member: &Member,
        checked: &Checked,
        contents: &mut Contents<'_, '_, '_>,
    ) -> Result<(), Stop> {
        let owner = self.owners.then_some((member.uid, member.gid));
        let metadata = Metadata { mode: member.mode, owner, owner_is_required: false, mtime: Some(member.mtime) };
        if member.kind == MemberKind::Dir {
            self.enter(&checked.path, TWICE)?;
            if let Some(on_leave) = self.on_leave.last_mut() {
                *on_leave = OnLeave::Metadata(metadata, member.xattrs.clone());
            }
            self.note_missed(member, &checked.path);
            return Ok(());
        }
        let (parent, name) = split(&checked.path);
        self.enter(parent, THROUGH)?;
        let stop = |obstacle| Stop::of(obstacle, THROUGH);
        match member.kind {
            MemberKind::Symlink => {
                let has_owner = self.tree.create_symlink(name, &checked.link, &metadata).map_err(stop)?;
                self.not_given += u64::from(!has_owner);
                Ok(())
            }
            MemberKind::Hardlink => self.tree.create_hardlink(name, &checked.link).map_err(stop),
            _ => {
                self.note_missed(member, &checked.path);
                self.file(name, &metadata, &member.xattrs, contents)
            }
        }
    }

    fn note_missed(&self, member: &Member, path: &[u8]) {
        let Some(SetXattrs { missed, .. }) = &self.xattrs else { return };
        for (name, why) in &member.missed {
            match why {
                MissedBecause::TooMany => missed.too_many(to_path(path), name),
                MissedBecause::Unreadable => missed.names_only(to_path(path), name),
            }
        }
    }

    fn file(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        xattrs: &[Xattr],
        contents: &mut Contents<'_, '_, '_>,
    ) -> Result<(), Stop> {
        let file = self.tree.create_file(name).map_err(|obstacle| Stop::of(obstacle, THROUGH))?;
        let path = self.tree.path_of(name);
        let failed = |e: io::Error| Error::io("write", &path)(e);
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
        self.not_given += u64::from(!set_all(&file, metadata, self.xattrs.map(|how| (xattrs, how)), false, &path)?);
        Ok(())
    }

    /// Goes to the directory `path` below the destination, and makes what is missing. `taken` is what to say of the member if
    /// something else has the name `path` itself.
    fn enter(&mut self, path: &[u8], taken: &str) -> Result<(), Stop> {
        let common = self.tree.common(path);
        while self.tree.depth() > common {
            self.leave()?;
        }
        let mut parts = components(path).skip(common).peekable();
        while let Some(part) = parts.next() {
            self.descend(part, if parts.peek().is_none() { taken } else { THROUGH })?;
        }
        Ok(())
    }

    fn descend(&mut self, name: &[u8], taken: &str) -> Result<(), Stop> {
        let made = match self.tree.create_dir(name) {
            Ok(()) => true,
            Err(Obstacle::Exists) => false,
            Err(obstacle) => return Err(Stop::of(obstacle, taken)),
        };
        self.tree.descend(name).map_err(|obstacle| Stop::of(obstacle, taken))?;
        // A directory that no member describes gets the usual mode; one that was left before gets its time back.
        let on_leave = if made {
            let usual = Metadata { mode: 0o755, owner: None, owner_is_required: false, mtime: None };
            OnLeave::Metadata(usual, Xattrs::new())
        } else {
            let stat = fstat(self.tree.here()).map_err(self.tree.io("look at", b""))?;
            OnLeave::Time(mtime_of(&stat))
        };
        self.on_leave.push(on_leave);
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        match self.on_leave.pop() {
            Some(OnLeave::Metadata(metadata, xattrs)) => {
                let xattrs = self.xattrs.map(|how| (xattrs.as_slice(), how));
                let has_owner = set_all(self.tree.here(), &metadata, xattrs, true, &self.tree.path_of(b""))?;
                self.not_given += u64::from(!has_owner);
            }
            Some(OnLeave::Time(mtime)) => {
                set_mtime(self.tree.here(), mtime).map_err(self.tree.io("set the time of", b""))?;
            }
            None => {}
        }
        self.tree.ascend()
    }

    /// Leaves all directories; returns how many members did not get their owner.
    pub(crate) fn finish(&mut self) -> Result<u64> {
        while self.tree.depth() > 0 {
            self.leave()?;
        }
        Ok(self.not_given)
    }
}
