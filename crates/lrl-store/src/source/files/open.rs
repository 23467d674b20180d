//! Opens what is backed up, quietly, and words why something cannot be read.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Describes why something could not be read.
pub(crate) fn unreadable(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "vanished while the backup ran".to_owned(),
        errno => format!("cannot be read: {}", io::Error::from(errno)),
    }
}

/// Opens for reading without touching the access time where that is allowed (only the owner may ask for it).
pub(crate) fn open_quietly(
    dir: impl AsFd,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    match openat(&dir, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&dir, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// Opens a path of any length for reading: one longer than the system takes at once is followed in parts.
pub(crate) fn open_any_length(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    /// Below PATH_MAX by more than a whole component.
    const PART: usize = 3800;
    let mut rest = path.as_os_str().as_bytes();
    let mut dir: Option<OwnedFd> = None;
    while rest.len() > PART {
        let Some(end) = rest[..PART].iter().rposition(|b| *b == b'/').filter(|end| *end > 0) else { break };
        let (part, tail) = rest.split_at(end);
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        dir = Some(match &dir {
            Some(dir) => openat(dir, part, step, Mode::empty())?,
            None => openat(CWD, part, step, Mode::empty())?,
        });
        let names = tail.iter().position(|b| *b != b'/').unwrap_or(tail.len());
        rest = &tail[names..];
    }
    match dir {
        Some(dir) => open_quietly(dir, rest, flags),
        None => open_quietly(CWD, rest, flags),
    }
}
