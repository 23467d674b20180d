//! Renames that replace nothing. Every step of a swap goes through here, so that tests can stop at each.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use crate::fs::resolve::look;

/// An open directory.
pub(super) type Dir = Arc<OwnedFd>;
/// A name in an open directory.
pub(super) type Spot = (Dir, Vec<u8>);

/// Makes one change of a swap.
pub(super) fn step<T>(act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    #[cfg(test)]
    faults::hit()?;
    act()
}

/// Renames without replacing anything.
pub(super) fn rename_new((from, name): (&Dir, &[u8]), (to, to_name): (&Dir, &[u8])) -> Result<(), Errno> {
    step(|| match renameat_with(from, name, to, to_name, RenameFlags::NOREPLACE) {
        // Some network file systems cannot promise it in one go: look, then move.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match look(to, to_name)? {
            None => renameat(from, name, to, to_name),
            Some(_) => Err(Errno::EXIST),
        },
        done => done,
    })
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
    pub(crate) fn arm(at: u32, kill: bool) {
        AT.set(Some((at, kill)));
    }

    /// Disarms; returns whether the step was reached.
    pub(crate) fn disarm() -> bool {
        AT.take().is_none()
    }

    pub(crate) fn hit() -> Result<(), Errno> {
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
