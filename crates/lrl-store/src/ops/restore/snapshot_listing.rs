//! The list of a snapshot of a site, as far as planning asks for it.

use std::sync::Arc;

use super::barriers::LinksInPlace;
use super::listing::Listing;
use super::selection::{Selection, is_below};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, is_clean_path};
use crate::format::node::Child;
use crate::id::ChunkId;
use crate::ops::skipped::Skips;
use crate::store::Store;
use crate::store::tree::TreeItems;

/// The list of a snapshot.
pub(super) struct SnapshotListing<'a> {
    pub store: &'a Store,
    /// The files; none if the snapshot holds none.
    pub list: Option<ChunkId>,
    /// Collects what is damaged; `None`: damage is an error.
    pub skips: Option<Arc<Skips>>,
    /// The paths of the databases that are restored, which the list does not have.
    pub databases: Vec<Vec<u8>>,
}

impl<'a> SnapshotListing<'a> {
    /// Selects paths of the list for a target of this name.
    pub(crate) fn selection(
        &self,
        base: Vec<u8>,
        selected: Vec<Vec<u8>>,
        name: Vec<u8>,
        owner: (u32, u32),
    ) -> Selection<'a> {
        let (store, list, skips) = (self.store, self.list, self.skips.clone());
        Selection { store, list, base, selected, name, skips, owner }
    }
}

impl Listing for SnapshotListing<'_> {
    fn children(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        let Some(list) = self.list else { return Ok(Vec::new()) };
        let mut children: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut gap = |child: &Child, error: &Error| {
            self.skips.iter().for_each(|skips| skips.add(&child.first_key, child.weight.max(1), error));
        };
        let start = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let mut from = dir.to_vec();
        loop {
            let next = match &self.skips {
                Some(_) => TreeItems::from_path_around(self.store, &list, &from, &mut gap)?.next_around(&mut gap)?,
                None => TreeItems::<Entry>::from_path(self.store, &list, &from)?.next().transpose()?,
            };
            let Some(entry) = next.filter(|entry| dir.is_empty() || is_below(&entry.path, dir)) else {
                return Ok(children);
            };
            if !is_clean_path(&entry.path) {
                return Err(Error::corrupt("the snapshot's list of files", "has a path that leads elsewhere"));
            }
            if entry.path == dir {
                from = [dir, b"/"].concat();
                continue;
            }
            let rest = entry.path.get(start..).unwrap_or_default();
            let name = rest.split(|b| *b == b'/').next().unwrap_or_default();
            let child = [&entry.path[..start.min(entry.path.len())], name].concat();
            // The own entry of a directory may be what is damaged.
            let is_dir = entry.kind == Kind::Dir || child.len() < entry.path.len();
            // Behind everything below it: no name has a byte that sorts between.
            from = [child.as_slice(), b"\x01"].concat();
            if children.last().is_some_and(|(last, _)| *last == child) {
                return Err(Error::corrupt("the snapshot's list of files", "is not in order"));
            }
            children.push((child, is_dir));
        }
    }

    fn find(&self, path: &[u8]) -> Result<Option<bool>> {
        let found = self.selection(path.to_vec(), Vec::new(), Vec::new(), (0, 0)).find(path)?;
        // In a damaged list nothing tells that it is not there.
        let is_perhaps = found.is_none() && self.skips.is_some();
        Ok(found.map(|entry| entry.kind == Kind::Dir).or(is_perhaps.then_some(false)))
    }

    fn links_in_place(&self, path: &[u8], target: &Target) -> Result<Vec<Vec<u8>>> {
        let Some(mut links) = LinksInPlace::new(target, path) else { return Ok(Vec::new()) };
        let tree = self.selection(path.to_vec(), vec![path.to_vec()], target.name.clone(), (0, 0));
        for entry in tree.entries()? {
            let entry = entry?;
            if entry.kind == Kind::Dir {
                links.add_dir(&entry.path);
            }
        }
        let inside = self.databases.iter().filter(|database| is_below(database, path));
        inside.for_each(|database| links.add_database(database));
        Ok(links.found)
    }
}
