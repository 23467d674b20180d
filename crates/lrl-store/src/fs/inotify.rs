//! inotify: the kernel tells that something in a directory changes. It tells when to look, and proves nothing: events get lost, some file
//! systems make none, and a write through a mapping is no event.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// Bytes of events that one system call returns.
const BUFFER_BYTES: usize = 16 << 10;

/// The directories that one queue of events is about.
#[derive(Debug)]
pub(crate) struct Inotify {
    fd: OwnedFd,
}

/// What happened in a watched directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Bytes were written to a file, or it was cut or extended.
    Written,
    /// A name is new, or was moved here.
    Arrived,
    /// A name is gone: `moved` if it was moved away.
    Left {
        /// It was moved, so it may still exist elsewhere.
        moved: bool,
    },
    /// Owner, mode, times or attributes changed.
    Metadata,
    /// The directory itself was moved, removed or unmounted.
    Gone,
    /// The directory is not watched any more.
    Ended,
    /// Events were lost.
    Overflow,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// The watch that [`Inotify::add`] returned.
    pub watch: i32,
    /// What happened.
    pub what: What,
    /// To which name in the directory; `None`: to the directory itself.
    pub name: Option<&'a [u8]>,
    /// The name is that of a directory.
    pub is_dir: bool,
}

/// Why a directory is not watched.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The user's limit of watches is reached.
    Limit,
    /// There is no such directory any more, or it cannot be read: whoever walks it tells.
    Absent,
}

impl Inotify {
    /// Makes an empty queue.
    ///
    /// # Errors
    /// If the system has no inotify, or the user's limit of queues is reached.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Watches a directory; the last component of its path must not be a link. A directory that is watched already keeps its watch.
    pub(crate) fn add(&self, dir: &Path) -> Result<i32, Refused> {
        // No CLOSE_WRITE: who only reads a database through SQLite causes it as well.
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::EXCL_UNLINK
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        add_watch(&self.fd, dir, flags).map_err(|errno| match errno {
            Errno::NOSPC | Errno::NOMEM => Refused::Limit,
            _ => Refused::Absent,
        })
    }

    /// Calls `visit` for each event that is there, without waiting.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub(crate) fn read(&self, visit: &mut dyn FnMut(Event<'_>)) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => visit(Event {
                    watch: event.wd(),
                    what: what(event.events()),
                    name: event.file_name().map(|name| name.to_bytes()),
                    is_dir: event.events().contains(ReadFlags::ISDIR),
                }),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn what(flags: ReadFlags) -> What {
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        What::Overflow
    } else if flags.contains(ReadFlags::IGNORED) {
        What::Ended
    } else if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
        What::Gone
    } else if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
        What::Arrived
    } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        What::Left { moved: flags.contains(ReadFlags::MOVED_FROM) }
    } else if flags.contains(ReadFlags::MODIFY) {
        What::Written
    } else {
        What::Metadata
    }
}

#[cfg(test)]
mod tests {
    use super::{Inotify, Refused, What};

    fn seen(inotify: &Inotify) -> Vec<(What, Option<Vec<u8>>, bool)> {
        let mut seen = Vec::new();
        inotify.read(&mut |event| seen.push((event.what, event.name.map(<[u8]>::to_vec), event.is_dir))).unwrap();
        seen
    }

    #[test]
    fn changes_in_a_directory_are_events() {
        let dir = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.add(dir.path()).unwrap();
        assert_eq!(seen(&inotify), []);
        let name = |name: &str| Some(name.as_bytes().to_vec());
        std::fs::write(dir.path().join("a"), "1").unwrap();
        assert_eq!(seen(&inotify), [(What::Arrived, name("a"), false), (What::Written, name("a"), false)]);
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::rename(dir.path().join("a"), dir.path().join("d/a")).unwrap();
        assert_eq!(seen(&inotify), [(What::Arrived, name("d"), true), (What::Left { moved: true }, name("a"), false)]);
        // Reading is none.
        std::fs::read(dir.path().join("d/a")).unwrap();
        std::fs::read_dir(dir.path()).unwrap().for_each(drop);
        assert_eq!(seen(&inotify), []);
    }

    #[test]
    fn what_is_no_directory_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        for name in ["none", "file", "link"] {
            assert!(matches!(inotify.add(&dir.path().join(name)), Err(Refused::Absent)), "{name}");
        }
    }
}
