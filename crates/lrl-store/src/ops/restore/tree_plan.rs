//! One tree of files that is restored, with the databases that lie in it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{Part, ReuseCounts};
use super::selection::{Selection, SelectionSize};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::snapshot::Database;
use crate::fs::dir::to_path;
use crate::fs::resolve::real_path;

/// One tree of a plan.
pub(super) struct TreePlan<'a> {
    /// Its entries.
    pub tree: Selection<'a>,
    /// Where it goes.
    pub target: Target,
    /// Its size.
    pub size: SelectionSize,
    /// Its part in the report.
    pub part: Part,
    /// Databases that are staged in it, at their paths.
    pub inside: Vec<&'a Database>,
    /// The directory in which it is staged, with its path.
    pub staged: Option<(Arc<OwnedFd>, PathBuf)>,
    /// Counts files that were skipped because they are damaged.
    pub lost: ReuseCounts,
}

impl<'a> TreePlan<'a> {
    /// Plans a tree whose size is not known yet.
    pub(crate) fn new(tree: Selection<'a>, target: Target, part: Part) -> Self {
        let (size, lost) = (SelectionSize::default(), ReuseCounts::default());
        Self { tree, target, size, part, inside: Vec::new(), staged: None, lost }
    }

    /// Returns the directory in which it is staged, with its path.
    pub(crate) fn staged(&self) -> Result<(&Arc<OwnedFd>, &Path)> {
        let staged = self.staged.as_ref().map(|(dir, path)| (dir, path.as_path()));
        staged.ok_or_else(|| Error::refused(format!("{} was not prepared", self.target.path().display())))
    }

    /// Returns the number of bytes of the databases in it.
    pub(crate) fn database_bytes(&self) -> u64 {
        self.inside.iter().map(|database| database.size_bytes).sum()
    }

    /// Returns the paths of the databases in it, below the target's directory.
    pub(crate) fn databases_below(&self) -> impl Iterator<Item = Vec<u8>> {
        self.inside.iter().map(|database| self.tree.staged(&database.path))
    }

    /// Returns where the databases in it are now, without links.
    pub(crate) fn databases_in_place(&self) -> impl Iterator<Item = PathBuf> {
        let dir = real_path(self.target.dir.as_ref(), &self.target.dir_path);
        self.databases_below().map(move |path| dir.join(to_path(&path)))
    }
}
