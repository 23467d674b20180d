//! Finds who has open what a restore would replace. Reads only `/proc`: opening and closing the database itself would drop the SQLite
//! locks of this process. Processes that may not be looked into are found by their SQLite locks, which another process looks up.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sqlite_locks::{AskLocks, LockHolder};
use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint};

/// Something that nobody else should have open.
pub(super) enum Watched {
    /// One file, by device and inode, and its path for messages.
    File(u64, u64, PathBuf),
    /// A database on which nobody should hold a lock.
    Locks(PathBuf),
    /// Everything below a directory, by its path without links.
    Below(PathBuf),
}

/// A process that has such a file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id; none where it cannot be seen from here.
    pub pid: Option<u32>,
    /// Its name.
    pub command: String,
    /// One file that it has open.
    pub path: PathBuf,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display();
        match self.pid {
            Some(pid) => write!(f, "{} (process {pid}) has {path} open", self.command),
            None => write!(f, "a process that cannot be seen from here (in another container?) has {path} open"),
        }
    }
}

/// Finds the processes, other than this one, that hold any of these; one entry for each process. Goes on looking for a moment before it
/// names one: a program that is just being started shares what its parent had open, until it runs.
pub(super) fn find(watched: &[Watched], locks: Option<AskLocks>) -> Vec<Process> {
    let until = Instant::now() + Duration::from_millis(500);
    loop {
        let holders = look(watched, locks);
        if holders.is_empty() || Instant::now() >= until {
            return holders;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Refuses to replace what somebody has open.
pub(super) fn refuse_open(holders: &[Process]) -> Result<()> {
    let Some(first) = holders.first() else { return Ok(()) };
    let more = match holders.len() {
        1 => String::new(),
        n => format!(
            " (and {} more: {})",
            n - 1,
            holders[1..].iter().map(Process::to_string).collect::<Vec<_>>().join("; ")
        ),
    };
    Err(Error::refused(format!("{first}{more}: stop it before restoring; nothing was changed").hint(Hint::Force)))
}

fn look(watched: &[Watched], locks: Option<AskLocks>) -> Vec<Process> {
    let mut holders = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return holders };
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else { continue };
        let dir = process.path();
        let held = by_descriptor(&dir, watched).or_else(|| by_mapping(&dir, watched));
        if let Some(path) = held.filter(|_| !is_starting_child(&dir)) {
            holders.push(Process { pid: Some(pid), command: command(pid), path });
        }
    }
    // A process that holds a lock has the file open, so most are known already. Without another process to ask, `/proc` must suffice.
    for path in watched.iter().filter_map(|one| if let Watched::Locks(path) = one { Some(path) } else { None }) {
        let pid = match locks.and_then(|ask| ask(path).ok().flatten()) {
            None => continue,
            Some(LockHolder::Process(pid)) => Some(pid),
            Some(LockHolder::Unseen) => None,
        };
        if !holders.iter().any(|holder| holder.pid == pid) {
            let command = pid.map(command).unwrap_or_default();
            holders.push(Process { pid, command, path: path.clone() });
        }
    }
    holders.sort_by_key(|holder| holder.pid);
    holders
}

/// Returns whether this process has just forked it: until it runs another program, it shares what was open here. On a busy machine that takes
/// longer than anybody waits.
fn is_starting_child(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The name before it may have spaces and parentheses; then come the state and the parent.
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
    let program = |process: &Path| fs::read_link(process.join("exe")).ok();
    let own = program(Path::new("/proc/self"));
    parent == Some(std::process::id()) && own.is_some() && program(process) == own
}

fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string()
}

fn by_descriptor(process: &Path, watched: &[Watched]) -> Option<PathBuf> {
    for fd in fs::read_dir(process.join("fd")).ok()?.flatten() {
        for one in watched {
            let found = match one {
                // Looking through the link asks for the open file itself, whatever its name is in that process's world.
                Watched::File(dev, ino, path) => fs::metadata(fd.path())
                    .is_ok_and(|meta| (meta.dev(), meta.ino()) == (*dev, *ino))
                    .then(|| path.clone()),
                Watched::Locks(_) => None,
                Watched::Below(dir) => fs::read_link(fd.path()).ok().filter(|path| is_strictly_below(path, dir)),
            };
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

fn by_mapping(process: &Path, watched: &[Watched]) -> Option<PathBuf> {
    let maps = fs::read(process.join("maps")).ok()?;
    for line in maps.split(|b| *b == b'\n') {
        let Some(at) = line.iter().position(|b| *b == b'/') else { continue };
        let path = crate::fs::dir::to_path(&line[at..]);
        for one in watched {
            let held = match one {
                Watched::File(_, _, file) => path == file,
                Watched::Locks(_) => false,
                Watched::Below(dir) => is_strictly_below(path, dir),
            };
            if held {
                return Some(path.to_path_buf());
            }
        }
    }
    None
}

// A deleted file still shows its former path: it is not what would be replaced.
fn is_strictly_below(path: &Path, dir: &Path) -> bool {
    path != dir && path.starts_with(dir) && !path.as_os_str().as_bytes().ends_with(b" (deleted)")
}
