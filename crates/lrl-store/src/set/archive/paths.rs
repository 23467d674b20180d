//! What makes an archive's members safe to write: clean names, no name twice, nothing through a link or a file. `verify` checks that
//! here without writing; for `extract` the file system itself answers, in the same words.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::read::{Member, MemberKind};
use crate::format::entry::compare_paths;

/// Why a member is refused, as words that follow "its member NAME".
pub(crate) type Refusal = String;

pub(crate) const TWICE: &str = "stands there twice";
pub(crate) const THROUGH: &str = "leads through a link or a file";
pub(crate) const NO_TARGET: &str = "is a hard link to a file that the archive does not hold before it";

/// Returns a member's path without `.`, doubled and closing slashes; empty for the destination itself.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    if path.is_empty() {
        return Err("has no name".into());
    }
    if path.starts_with(b"/") {
        return Err("has an absolute name".into());
    }
    if path.contains(&0) {
        return Err("has a NUL in its name".into());
    }
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err("climbs out of its directory".into()),
            _ if part.len() > 255 => return Err("has a name of more than 255 bytes".into()),
            _ => {}
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// A member whose name and kind are fit to be written.
pub(crate) struct Checked {
    /// Clean path; empty only for a directory that is the destination itself.
    pub path: Vec<u8>,
    /// Clean path of a hard link's target, raw target of a symbolic link.
    pub link: Vec<u8>,
}

/// Checks what one member says for itself.
pub(crate) fn check(member: &Member) -> Result<Checked, Refusal> {
    let path = clean(&member.path)?;
    if path.is_empty() && member.kind != MemberKind::Dir {
        return Err("has no name".into());
    }
    let link = match member.kind {
        MemberKind::Hardlink => clean(&member.link).map_err(|_| "is a link to outside of the archive".to_string())?,
        MemberKind::Symlink if member.link.is_empty() || member.link.contains(&0) => {
            return Err("is a link to nowhere".into());
        }
        MemberKind::Symlink => member.link.clone(),
        MemberKind::Other(flag) => {
            return Err(format!("is no file, directory or link, but of type {:?}", char::from(flag)));
        }
        MemberKind::File | MemberKind::Dir => Vec::new(),
    };
    Ok(Checked { path, link })
}

/// What has a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Dir,
    File,
    Link,
}

/// The names so far. An archive in list order, as lrl writes it, needs to remember the last one only; any other needs
/// all, at 16 bytes each.
pub(crate) struct Names {
    last: Vec<u8>,
    last_held: Entry,
    count: u64,
    all: Option<All>,
}

/// The next name is not in order: every earlier one has to be known, see [`Names::remember`].
pub(crate) struct OutOfOrder;

impl Names {
    pub(crate) fn new() -> Self {
        Self { last: Vec::new(), last_held: Entry::Dir, count: 0, all: None }
    }

    /// Returns the number of members that were taken.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Starts to keep every name; the caller then passes all earlier members again.
    pub(crate) fn remember() -> Self {
        Self { all: Some(All::default()), ..Self::new() }
    }

    /// Takes the next member's name, or refuses it.
    pub(crate) fn take(&mut self, member: &Member, checked: &Checked) -> Result<Result<(), Refusal>, OutOfOrder> {
        let held = match member.kind {
            MemberKind::Dir => Entry::Dir,
            MemberKind::Symlink => Entry::Link,
            _ => Entry::File,
        };
        let path = &checked.path;
        let done = if let Some(all) = &mut self.all {
            all.take(path, held, (member.kind == MemberKind::Hardlink).then_some(&checked.link))
        } else if member.kind == MemberKind::Hardlink || compare_paths(&self.last, path).is_ge() && self.count > 0 {
            return Err(OutOfOrder);
        } else if self.last_held != Entry::Dir && path.strip_prefix(&*self.last).is_some_and(|p| p.starts_with(b"/")) {
            Err(THROUGH.into())
        } else {
            Ok(())
        };
        self.count += 1;
        self.last.clone_from(path);
        self.last_held = held;
        Ok(done)
    }
}

/// Every name by a keyed hash: two names of one hash would be refused as one name twice, never let through.
#[derive(Default)]
struct All {
    held: HashMap<u64, Entry>,
    keys: RandomState,
}

impl All {
    fn take(&mut self, path: &[u8], held: Entry, target: Option<&Vec<u8>>) -> Result<(), Refusal> {
        if target.is_some_and(|target| self.held.get(&self.keys.hash_one(target.as_slice())) != Some(&Entry::File)) {
            return Err(NO_TARGET.into());
        }
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            if *self.held.entry(self.keys.hash_one(&path[..at])).or_insert(Entry::Dir) != Entry::Dir {
                return Err(THROUGH.into());
            }
        }
        match self.held.insert(self.keys.hash_one(path), held) {
            None => Ok(()),
            Some(Entry::Dir) if held == Entry::Dir => Ok(()),
            Some(_) => Err(TWICE.into()),
        }
    }
}
