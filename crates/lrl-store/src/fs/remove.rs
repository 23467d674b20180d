//! Walks and removes everything below a name in an open directory, by handles: no path is resolved twice, no link is followed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Stat, unlinkat};
use rustix::io::Errno;

use super::dir::DirCursor;
use super::resolve::{hold, look, set_mode};

/// What a walk has come to: the directory that holds it, its name, what it is, and how many levels it is below the start.
pub(crate) struct Step<'a> {
    /// The directory.
    pub dir: &'a Arc<OwnedFd>,
    /// The name.
    pub name: &'a [u8],
    /// What it is.
    pub stat: &'a Stat,
    /// 0 for the start itself.
    pub depth: usize,
}

impl Step<'_> {
    /// Checks whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        is_dir(self.stat)
    }

    /// Checks whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::RegularFile
    }
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Visits `name` in `dir` and all below it, but for directories of which `visit` returns false. What cannot be read is an error, or with `lenient` is passed over.
pub(crate) fn walk(
    dir: &Arc<OwnedFd>,
    name: &[u8],
    lenient: bool,
    visit: &mut dyn FnMut(&Step<'_>) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    let pass = |e: Errno| if lenient { Ok(()) } else { Err(e) };
    let stat = match look(dir, name) {
        Ok(Some(stat)) => stat,
        Ok(None) => return pass(Errno::NOENT),
        Err(e) => return pass(e),
    };
    if !visit(&Step { dir, name, stat: &stat, depth: 0 })? || !is_dir(&stat) {
        return Ok(());
    }
    let mut cursor = DirCursor::new(Arc::clone(dir), Path::new(""));
    if let Err(e) = cursor.descend(name) {
        return pass(e);
    }
    // Directories that wait to be entered, for each level of the cursor.
    let mut waiting = vec![list(&cursor, 1, lenient, visit)?];
    while let Some(level) = waiting.last_mut() {
        match level.pop() {
            Some(next) => match cursor.descend(&next) {
                Ok(()) => {
                    let depth = waiting.len() + 1;
                    waiting.push(list(&cursor, depth, lenient, visit)?);
                }
                Err(e) => pass(e)?,
            },
            None => {
                waiting.pop();
                cursor.ascend()?;
            }
        }
    }
    Ok(())
}

/// Visits what is in the cursor's directory; returns the directories.
fn list(
    cursor: &DirCursor,
    depth: usize,
    lenient: bool,
    visit: &mut dyn FnMut(&Step<'_>) -> Result<bool, Errno>,
) -> Result<Vec<Vec<u8>>, Errno> {
    let mut dirs = Vec::new();
    let listing = match Dir::read_from(cursor.here()) {
        Ok(listing) => listing,
        Err(_) if lenient => return Ok(dirs),
        Err(e) => return Err(e),
    };
    for entry in listing {
        let entry = match entry {
            Ok(entry) => entry,
            Err(_) if lenient => break,
            Err(e) => return Err(e),
        };
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let stat = match look(cursor.here(), name) {
            Ok(Some(stat)) => stat,
            Ok(None) => continue,
            Err(_) if lenient => continue,
            Err(e) => return Err(e),
        };
        if visit(&Step { dir: cursor.here(), name, stat: &stat, depth })? && is_dir(&stat) {
            dirs.push(name.to_vec());
        }
    }
    Ok(dirs)
}

/// Removes `name` in `home` and all below it, whatever the modes of its directories.
pub(crate) fn remove_tree(home: &Arc<OwnedFd>, name: &[u8]) -> Result<(), Errno> {
    let mut cursor = DirCursor::new(Arc::clone(home), Path::new(""));
    match remove(home, name) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => descend(&mut cursor, name)?,
        done => return done,
    }
    let mut names = vec![name.to_vec()];
    while let Some(current) = names.last().cloned() {
        let mut deeper = None;
        // A directory is listed anew after each that had contents: what was before it is gone by then.
        for entry in Dir::read_from(cursor.here())?.flatten() {
            let child = entry.file_name().to_bytes();
            if child == b"." || child == b".." {
                continue;
            }
            match remove(cursor.here(), child) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    deeper = Some(child.to_vec());
                    break;
                }
                Err(Errno::ACCESS) => {
                    set_mode(cursor.here(), 0o700)?;
                    remove(cursor.here(), child).or_else(|e| if e == Errno::NOTEMPTY { Ok(()) } else { Err(e) })?;
                }
                done => done?,
            }
        }
        if let Some(child) = deeper {
            descend(&mut cursor, &child)?;
            names.push(child);
            continue;
        }
        cursor.ascend()?;
        match remove(cursor.here(), &current) {
            Ok(()) => _ = names.pop(),
            Err(Errno::NOTEMPTY | Errno::EXIST) => descend(&mut cursor, &current)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn descend(cursor: &mut DirCursor, name: &[u8]) -> Result<(), Errno> {
    cursor.descend(name).or_else(|e| match e {
        // A directory that even its owner may not read.
        Errno::ACCESS => {
            set_mode(hold(cursor.here(), name)?, 0o700)?;
            cursor.descend(name)
        }
        e => Err(e),
    })
}

fn remove(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(&dir, name, AtFlags::REMOVEDIR),
        done => done,
    }
}
