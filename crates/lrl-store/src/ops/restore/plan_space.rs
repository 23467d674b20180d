//! Whether the disks have the space for a restore, before anything is written.

use std::path::Path;

use super::selection::{OldTree, SelectionSize};
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::fs::metadata::Owners;
use crate::fs::space::{FreeSpace, Reserve, free_at};
use crate::hint::{AddHint, Hint};
use crate::progress::Observer;
use crate::units::size;

/// Makes sure that the disks have the space, for what cannot be reused if not for everything. `database` is the size of all databases.
pub(super) fn require_space(
    trees: &[TreePlan<'_>],
    mut bases: Vec<&Path>,
    database: u64,
    owners: Owners,
    observer: &dyn Observer,
) -> Result<()> {
    bases.dedup();
    let free: Vec<FreeSpace> = bases.iter().map(|base| free_at(base, Reserve::LEAST)).collect::<Result<_>>()?;
    let (Some(least), Some(base)) = (free.iter().min_by_key(|free| free.bytes), bases.first()) else {
        return Ok(());
    };
    let sum = |sizes: &[SelectionSize]| sizes.iter().fold(database, |sum, size| sum.saturating_add(size.needed));
    // Two: the database and a staging directory.
    let inodes = |sizes: &[SelectionSize]| 2 + sizes.iter().map(|size| size.inodes).sum::<u64>();
    let sizes: Vec<SelectionSize> = trees.iter().map(|plan| plan.size).collect();
    // One sum for both directories: they are nearly always on one disk, and being too careful costs only speed.
    if sum(&sizes) <= least.bytes && inodes(&sizes) <= least.inodes {
        return Ok(());
    }
    let mut exact = Vec::new();
    for plan in trees {
        let old = plan.target.old_tree().map(|dir| OldTree { dir, owners });
        exact.push(plan.tree.measure(least.block, Some(old), observer)?);
    }
    let needed = sum(&exact);
    if needed > least.bytes {
        return Err(too_few_bytes(&size(needed), needed - least.bytes, base));
    }
    let inodes = inodes(&exact);
    if inodes > least.inodes {
        return Err(too_few_inodes(&format!("{inodes} files and directories"), least.inodes, base));
    }
    Ok(())
}

/// Returns the error of a restore that needs more bytes than the disk of `base` has free, `missing` more.
pub(super) fn too_few_bytes(needed: &str, missing: u64, base: &Path) -> Error {
    let (missing, disk) = (size(missing), base.display());
    let text = format!(
        "the restored data need {needed} beside what is there, {missing} more than the disk of {disk} has free; nothing was changed"
    );
    Error::refused(text.hint(Hint::MakeSpace))
}

/// Returns the error of a restore of more files than the disk of `base` has inodes for, which is `most`.
pub(super) fn too_few_inodes(files: &str, most: u64, base: &Path) -> Error {
    let disk = base.display();
    let text = format!(
        "the restored data are {files}, more than the {most} for which the disk of {disk} has room; nothing was changed"
    );
    Error::refused(text.hint(Hint::MakeSpace))
}
