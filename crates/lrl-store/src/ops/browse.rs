//! Looks into one directory of a snapshot, a page at a time: what lies directly in it. What is deeper is passed over without being read.

use crate::error::Result;
use crate::format::entry::{Entry, Kind};
use crate::format::snapshot::{Database, Snapshot};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// Entries of one subdirectory that are read before the list is searched for what follows it.
const READ_ON: usize = 32;

/// One page of a directory.
#[derive(Debug, Default)]
pub struct Page<'s> {
    /// The databases directly in it; on its first page only.
    pub databases: Vec<&'s Database>,
    /// What else is directly in it, in list order.
    pub children: Vec<Child>,
    /// Where the next page begins.
    pub next: Option<Vec<u8>>,
}

/// What is directly in a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its whole path.
    pub path: Vec<u8>,
    /// Its entry; a directory that only leads to others has none.
    pub entry: Option<Entry>,
}

impl Child {
    /// Returns whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.kind == Kind::Dir)
    }
}

/// Lists up to `most` children of `dir` (empty: the root), from the path `from` on.
///
/// # Errors
///
/// [`Error::Corrupt`](crate::error::Error::Corrupt) or [`Error::Missing`](crate::error::Error::Missing) if the store is damaged.
pub fn children<'s>(
    store: &Store,
    snapshot: &'s Snapshot,
    dir: &[u8],
    from: Option<&[u8]>,
    most: usize,
) -> Result<Page<'s>> {
    let mut page = Page::default();
    if from.is_none() {
        page.databases = snapshot
            .databases
            .iter()
            .filter(|part| first(&part.path, dir).is_some_and(|(_, deeper)| !deeper))
            .collect();
    }
    let Some(files) = &snapshot.files else { return Ok(page) };
    let start = from.unwrap_or(dir);
    let mut items = TreeItems::from_path(store, &files.list, start)?;
    let mut passed = 0;
    while let Some(entry) = items.next().transpose()? {
        if entry.path == dir {
            continue;
        }
        let Some((child, deeper)) = first(&entry.path, dir) else { break };
        let child = child.to_vec();
        if page.children.last().is_some_and(|last| last.path == child) {
            passed += 1;
            if passed >= READ_ON {
                // Of all bytes `/` sorts lowest: this is after all that the subdirectory contains, and not after what follows it.
                items = TreeItems::from_path(store, &files.list, &[&child[..], b"\x01"].concat())?;
                passed = 0;
            }
            continue;
        }
        if page.children.len() == most {
            page.next = Some(child);
            break;
        }
        passed = 0;
        page.children.push(Child { path: child, entry: (!deeper).then_some(entry) });
    }
    Ok(page)
}

/// Returns the path of the child of `dir` through which `path` leads, and whether it leads deeper; `None` if it is not below `dir`.
fn first<'p>(path: &'p [u8], dir: &[u8]) -> Option<(&'p [u8], bool)> {
    let rest = match dir {
        [] => path,
        dir => path.strip_prefix(dir)?.strip_prefix(b"/")?,
    };
    let before = path.len() - rest.len();
    match rest.iter().position(|byte| *byte == b'/') {
        Some(end) => Some((&path[..before + end], true)),
        None if rest.is_empty() => None,
        None => Some((path, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::{children, first};
    use crate::ops::backup::{Options, backup};
    use crate::progress::Silent;
    use crate::{Location, OpenOptions, create, open, time_of};
    use std::time::SystemTime;

    #[test]
    fn a_path_leads_through_one_child() {
        assert_eq!(first(b"a/b/c", b""), Some((&b"a"[..], true)));
        assert_eq!(first(b"a/b/c", b"a"), Some((&b"a/b"[..], true)));
        assert_eq!(first(b"a/b", b"a"), Some((&b"a/b"[..], false)));
        for (path, dir) in [("a", "a"), ("ab/c", "a"), ("", "")] {
            assert_eq!(first(path.as_bytes(), dir.as_bytes()), None, "{path} {dir}");
        }
    }

    #[test]
    fn a_directory_is_shown_in_pages_and_what_is_deeper_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (data, out) = (dir.path().join("data"), dir.path().join("backups"));
        let assets = data.join("assets");
        for sub in ["a", "b", "b\u{1}", "c"] {
            std::fs::create_dir_all(assets.join(sub).join("deep")).unwrap();
            for n in 0..150 {
                std::fs::write(assets.join(sub).join("deep").join(format!("{n}.txt")), "x").unwrap();
            }
        }
        std::fs::write(assets.join("z.txt"), "z").unwrap();
        std::fs::create_dir(&out).unwrap();
        let (now, place) = (SystemTime::now(), Location::parse(out.join("store")).unwrap());
        create(&place, &OpenOptions::default(), time_of(now)).unwrap();
        let store = open(&place, &OpenOptions::default(), &Silent).unwrap();
        let _ = backup(&store, &Options::new(&data, &out, now), &Silent).unwrap();
        let name = store.snapshot_names(None).unwrap().pop().unwrap();
        let snapshot = store.snapshot(&name).unwrap();
        let names = |from: Option<&[u8]>, most| {
            let page = children(&store, &snapshot, b"assets", from, most).unwrap();
            let names: Vec<String> =
                page.children.iter().map(|c| String::from_utf8_lossy(&c.path).into_owned()).collect();
            (names, page.next)
        };
        let all = ["assets/a", "assets/b", "assets/b\u{1}", "assets/c", "assets/z.txt"];
        assert_eq!(names(None, 100), (all.map(String::from).to_vec(), None));
        let (first, next) = names(None, 2);
        assert_eq!(first, all[..2]);
        let (second, next) = names(next.as_deref(), 2);
        assert_eq!(second, all[2..4]);
        assert_eq!(names(next.as_deref(), 2), (vec![all[4].to_string()], None));
        let root = children(&store, &snapshot, b"", None, 9).unwrap();
        assert!(root.children.iter().all(super::Child::is_dir) && root.children.len() == 1);
        assert_eq!(children(&store, &snapshot, b"assets/c/deep", None, 200).unwrap().children.len(), 150);
    }
}
