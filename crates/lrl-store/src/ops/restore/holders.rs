//! Owns the question who has the files open that a restore would replace. Only reads `/proc`: opening and closing the database
//! itself would drop the SQLite locks of this process. Without the right to look into a process it sees nothing of it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Something that nobody else should have open.
pub(super) enum Watched {
    /// One file, by device and inode, and its path for messages.
    File(u64, u64, PathBuf),
    /// Everything below a directory, by its path without links.
    Below(PathBuf),
}

/// A process that has such a file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// One file that it has open.
    pub path: PathBuf,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {}) has {} open", self.command, self.pid, self.path.display())
    }
}

/// Finds the processes, other than this one, that hold any of these; one entry for each process.
pub(super) fn find(watched: &[Watched]) -> Vec<Holder> {
    let mut holders = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return holders };
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else { continue };
        let dir = process.path();
        if let Some(path) = by_descriptor(&dir, watched).or_else(|| by_mapping(&dir, watched)) {
            let command = fs::read_to_string(dir.join("comm")).unwrap_or_default().trim().to_string();
            holders.push(Holder { pid, command, path });
        }
    }
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn by_descriptor(process: &Path, watched: &[Watched]) -> Option<PathBuf> {
    for fd in fs::read_dir(process.join("fd")).ok()?.flatten() {
        for one in watched {
            let found = match one {
                // Looking through the link asks for the open file itself, whatever its name is in that process's world.
                Watched::File(dev, ino, path) => fs::metadata(fd.path())
                    .is_ok_and(|meta| (meta.dev(), meta.ino()) == (*dev, *ino))
                    .then(|| path.clone()),
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
        let path = super::cursor::to_path(&line[at..]);
        for one in watched {
            let held = match one {
                Watched::File(_, _, file) => path == file,
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
