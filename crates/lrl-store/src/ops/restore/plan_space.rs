//! Whether the disks have the space for a restore, before anything is written.

use std::path::Path;

use super::selection::{OldTree, SelectionSize};
use super::target::Target;
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::format::snapshot::Database;
use crate::fs::metadata::Owners;
use crate::fs::space::{FreeSpace, Reserve, device_at, free_at};
use crate::hint::{AddHint, Hint};
use crate::progress::Observer;
use crate::units::size;

/// What a restore writes to the disk of a directory.
struct Need<'p> {
    base: &'p Path,
    bytes: u64,
    /// Files and directories.
    inodes: u64,
}

/// A disk, and the sum of what is written to it.
struct Disk<'p> {
    device: u64,
    free: FreeSpace,
    need: Need<'p>,
}

impl Disk<'_> {
    fn fits(&self) -> bool {
        self.need.bytes <= self.free.bytes && self.need.inodes <= self.free.inodes
    }

    /// Refuses a restore that does not fit; `about` says how exact the bytes are.
    fn require(&self, about: &str) -> Result<()> {
        let Self { free, need: Need { base, bytes, inodes }, .. } = self;
        if *bytes > free.bytes {
            let (needed, missing, disk) = (size(*bytes), size(bytes - free.bytes), base.display());
            let text = format!(
                "the restored data need {about}{needed} beside what is there, {missing} more than the disk of {disk} has free; nothing was changed"
            );
            return Err(Error::refused(text.hint(Hint::MakeSpace)));
        }
        if *inodes > free.inodes {
            let (most, disk) = (free.inodes, base.display());
            let text = format!(
                "the restored data are {inodes} files and directories, more than the {most} for which the disk of {disk} has room; nothing was changed"
            );
            return Err(Error::refused(text.hint(Hint::MakeSpace)));
        }
        Ok(())
    }
}

/// Adds up what each disk has to take: databases and uploads may lie on different ones.
fn by_disk<'p>(needs: impl IntoIterator<Item = Need<'p>>) -> Result<Vec<Disk<'p>>> {
    let mut disks: Vec<Disk<'p>> = Vec::new();
    for need in needs {
        let device = device_at(need.base)?;
        match disks.iter_mut().find(|disk| disk.device == device) {
            Some(Disk { need: sum, .. }) => {
                sum.bytes = sum.bytes.saturating_add(need.bytes);
                sum.inodes = sum.inodes.saturating_add(need.inodes);
            }
            // One more: the staging directory.
            None => {
                let free = free_at(need.base, Reserve::LEAST)?;
                disks.push(Disk { device, free, need: Need { inodes: need.inodes.saturating_add(1), ..need } });
            }
        }
    }
    Ok(disks)
}

/// Makes sure that each disk has the space, for what cannot be reused if not for everything.
pub(super) fn require_space(
    trees: &[TreePlan<'_>],
    databases: &[(&Database, Target)],
    owners: Owners,
    observer: &dyn Observer,
) -> Result<()> {
    let needs = |sizes: Vec<SelectionSize>| {
        let alone = databases.iter().map(|(database, target)| (target, database.size_bytes, 1));
        let trees = trees.iter().zip(sizes).map(|(plan, size)| {
            let bytes = size.needed.saturating_add(plan.database_bytes());
            (&plan.target, bytes, size.inodes.saturating_add(plan.inside.len() as u64))
        });
        by_disk(alone.chain(trees).map(|(target, bytes, inodes)| Need { base: &target.base.0, bytes, inodes }))
    };
    if needs(trees.iter().map(|plan| plan.size).collect())?.iter().all(Disk::fits) {
        return Ok(());
    }
    let mut exact = Vec::new();
    for plan in trees {
        let block = free_at(&plan.target.base.0, Reserve::LEAST)?.block;
        let old = plan.target.old_tree().map(|dir| OldTree { dir, owners });
        exact.push(plan.tree.measure(block, Some(old), observer)?);
    }
    needs(exact)?.iter().try_for_each(|disk| disk.require(""))
}

/// As [`require_space`], by what a set says: of each target its bytes and files.
pub(super) fn require_space_of_set<'t>(parts: impl Iterator<Item = (&'t Target, u64, u64)>) -> Result<()> {
    let need = |(target, bytes, files): (&'t Target, u64, u64)| {
        let base = &target.base.0;
        // Of the last block of each file about a half is empty.
        let blocks = files.saturating_mul(free_at(base, Reserve::LEAST)?.block / 2);
        Ok(Need { base, bytes: bytes.saturating_add(blocks), inodes: files })
    };
    by_disk(parts.map(need).collect::<Result<Vec<_>>>()?)?.iter().try_for_each(|disk| disk.require("about "))
}
