//! Where changes of the data show: the trees of its files, and the directories of its databases.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::fs::dir::to_path;
use crate::ops::backup::{Options, find_elsewhere};
use crate::progress::Silent;
use crate::source::files::walk::Root;

/// A tree of directories in which everything counts.
#[derive(Debug)]
pub(super) struct Tree {
    /// Its path in the list; empty for the root of a site.
    pub list: Vec<u8>,
    /// Where the path inside its root begins, in paths of the list.
    pub inside: usize,
    /// Its directory, without links.
    pub dir: PathBuf,
}

impl Tree {
    /// Returns the path in the list of what is at `below` in the tree.
    pub(crate) fn list_path(&self, below: &[u8]) -> Vec<u8> {
        let slash: &[u8] = if self.list.is_empty() || below.is_empty() { b"" } else { b"/" };
        [&self.list, slash, below].concat()
    }

    /// Returns where that is on disk.
    pub(crate) fn place(&self, below: &[u8]) -> PathBuf {
        if below.is_empty() { self.dir.clone() } else { self.dir.join(to_path(below)) }
    }
}

/// Finds the trees that are there now.
pub(super) fn trees(options: &Options) -> Vec<Tree> {
    let mut trees = Vec::new();
    for root in options.uploads.iter().flatten() {
        let inside = if root.name.is_empty() { 0 } else { root.name.len() + 1 };
        let mut add = |list: &[u8], path: &Path| {
            let dir = fs::canonicalize(path).ok().filter(|dir| dir.is_dir());
            trees.extend(dir.map(|dir| Tree { list: list.to_vec(), inside, dir }));
        };
        add(root.name.as_bytes(), &root.path);
        for link in options.excludes.to_follow() {
            let below = below(root, link);
            below.iter().for_each(|below| add(link, &root.path.join(to_path(below))));
        }
    }
    trees
}

/// Returns a path of the list as it is inside a root, if it is in that one.
fn below<'a>(root: &Root, path: &'a [u8]) -> Option<&'a [u8]> {
    match root.name.is_empty() {
        true => Some(path),
        false => path.strip_prefix(root.name.as_bytes())?.strip_prefix(b"/"),
    }
}

/// Finds the directories in which only some names count: databases with their journals, also those that lie where no files are stored, and
/// roots that are not there yet.
pub(super) fn names(options: &Options) -> BTreeMap<PathBuf, Vec<Box<[u8]>>> {
    let mut names: BTreeMap<PathBuf, Vec<Box<[u8]>>> = BTreeMap::new();
    let mut add = |path: &Path, suffixes: &[&str]| {
        let (Some(name), Some(dir)) = (path.file_name(), path.parent()) else { return };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let Ok(dir) = fs::canonicalize(dir) else { return };
        let of_dir = names.entry(dir).or_default();
        of_dir.extend(suffixes.iter().map(|suffix| [name.as_bytes(), suffix.as_bytes()].concat().into_boxed_slice()));
    };
    // What cannot be searched is for the backup to tell.
    let elsewhere = find_elsewhere(options, &mut Vec::new(), &Silent).unwrap_or_default();
    for database in options.databases.iter().chain(&elsewhere).filter(|_| options.stores_databases) {
        // SQLite keeps the journals beside the file that a link leads to.
        let real = fs::canonicalize(&database.file).unwrap_or_else(|_| database.file.clone());
        add(&real, &["", "-wal", "-journal"]);
        if real != database.file {
            add(&database.file, &[""]);
        }
    }
    for root in options.uploads.iter().flatten().filter(|root| !root.path.is_dir()) {
        add(&root.path, &[""]);
    }
    names
}

/// Returns what tells the directories that are never entered from all others.
pub(super) fn skipped(options: &Options) -> Vec<(u64, u64)> {
    let id = |path: &PathBuf| fs::metadata(path).ok().filter(fs::Metadata::is_dir).map(|meta| (meta.dev(), meta.ino()));
    options.skip.iter().filter_map(id).collect()
}
