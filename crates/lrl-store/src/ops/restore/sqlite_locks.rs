//! Finds who holds SQLite's locks on a database, also processes that `/proc` does not show, in another container or of another user. An application in WAL mode holds one for as long as it has the database open, others only while they work.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};

/// Asks another process for [`lock_holder`].
pub type AskLocks = fn(&Path) -> io::Result<Option<LockHolder>>;

/// The holder of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHolder {
    /// A process that can be named.
    Process(u32),
    /// One that cannot be seen from here.
    Unseen,
}

/// PENDING, RESERVED and SHARED: SQLite's file format fixes where they are.
const DATABASE_LOCKS: (u64, u64) = (0x4000_0000, 512);
/// Those of the `-shm`: eight locks and the dead man's switch.
const SHM_LOCKS: (u64, u64) = (120, 9);

/// Finds who holds a lock on a database, and changes nothing. Closing the files drops every lock that the calling process has on
/// them: this is for a process of its own.
///
/// # Errors
///
/// If the database or its `-shm` cannot be opened.
pub fn lock_holder(database: &Path) -> io::Result<Option<LockHolder>> {
    let mut shm = database.as_os_str().to_os_string();
    shm.push("-shm");
    for (path, (start, length)) in [(database, DATABASE_LOCKS), (Path::new(&shm), SHM_LOCKS)] {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => continue,
            opened => opened?,
        };
        let wanted = Flock { start, length, pid: None, typ: FlockType::WriteLock, offset_type: FlockOffsetType::Set };
        if let Some(found) = fcntl_getlk(&file, &wanted)? {
            let pid = found.pid.map(Pid::as_raw_pid).and_then(|pid| u32::try_from(pid).ok());
            return Ok(Some(pid.map_or(LockHolder::Unseen, LockHolder::Process)));
        }
    }
    Ok(None)
}
