//! Measures what is below a name in an open directory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::fs::remove::{Step, walk};
use crate::source::files::kept_copies::is_of_restore;

/// What a file or directory contains, and the space that it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeSize {
    entries: u64,
    bytes: u64,
    /// Bytes on the disk; each hard link of a file counts a part of it.
    pub space: u64,
}

impl TreeSize {
    /// Returns whether both have the same contents, as far as counts tell.
    pub(crate) fn holds_the_same(&self, other: &Self) -> bool {
        (self.entries, self.bytes) == (other.entries, other.bytes)
    }
}

/// Measures a name in an open directory and everything below it, as far as it can be read. What a restore keeps inside a directory
/// whose contents are exchanged does not count.
pub(super) fn measure(dir: &Arc<OwnedFd>, name: &[u8]) -> TreeSize {
    let mut sum = TreeSize::default();
    let _ = walk(dir, name, true, &mut |step: &Step<'_>| {
        if step.depth == 1 && is_of_restore(step.name) {
            return Ok(false);
        }
        let (stat, is_file) = (step.stat, step.is_file());
        sum.entries += 1;
        sum.bytes += if is_file { stat.st_size as u64 } else { 0 };
        sum.space += stat.st_blocks as u64 * 512 / if is_file { stat.st_nlink.max(1) } else { 1 };
        Ok(true)
    });
    sum
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::TreeSize;
    use crate::fs::resolve::OpenDirs;

    fn measure(path: &Path) -> TreeSize {
        let dir = OpenDirs::default().open(path.parent().unwrap()).unwrap().unwrap();
        super::measure(&dir, std::os::unix::ffi::OsStrExt::as_bytes(path.file_name().unwrap()))
    }

    #[test]
    fn a_tree_has_the_size_of_its_contents_and_hard_links_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let of = |path: &str| dir.path().join(path);
        let dirs = || {
            measure(&of("")).space
                - fs::read_dir(of("")).unwrap().map(|e| measure(&e.unwrap().path()).space).sum::<u64>()
        };
        fs::write(of("a"), vec![7; 100_000]).unwrap();
        let (one, own) = (measure(&of("")), dirs());
        assert!((100_000..120_000).contains(&(one.space - own)), "{one:?}");
        fs::write(of("b"), vec![7; 50_000]).unwrap();
        let two = measure(&of(""));
        assert!(two.space > one.space + 45_000 && !two.holds_the_same(&one));
        fs::remove_file(of("b")).unwrap();
        assert!(measure(&of("")).holds_the_same(&one));
        fs::write(of("a"), vec![7; 100_001]).unwrap();
        assert!(!measure(&of("")).holds_the_same(&one));
        fs::hard_link(of("a"), of("c")).unwrap();
        let shared = measure(&of(""));
        assert!(shared.space.abs_diff(one.space) < 8192 && !shared.holds_the_same(&one), "{shared:?}");
        assert_eq!(measure(&of("nothing")).space, 0);
    }
}
