//! Which uploads roots are walked: opened, in order, each file in one of them only.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, OFlags, fstat};

use super::found::{Root, Stat};
use super::open::{open_quietly, unreadable};
use crate::error::{Error, Result};
use crate::progress::Problems;

/// A root that can be walked.
pub(crate) struct OpenRoot {
    pub(crate) name: String,
    /// Without a trailing slash.
    pub(crate) path: Vec<u8>,
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
}

/// A directory or file that is never walked.
pub(crate) struct Skip {
    pub(crate) id: (u64, u64),
    /// A file is skipped under this name only: a hard link elsewhere is an upload.
    pub(crate) file_name: Option<Vec<u8>>,
    pub(crate) path: PathBuf,
}

/// Opens the roots in list order and leaves out those that another one holds.
///
/// The first in list order keeps its contents: one that lies inside it is dropped, and one that it lies inside is walked
/// without it.
pub(crate) fn open(roots: &[Root], skips: &[Skip], problems: &mut Problems<'_>) -> Result<Vec<OpenRoot>> {
    let is_one = roots.len() == 1;
    let mut roots: Vec<&Root> = roots.iter().collect();
    roots.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let mut kept: Vec<(OpenRoot, &Path)> = Vec::new();
    let mut previous = None;
    for root in roots {
        let is_only = root.name.is_empty() && is_one;
        if !is_only && (root.name.contains('/') || !crate::format::entry::is_clean_path(root.name.as_bytes())) {
            return Err(Error::refused(format!("{:?} cannot be the name of an uploads directory", root.name)));
        }
        if previous.replace(root.name.as_str()) == Some(root.name.as_str()) {
            return Err(Error::refused(format!("two uploads directories are called {:?}", root.name)));
        }
        let path = without_trailing_slash(&root.path);
        // The root itself may be a link: the operator named it, nobody planted it.
        let opened = open_quietly(CWD, path, OFlags::DIRECTORY).and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = match opened {
            Ok((fd, stat)) => (fd, Stat::of(&stat)),
            Err(errno) => {
                let reason = match errno {
                    rustix::io::Errno::NOENT => "there is no such uploads directory".to_owned(),
                    errno => unreadable(errno),
                };
                problems.lost(path, reason);
                continue;
            }
        };
        if let Some(skip) = skips.iter().find(|skip| skip.id == stat.id() && skip.file_name.is_none()) {
            return Err(Error::refused(format!(
                "{} is the uploads directory itself; keep backups in another directory",
                skip.path.display()
            )));
        }
        if let Some((outer, _)) = kept.iter().find(|(outer, _)| is_inside(&root.path, &outer.stat)) {
            let reason = format!("lies inside the uploads directory {:?} and is stored as part of it", outer.name);
            problems.note(path, reason);
            continue;
        }
        let path = path.to_vec();
        kept.push((OpenRoot { name: root.name.clone(), path, fd, stat }, &root.path));
    }
    Ok(kept.into_iter().map(|(root, _)| root).collect())
}

/// Looks up what must not be walked; a path that is not there needs no rule.
pub(crate) fn skips(paths: &[PathBuf]) -> Vec<Skip> {
    let known = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        let file_name = match metadata.is_dir() {
            true => None,
            false => Some(path.file_name()?.as_bytes().to_vec()),
        };
        Some(Skip { id: (metadata.dev(), metadata.ino()), file_name, path: path.clone() })
    };
    paths.iter().filter_map(known).collect()
}

fn is_inside(path: &Path, outer: &Stat) -> bool {
    let is_outer = |dir: &Path| fs::metadata(dir).is_ok_and(|m| (m.dev(), m.ino()) == outer.id());
    fs::canonicalize(path).is_ok_and(|path| path.ancestors().any(is_outer))
}

fn without_trailing_slash(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(bytes.len().min(1), |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::without_trailing_slash;
    use std::path::Path;

    #[test]
    fn trailing_slashes_go_except_of_the_root_directory() {
        for (path, expected) in [("a/", "a"), ("a//", "a"), ("/", "/"), ("//", "/"), ("./a/b", "./a/b"), ("", "")] {
            assert_eq!(without_trailing_slash(Path::new(path)), expected.as_bytes());
        }
    }
}
