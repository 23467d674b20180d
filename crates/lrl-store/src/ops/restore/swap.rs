//! Owns the renames that put restored things in place, and their undoing. At every point each target is wholly old or wholly
//! new, no new database stands beside an old `-wal` or `-journal`, and what was replaced is complete under its `.pre-restore`
//! name. Nothing that exists is overwritten, but a database that has just got a further name.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, chmodat, fsync, linkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::cursor::to_path;
use super::place::Place;
use crate::error::{Error, Result};

/// Something staged, and where it goes.
pub(super) struct Incoming<'a> {
    /// Where to.
    pub place: &'a Place,
    /// The directory that holds it now.
    pub from: &'a Arc<OwnedFd>,
    /// Its name there.
    pub name: &'a [u8],
    /// Takes the sidecars of what it replaces away.
    pub is_database: bool,
}

/// A former path and the one under which it is kept.
pub type Moved = (PathBuf, PathBuf);

type Dir = Arc<OwnedFd>;

/// One change, as it has to be known to undo it. Also what a record of an unfinished restore would hold.
enum Step {
    /// `name` of `from` became `to_name` of `to`.
    Moved { from: Dir, name: Vec<u8>, to: Dir, to_name: Vec<u8> },
    /// `name` got a further name.
    Linked { dir: Dir, kept: Vec<u8> },
    /// A staged file took `name`, which also stands at `kept`.
    Replaced { dir: Dir, name: Vec<u8>, kept: Vec<u8> },
    /// Two names of one directory changed places.
    Exchanged { dir: Dir, a: Vec<u8>, b: Vec<u8> },
    /// A staged directory got the right to be moved.
    Opened { from: Dir, name: Vec<u8>, mode: u32 },
}

#[derive(Default)]
struct Journal {
    steps: Vec<Step>,
}

/// Puts everything in place, or nothing. Returns, for each, what was moved away to where.
pub(super) fn swap(incoming: &[Incoming<'_>]) -> Result<Vec<Vec<Moved>>> {
    let mut journal = Journal::default();
    let done = incoming.iter().map(|one| journal.put(one)).collect::<Result<Vec<_>>>();
    let done = done.and_then(|moved| incoming.iter().try_for_each(sync).map(|()| moved));
    done.map_err(|error| match journal.undo() {
        Ok(()) => error,
        Err(undo) => Error::Refused(format!(
            "{error}; and it could not be undone ({undo}): what was there is kept beside it as *.pre-restore"
        )),
    })
}

fn sync(one: &Incoming<'_>) -> Result<()> {
    let dir = one.place.dir.as_ref();
    dir.map_or(Ok(()), |dir| step(|| fsync(dir))).map_err(|e| Error::io("sync", &one.place.dir_path)(e.into()))
}

/// Every change goes through here, so that tests can stop at each.
fn step<T>(act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    #[cfg(test)]
    faults::hit()?;
    act()
}

fn rename_new(from: &Dir, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<(), Errno> {
    match renameat_with(from, name, to, to_name, RenameFlags::NOREPLACE) {
        // Some network file systems cannot promise it in one go: look, then move.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match statat(to, to_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => renameat(from, name, to, to_name),
            Ok(_) => Err(Errno::EXIST),
            Err(e) => Err(e),
        },
        done => done,
    }
}

fn is_unsupported(e: Errno) -> bool {
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::MLINK | Errno::XDEV)
}

impl Journal {
    fn put(&mut self, one: &Incoming<'_>) -> Result<Vec<Moved>> {
        let place = one.place;
        let Some(dir) = &place.dir else {
            return Err(Error::io("open", &place.dir_path)(Errno::NOENT.into()));
        };
        let kept = place.free_name()?;
        let full = |name: &[u8]| place.dir_path.join(to_path(name));
        let failed = |e: Errno| match e {
            Errno::BUSY | Errno::XDEV => place.mount_error(),
            Errno::EXIST => Error::Refused(format!(
                "{} changed while it was restored: something else writes there. Nothing was changed; stop it and try again",
                place.path().display()
            )),
            e => Error::io("rename", place.path())(e.into()),
        };
        let mut moved = Vec::new();
        // A database that appeared meanwhile must not be taken for nothing.
        let existing = place.stat_of(&place.name)?;
        let is_file = existing.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        // First the further name: from then on the old file is complete under it, whatever happens.
        let linked = is_file && self.link(dir, &place.name, &kept).map_err(failed)?;
        if one.is_database {
            for suffix in place.sidecars()? {
                let (was, now) = ([&place.name, suffix.as_bytes()].concat(), [&kept, suffix.as_bytes()].concat());
                self.rename(dir, &was, dir, &now).map_err(failed)?;
                moved.push((full(&was), full(&now)));
            }
        }
        if linked {
            step(|| renameat(one.from, one.name, dir, place.name.as_slice())).map_err(failed)?;
            self.steps.push(Step::Replaced { dir: Arc::clone(dir), name: place.name.clone(), kept: kept.clone() });
        } else if existing.is_some() {
            self.exchange(one, dir, &kept).map_err(failed)?;
        } else {
            self.admit(one).map_err(failed)?;
            self.rename(one.from, one.name, dir, &place.name).map_err(failed)?;
        }
        self.restrict().map_err(failed)?;
        if existing.is_some() {
            moved.insert(0, (full(&place.name), full(&kept)));
        }
        Ok(moved)
    }

    fn rename(&mut self, from: &Dir, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<(), Errno> {
        step(|| rename_new(from, name, to, to_name))?;
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        self.steps.push(Step::Moved { from, name: name.to_vec(), to, to_name: to_name.to_vec() });
        Ok(())
    }

    fn link(&mut self, dir: &Dir, name: &[u8], kept: &[u8]) -> Result<bool, Errno> {
        match step(|| linkat(dir, name, dir, kept, AtFlags::empty())) {
            Ok(()) => {
                self.steps.push(Step::Linked { dir: Arc::clone(dir), kept: kept.to_vec() });
                Ok(true)
            }
            // No links here, or not to other people's files.
            Err(e) if is_unsupported(e) || e == Errno::ACCESS => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The new one takes the name `kept` for a moment, then both change places in one step.
    fn exchange(&mut self, one: &Incoming<'_>, dir: &Dir, kept: &[u8]) -> Result<(), Errno> {
        self.admit(one)?;
        self.rename(one.from, one.name, dir, kept)?;
        let name = one.place.name.as_slice();
        match step(|| renameat_with(dir, name, dir, kept, RenameFlags::EXCHANGE)) {
            Ok(()) => {
                self.steps.push(Step::Exchanged { dir: Arc::clone(dir), a: name.to_vec(), b: kept.to_vec() });
                Ok(())
            }
            // Without exchange there is a moment without the name, but never one without the data.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.rename(dir, kept, one.from, one.name)?;
                self.rename(dir, name, dir, kept)?;
                self.rename(one.from, one.name, dir, name)
            }
            Err(e) => Err(e),
        }
    }

    /// A directory that its owner may not write cannot change parents (unless for root): it gets the right until it has moved.
    fn admit(&mut self, one: &Incoming<'_>) -> Result<(), Errno> {
        let stat = statat(one.from, one.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = stat.st_mode & 0o7777;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && mode & 0o200 == 0 {
            chmodat(one.from, one.name, Mode::from_raw_mode(mode | 0o200), AtFlags::empty())?;
            self.steps.push(Step::Opened { from: Arc::clone(&one.place_dir()?), name: one.place.name.clone(), mode });
        }
        Ok(())
    }

    /// Takes that right away again, where the directory stands now.
    fn restrict(&mut self) -> Result<(), Errno> {
        for step in &self.steps {
            if let Step::Opened { from, name, mode } = step {
                chmodat(from, name.as_slice(), Mode::from_raw_mode(*mode), AtFlags::empty())?;
            }
        }
        self.steps.retain(|step| !matches!(step, Step::Opened { .. }));
        Ok(())
    }

    /// Undoes the steps, last first, up to the first that fails: what follows from there may be the only way to the old data.
    fn undo(&mut self) -> Result<(), Errno> {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Moved { from, name, to, to_name } => match rename_new(&to, &to_name, &from, &name) {
                    // A staged directory that its owner may not write: it goes back to be discarded.
                    Err(Errno::ACCESS) => {
                        chmodat(&to, to_name.as_slice(), Mode::from_raw_mode(0o700), AtFlags::empty())?;
                        rename_new(&to, &to_name, &from, &name)?;
                    }
                    done => done?,
                },
                Step::Replaced { dir, name, kept } => renameat(&dir, kept.as_slice(), &dir, name.as_slice())?,
                Step::Exchanged { dir, a, b } => {
                    renameat_with(&dir, a.as_slice(), &dir, b.as_slice(), RenameFlags::EXCHANGE)?;
                }
                Step::Linked { dir, kept } => match unlinkat(&dir, kept.as_slice(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(e),
                },
                Step::Opened { .. } => {}
            }
        }
        Ok(())
    }
}

impl Incoming<'_> {
    fn place_dir(&self) -> Result<Arc<OwnedFd>, Errno> {
        self.place.dir.clone().ok_or(Errno::NOENT)
    }
}

#[cfg(test)]
pub(super) mod faults {
    //! Makes the n-th step of this thread fail, or stop the world before it as a kill would.

    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        static AT: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    }

    /// Arms the n-th step (from 0) to fail, or with `kill` to panic.
    pub fn arm(at: u32, kill: bool) {
        AT.set(Some((at, kill)));
    }

    /// Disarms; says whether the step had been reached.
    pub fn disarm() -> bool {
        AT.take().is_none()
    }

    pub fn hit() -> Result<(), Errno> {
        match AT.get() {
            Some((0, kill)) => {
                AT.set(None);
                assert!(!kill, "killed");
                Err(Errno::IO)
            }
            Some((n, kill)) => {
                AT.set(Some((n - 1, kill)));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
