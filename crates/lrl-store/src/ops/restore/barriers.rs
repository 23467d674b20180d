//! What must not move along with a directory of a site: mounts, lrl's own directories, links to where data is, databases that stay.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, statat};

use super::selection::is_below;
use super::target::Target;
use crate::format::path_text;
use crate::fs::dir::{DirCursor, split, to_path};
use crate::fs::resolve::look;

/// What must not move along with a directory.
pub(super) struct Barriers {
    /// Where something is mounted.
    pub mounts: Vec<PathBuf>,
    /// Directories of lrl itself.
    pub own: Vec<PathBuf>,
    /// Paths in the snapshot of databases that stay where they are.
    pub databases: Vec<Vec<u8>>,
}

impl Barriers {
    /// Looks for mounts, and finds where the directories of lrl really are.
    pub(crate) fn new(own: &[PathBuf], databases: Vec<Vec<u8>>) -> Self {
        let own = own.iter().filter_map(|path| path.canonicalize().ok()).collect();
        // Without it nothing can be mounted by anybody who could run a restore.
        let mounts = std::fs::read("/proc/self/mountinfo").map(|text| mount_points(&text)).unwrap_or_default();
        Self { mounts, own, databases }
    }

    /// Returns what is below a directory and must not move along with it, in words. `real` is its path on the disk, `path` that in the
    /// snapshot, `links` where links to directories and databases are.
    pub(crate) fn below(&self, path: &[u8], real: &Path, links: &[Vec<u8>]) -> Option<String> {
        let is_inside = |other: &&PathBuf| other.as_path() != real && other.starts_with(real);
        let is_in_list = |other: &&Vec<u8>| other.as_slice() != path && is_below(other, path);
        let own = self.own.iter().find(is_inside).map(|own| format!("{}, which is lrl's own", own.display()));
        let mount = || self.mounts.iter().find(is_inside).map(|mount| format!("a mount ({})", mount.display()));
        let link = || links.iter().find(is_in_list).map(|link| format!("the link {}", path_text::encode(link)));
        let database = || {
            let found = self.databases.iter().find(is_in_list);
            found.map(|database| format!("the database {}", path_text::encode(database)))
        };
        own.or_else(mount).or_else(link).or_else(database)
    }
}

/// Returns the mount points of a mountinfo (proc(5): the fifth field, with octal escapes).
fn mount_points(text: &[u8]) -> Vec<PathBuf> {
    let field = |line: &[u8]| line.split(|b| *b == b' ').nth(4).map(|field| to_path(&unescape(field)).to_path_buf());
    text.split(|b| *b == b'\n').filter_map(field).collect()
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(byte) = field.get(at) {
        let octal = field.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let octal = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(octal.unwrap_or(*byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    plain
}

/// Links in place that lead to what a restore has as directories and databases.
pub(super) struct LinksInPlace {
    cursor: DirCursor,
    base: Vec<u8>,
    name: Vec<u8>,
    /// Paths of those that were found.
    pub found: Vec<Vec<u8>>,
}

impl LinksInPlace {
    /// Looks below a path whose target is this one; `None` if nothing is there.
    pub(crate) fn new(target: &Target, base: &[u8]) -> Option<Self> {
        let cursor = DirCursor::new(Arc::clone(target.old_tree()?), Path::new(""));
        Some(Self { cursor, base: base.to_vec(), name: target.name.clone(), found: Vec::new() })
    }

    /// Looks at the place of a directory.
    pub(crate) fn add_dir(&mut self, path: &[u8]) {
        if !self.found.iter().any(|link| is_below(path, link)) && self.is_link_to(path, FileType::Directory) {
            self.found.push(path.to_vec());
        }
    }

    /// Looks at the place of a database.
    pub(crate) fn add_database(&mut self, path: &[u8]) {
        if self.is_link_to(path, FileType::RegularFile) {
            self.found.push(path.to_vec());
        }
    }

    fn is_link_to(&mut self, path: &[u8], kind: FileType) -> bool {
        let there = [&self.name, path.get(self.base.len()..).unwrap_or_default()].concat();
        self.cursor.enter(split(&there).0).is_ok() && is_link_to(self.cursor.here(), path, kind)
    }
}

fn is_link_to(dir: &Arc<OwnedFd>, path: &[u8], kind: FileType) -> bool {
    let name = split(path).1;
    let of = |mode| FileType::from_raw_mode(mode);
    look(dir, name).is_ok_and(|stat| stat.is_some_and(|stat| of(stat.st_mode) == FileType::Symlink))
        && statat(dir, to_path(name).as_os_str().as_bytes(), AtFlags::empty())
            .is_ok_and(|stat| of(stat.st_mode) == kind)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Barriers, mount_points};

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n37 35 0:1 / /a\\040b\\134c rw - tmpfs t rw\n";
        assert_eq!(mount_points(text), ["/mnt2", "/a b\\c"].map(Path::new));
        assert!(mount_points(b"").is_empty() && mount_points(b"short line\n").is_empty());
    }

    #[test]
    fn only_what_is_strictly_below_holds_a_directory_back() {
        let barriers = Barriers {
            mounts: vec!["/site/data".into()],
            own: vec!["/site/backups/store".into()],
            databases: vec![b"storage/a.sqlite".to_vec()],
        };
        let below =
            |path: &str, links: &[Vec<u8>]| barriers.below(path.as_bytes(), &Path::new("/site").join(path), links);
        assert!(below("backups", &[]).unwrap().contains("lrl's own") && below("backups/store", &[]).is_none());
        assert!(below("data", &[]).is_none() && below("dat", &[]).is_none());
        assert!(below("storage", &[]).unwrap().contains("a.sqlite"));
        assert!(below("x", &[b"x/y".to_vec()]).unwrap().contains("x/y") && below("x/y", &[b"x/y".to_vec()]).is_none());
    }
}
