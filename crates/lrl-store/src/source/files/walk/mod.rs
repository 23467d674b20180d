//! The walk over the uploads: everything that is there, once, in the order of the snapshot's list.
//!
//! Works relative to open directories, so a link planted during the walk leads nowhere; only links that the operator names are followed. Keeps the names of the
//! directories that it is inside, never the metadata of many files; never opens anything but directories.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags, fstat, statat};
use rustix::io::Errno;

use super::exclude::Excludes;
pub use super::found::{Found, FoundKind, Root, Stat};
use super::found::{Looked, What, look};
use super::kept_copies::{RECORD, is_of_restore, is_record, kept_of};
use super::link_target;
use super::listing::Listing;
use super::open::{open_quietly, unreadable};
use super::roots::{self, OpenRoot, Skip};
use crate::budget::WALK_NAMES_BYTES;
use crate::error::Result;
use crate::format::xattr::Xattrs;
use crate::fs::xattrs::{FoundXattrs, read_xattrs};
use crate::hint::{AddHint, Hint};
use crate::progress::{Observer, Problem, Problems, checkpoint};

/// Bytes that a directory gets at least, even deep below large ones.
const MIN_NAMES_BYTES: usize = 16 << 10;
/// How many directories are open at once.
const MAX_OPEN: usize = 64;
/// Bytes of one system call's answer about a directory.
const BUFFER_BYTES: usize = 32 << 10;

/// Calls `visit` for everything below `roots`, the roots themselves included, in the order of
/// [`crate::format::entry::compare_paths`], and returns what was left out (the first thousand; the observer gets all).
///
/// `skip` names directories that are never entered, and files (the live database) that are left out. A root that cannot
/// be opened is a problem too. Fails if `visit` does, when interrupted, or when a root is itself to be skipped.
pub fn walk(
    roots: &[Root],
    excludes: &Excludes,
    skip: &[PathBuf],
    observer: &dyn Observer,
    visit: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<Vec<Problem>> {
    let mut problems = Problems::new(observer);
    let skips = roots::skips(skip);
    let roots = roots::open(roots, &skips, &mut problems)?;
    let mut walker = Walker {
        excludes,
        skips,
        root_ids: roots.iter().map(|root| (root.stat.id(), root.name.clone())).collect(),
        problems,
        observer,
        visit,
        path: Vec::new(),
        source: Vec::new(),
        inside: 0,
        stack: Vec::new(),
        spare: Vec::new(),
        buffer: Vec::with_capacity(BUFFER_BYTES),
        names_bytes: 0,
        met: vec![false; excludes.to_follow().len()],
        has_record: false,
        kept: (0, Vec::new()),
    };
    for root in roots {
        walker.root(root)?;
    }
    for (path, _) in excludes.to_follow().iter().zip(&walker.met).filter(|(_, met)| !**met) {
        walker.problems.lost(path, "was to be followed, but there is no such link");
    }
    if walker.kept.0 > 0 {
        let count = walker.kept.0;
        let reason =
            format!("is kept by a restore and no part of the site, {count} such names in all: they are left out");
        walker.problems.note(&walker.kept.1, reason.hint(Hint::RemoveKept));
    }
    Ok(walker.problems.into_report())
}

/// A directory that the walk is inside of.
struct Frame {
    /// Closed while the walk is far below.
    fd: Option<OwnedFd>,
    id: (u64, u64),
    names: Listing,
    path_len: usize,
    source_len: usize,
    /// A link led here.
    is_followed: bool,
}

struct Walker<'a> {
    excludes: &'a Excludes,
    skips: Vec<Skip>,
    /// The roots, and directories to which links led.
    root_ids: Vec<((u64, u64), String)>,
    problems: Problems<'a>,
    observer: &'a dyn Observer,
    visit: &'a mut dyn FnMut(Found) -> Result<()>,
    /// List path and place on disk of what is looked at.
    path: Vec<u8>,
    source: Vec<u8>,
    /// Where the path inside the root begins.
    inside: usize,
    stack: Vec<Frame>,
    /// Memory of small listings for the next ones.
    spare: Vec<Listing>,
    buffer: Vec<u8>,
    names_bytes: usize,
    /// Which of the links to follow were there.
    met: Vec<bool>,
    /// A restore of the site that is walked has left its record.
    has_record: bool,
    /// How many names of kept copies are left out, and where the first is.
    kept: (u64, Vec<u8>),
}

impl Walker<'_> {
    fn root(&mut self, root: OpenRoot) -> Result<()> {
        self.path = root.name.into_bytes();
        self.source = root.path;
        self.inside = inside(self.path.len());
        self.has_record = statat(&root.fd, RECORD, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if !self.path.is_empty() {
            self.found_dir(Some(root.fd.as_fd()), root.stat)?;
        }
        self.push(root.fd, root.stat);
        loop {
            checkpoint(self.observer)?;
            let frame_depth = self.stack.len();
            let Some(frame) = self.stack.last_mut() else { return Ok(()) };
            self.path.truncate(frame.path_len);
            self.source.truncate(frame.source_len);
            let next = match &frame.fd {
                Some(fd) => frame.names.next().map(|(kind, name)| (fd.as_fd(), kind, name)),
                None => None,
            };
            let Some((dir, kind, name)) = next else {
                match frame.fd.is_some() && frame.names.has_more() {
                    true => self.read_more(),
                    false => self.leave(),
                }
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            if self.source.last() != Some(&b'/') {
                self.source.push(b'/');
            }
            self.source.extend_from_slice(name.to_bytes());
            match (self.inside, is_of_restore(name.to_bytes()), kept_of(name.to_bytes())) {
                (0, true, _) => continue,
                (_, true, _) if frame_depth == 1 => continue,
                (0, false, None) if frame_depth == 1 && is_record(name.to_bytes()) => continue,
                // Applications may give names as well that an undoing gives.
                (0, false, Some(kept)) if !kept.is_undone || self.has_record => {
                    self.kept.0 += 1;
                    if self.kept.0 == 1 {
                        self.kept.1.clone_from(&self.source);
                    }
                    continue;
                }
                _ => {}
            }
            if kind != FileType::Unknown && self.excludes.leave_out(&self.path, self.inside, kind.is_dir()) {
                continue;
            }
            let mut looked = look(dir, kind, name);
            if let Ok(Looked { what: What::Symlink(_, opened), .. }) = &mut looked
                && self.excludes.followed(&self.path).is_some()
            {
                *opened = Some(open_quietly(dir, name, OFlags::DIRECTORY));
            }
            self.take(looked, kind)?;
        }
    }

    /// Reports what is at the current path, and goes inside if it is a directory.
    fn take(&mut self, looked: Result<Looked, Errno>, hint: FileType) -> Result<()> {
        let (stat, what) = match looked {
            Ok(Looked { stat, what }) => (stat, what),
            Err(errno) => {
                self.problems.lost(&self.source, unreadable(errno));
                return Ok(());
            }
        };
        let is_dir = matches!(what, What::Dir(_));
        // The hint was wrong or missing: ask the patterns about what is really there.
        let surprise = hint == FileType::Unknown || is_dir != hint.is_dir();
        if surprise && self.excludes.leave_out(&self.path, self.inside, is_dir) {
            return Ok(());
        }
        if self.is_skipped(&stat, is_dir) {
            self.problems.note(&self.source, "belongs to lrl or to the database and is not an upload");
            return Ok(());
        }
        if let Some(which) = self.excludes.followed(&self.path) {
            self.met[which] = true;
            if !matches!(what, What::Symlink(..)) {
                self.problems.note(&self.source, "was to be followed, but is no link: it is stored as what it is");
            }
        }
        match what {
            What::File => self.found(FoundKind::File, stat),
            What::Symlink(target, Some(opened)) => self.follow(target, opened, stat),
            What::Symlink(target, None) => {
                if link_target::lead_outside(&self.source, &self.root_ids) {
                    let path = String::from_utf8_lossy(&self.path);
                    let reason =
                        "leads out of the uploads: only the link is stored; the files behind it are NOT backed up";
                    self.problems.note(&self.source, reason.hint(Hint::FollowLink(path.into_owned())));
                }
                self.found(FoundKind::Symlink { target }, stat)
            }
            What::Special(what) => {
                self.problems.note(&self.source, format!("is {what}, which holds no data, and is skipped"));
                Ok(())
            }
            What::Dir(opened) => self.directory(opened, stat),
        }
    }

    /// Stores the directory behind a link in the link's place, unless it is stored elsewhere already.
    fn follow(&mut self, target: Vec<u8>, opened: Result<OwnedFd, Errno>, link: Stat) -> Result<()> {
        let opened = opened.and_then(|fd| fstat(&fd).map(|raw| (fd, Stat::of(&raw))));
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                let reason = match errno {
                    Errno::NOENT => "was to be followed, but leads nowhere".into(),
                    Errno::NOTDIR => "was to be followed, but does not lead to a directory".into(),
                    errno => format!("was to be followed, but what it leads to {}", unreadable(errno)),
                };
                self.problems.lost(&self.source, reason);
                return self.found(FoundKind::Symlink { target }, link);
            }
        };
        // As the kernel has it in /tmp: else whoever may write the uploads could have any directory of root's backed up.
        if ![0, stat.uid, rustix::process::geteuid().as_raw()].contains(&link.uid) {
            let reason = format!(
                "was to be followed, but belongs to user {}, and the directory that it leads to belongs to user {}: make \
                 the link as root",
                link.uid, stat.uid
            );
            self.problems.lost(&self.source, reason);
            return self.found(FoundKind::Symlink { target }, link);
        }
        if self.is_skipped(&stat, true) {
            self.problems
                .note(&self.source, "leads to what belongs to lrl and is not an upload: only the link is stored");
            return self.found(FoundKind::Symlink { target }, link);
        }
        if let Some(within) = link_target::holder(&self.source, &self.root_ids) {
            let reason = format!("leads into {within:?} and is stored as part of that; here only the link is stored");
            self.problems.note(&self.source, reason);
            return self.found(FoundKind::Symlink { target }, link);
        }
        self.root_ids.push((stat.id(), String::from_utf8_lossy(&self.path).into_owned()));
        self.found_dir(Some(fd.as_fd()), stat)?;
        self.push(fd, stat);
        if let Some(frame) = self.stack.last_mut() {
            frame.is_followed = true;
        }
        Ok(())
    }

    fn directory(&mut self, opened: Result<OwnedFd, Errno>, stat: Stat) -> Result<()> {
        if self.stack.iter().any(|frame| frame.id == stat.id()) {
            self.problems.note(&self.source, "is mounted inside itself; stored as an empty directory");
            return self.found_dir(opened.ok().as_ref().map(AsFd::as_fd), stat);
        }
        if let Some((_, name)) = self.root_ids.iter().find(|(id, _)| *id == stat.id()) {
            let reason = format!("is the uploads directory {name:?} and is stored only once, as that");
            self.problems.note(&self.source, reason);
            return Ok(());
        }
        self.found_dir(opened.as_ref().ok().map(AsFd::as_fd), stat)?;
        match opened {
            Ok(fd) => self.push(fd, stat),
            Err(errno) => self.problems.lost(&self.source, unreadable(errno)),
        }
        Ok(())
    }

    fn found(&mut self, kind: FoundKind, stat: Stat) -> Result<()> {
        self.found_with(kind, stat, Xattrs::new())
    }

    /// Reports a directory with its extended attributes, if it could be opened.
    fn found_dir(&mut self, fd: Option<BorrowedFd<'_>>, stat: Stat) -> Result<()> {
        let FoundXattrs { xattrs, lost } = fd.map(read_xattrs).unwrap_or_default();
        if let Some(reason) = lost {
            self.problems.lost(&self.source, reason);
        }
        self.found_with(FoundKind::Dir, stat, xattrs)
    }

    fn found_with(&mut self, kind: FoundKind, stat: Stat, xattrs: Xattrs) -> Result<()> {
        let source = PathBuf::from(OsString::from_vec(self.source.clone()));
        (self.visit)(Found { path: self.path.clone(), source, kind, stat, xattrs })
    }

    fn is_skipped(&self, stat: &Stat, is_dir: bool) -> bool {
        self.skips.iter().any(|skip| {
            skip.id == stat.id()
                && match &skip.file_name {
                    None => is_dir,
                    Some(name) => !is_dir && self.source.rsplit(|b| *b == b'/').next() == Some(name.as_slice()),
                }
        })
    }

    /// Goes inside the directory at the current path.
    fn push(&mut self, fd: OwnedFd, stat: Stat) {
        let mut names = self.spare.pop().unwrap_or_default();
        if let Err(errno) = names.fill(fd.as_fd(), &mut self.buffer, limit(self.names_bytes)) {
            self.problems.lost(&self.source, unreadable(errno));
        }
        self.names_bytes += names.size();
        let (path_len, source_len) = (self.path.len(), self.source.len());
        self.stack.push(Frame { fd: Some(fd), id: stat.id(), names, path_len, source_len, is_followed: false });
        // The root stays open: from there every other directory can be found again.
        if let Some(far) = self.stack.len().checked_sub(MAX_OPEN).filter(|far| *far > 0) {
            self.stack[far].fd = None;
        }
    }

    fn read_more(&mut self) {
        let Some(frame) = self.stack.last_mut() else { return };
        let Some(fd) = &frame.fd else { return };
        self.names_bytes -= frame.names.size();
        if let Err(errno) = frame.names.refill(fd.as_fd(), &mut self.buffer, limit(self.names_bytes)) {
            self.problems.lost(&self.source, unreadable(errno));
        }
        self.names_bytes += frame.names.size();
    }

    /// Leaves the current directory and opens the one around it again if it was closed.
    fn leave(&mut self) {
        let Some(mut done) = self.stack.pop() else { return };
        self.names_bytes -= done.names.size();
        if done.names.capacity() <= 4 * MIN_NAMES_BYTES && self.spare.len() < MAX_OPEN {
            done.names.clear();
            self.spare.push(done.names);
        }
        if self.stack.last().is_none_or(|parent| parent.fd.is_some()) {
            return;
        }
        let found = self.reopen(done.fd);
        let Some(parent) = self.stack.last_mut() else { return };
        if found.is_none() && !parent.names.is_used_up() {
            let reason = "was moved while the backup ran; the rest of it is not stored";
            self.problems.lost(&self.source[..parent.source_len], reason);
        }
        parent.fd = found;
    }

    fn reopen(&self, child: Option<OwnedFd>) -> Option<OwnedFd> {
        let id = self.stack.last()?.id;
        let same = |fd: &OwnedFd| fstat(fd).is_ok_and(|stat| Stat::of(&stat).id() == id);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let above = child.and_then(|child| open_quietly(child, c"..", flags).ok()).filter(same);
        above.or_else(|| {
            // The child was moved away: go down again from the root, by name.
            let mut dir: Option<OwnedFd> = None;
            for pair in self.stack.windows(2) {
                let name = &self.path[inside(pair[0].path_len)..pair[1].path_len];
                let from = dir.as_ref().or(pair[0].fd.as_ref())?;
                let flags = if pair[1].is_followed { OFlags::DIRECTORY } else { flags };
                dir = Some(open_quietly(from, name, flags).ok()?);
            }
            dir.filter(same)
        })
    }
}

/// Returns where the next component begins in a path that has this length: the root of a site has none before it.
fn inside(path_len: usize) -> usize {
    if path_len == 0 { 0 } else { path_len + 1 }
}

/// Returns how many bytes of names the next directory may take.
fn limit(in_use: usize) -> usize {
    (WALK_NAMES_BYTES.saturating_sub(in_use) / 4 * 3).max(MIN_NAMES_BYTES)
}

#[cfg(test)]
mod tests;
