//! The directories in which targets are, each with its staging directory and the guard of its disk.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{fstat, syncfs};

use super::stage_file::Writer;
use super::staging_dir::{CreatedDirs, StagingDir};
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::resolve::OpenDirs;
use crate::fs::space::{Reserve, SpaceGuard};
use crate::progress::Observer;
use crate::store::Store;

/// A directory in which targets are.
pub(super) struct StagingHome {
    /// Its path.
    pub path: PathBuf,
    /// Where things are staged.
    pub staging: StagingDir,
    /// Guards the free space of its disk.
    pub space: SpaceGuard,
}

/// All of them.
pub(super) struct StagingDirs<'a> {
    /// In the order in which they were opened.
    all: Vec<StagingHome>,
    /// Directories that were created above the targets. Dropped after what is in them.
    created: CreatedDirs,
    owner: Option<(u32, u32)>,
    dirs: &'a OpenDirs,
}

impl<'a> StagingDirs<'a> {
    /// Starts with none. Directories that have to be created go to `owner`.
    pub(crate) fn new(dirs: &'a OpenDirs, owner: Option<(u32, u32)>) -> Self {
        Self { all: Vec::new(), created: CreatedDirs::default(), owner, dirs }
    }

    /// Creates a directory unless it exists; returns whether it did.
    pub(crate) fn create_dir(&mut self, path: &std::path::Path) -> Result<bool> {
        let is_new = self.dirs.open(path)?.is_none();
        self.created.create(self.dirs, path, self.owner).map(|_| is_new)
    }

    /// Returns the one that a target is in.
    pub(crate) fn of(&self, target: &Target) -> Result<&StagingHome> {
        self.all
            .iter()
            .find(|home| home.path == target.base.0)
            .ok_or_else(|| Error::refused(format!("{} was not prepared", target.base.0.display())))
    }

    /// Returns what writes contents for a target.
    pub(crate) fn writer<'w>(
        &'w self,
        target: &Target,
        store: &'w Store,
        observer: &'w dyn Observer,
    ) -> Result<Writer<'w>> {
        Ok(Writer { store, observer, space: &self.of(target)?.space })
    }

    /// Opens the one of a target, creating it if need be, with its staging directory; finds out how the target can change.
    pub(crate) fn open(&mut self, target: &mut Target) -> Result<()> {
        let dir = match &target.base.1 {
            Some(dir) => Arc::clone(dir),
            None => self.created.create(self.dirs, &target.base.0, self.owner)?,
        };
        if target.dir.is_none() {
            target.dir = Some(Arc::clone(&dir));
        }
        if !self.all.iter().any(|home| home.path == target.base.0) {
            let path = target.base.0.clone();
            let staging = StagingDir::create(&dir, &path)?;
            let space = SpaceGuard::new(Arc::clone(&staging.dir), &path, Reserve::LEAST);
            self.all.push(StagingHome { path, staging, space });
        }
        #[cfg(test)]
        if super::swap_contents::tests::is_forced() {
            return target.exchange_contents();
        }
        if let Some(dir) = target.dir.clone().filter(|_| target.is_renamed_dir())
            && !self.of(target)?.staging.can_rename(dir, &target.name)?
        {
            target.exchange_contents()?;
        }
        Ok(())
    }

    /// Returns whether files can share blocks on all of their disks.
    pub(crate) fn can_clone(&self) -> bool {
        self.all.iter().all(|home| home.staging.can_clone())
    }

    /// Makes everything that was staged durable: one sync for each disk, before the first rename.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut done = Vec::new();
        for home in &self.all {
            let failed = |e: rustix::io::Errno| Error::io("sync", &home.path)(e.into());
            let device = fstat(&home.staging.dir).map_err(failed)?.st_dev;
            if !done.contains(&device) {
                syncfs(&home.staging.dir).map_err(failed)?;
                done.push(device);
            }
        }
        Ok(())
    }

    /// Keeps the directories that were created: the restore is done.
    pub(crate) fn keep_created(&self) {
        self.created.keep();
    }
}
