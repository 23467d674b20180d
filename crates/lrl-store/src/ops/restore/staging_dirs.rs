//! Owns the directories in which targets are: each with its staging directory and the guard of its disk.

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

/// A directory in which targets are, its staging directory and the guard of its disk.
pub(super) struct StagingHome {
    /// Its path.
    pub path: PathBuf,
    /// Where things are made ready.
    pub staging: StagingDir,
    /// Keeps its disk from filling up.
    pub room: SpaceGuard,
}

/// All of them.
#[derive(Default)]
pub(super) struct StagingDirs {
    /// In the order in which they were opened.
    pub all: Vec<StagingHome>,
}

impl StagingDirs {
    /// Returns the one that a target is in.
    pub fn of(&self, place: &Target) -> Result<&StagingHome> {
        self.all
            .iter()
            .find(|home| home.path == place.base.0)
            .ok_or_else(|| Error::Refused(format!("{} was not prepared", place.base.0.display())))
    }

    /// Returns what writes into its staging directory.
    pub fn writer<'a>(&'a self, place: &Target, store: &'a Store, observer: &'a dyn Observer) -> Result<Writer<'a>> {
        Ok(Writer { store, observer, room: &self.of(place)?.room })
    }

    /// Opens the one of a target, created if need be, and makes its staging directory; finds out how the target can change.
    pub fn open(
        &mut self,
        place: &mut Target,
        doors: &OpenDirs,
        made: &mut CreatedDirs,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        let dir = match &place.base.1 {
            Some(dir) => Arc::clone(dir),
            None => made.create(doors, &place.base.0, owner)?,
        };
        if place.dir.is_none() {
            place.dir = Some(Arc::clone(&dir));
        }
        if !self.all.iter().any(|home| home.path == place.base.0) {
            let path = place.base.0.clone();
            let staging = StagingDir::create(&dir, &path)?;
            let room = SpaceGuard::new(Arc::clone(&staging.dir), &path, Reserve::LEAST);
            self.all.push(StagingHome { path, staging, room });
        }
        #[cfg(test)]
        if super::swap_contents::tests::is_forced() {
            return place.exchange_contents();
        }
        if let Some(dir) = place.dir.clone().filter(|_| place.is_renamed_dir())
            && !self.of(place)?.staging.can_rename(dir, &place.name)?
        {
            place.exchange_contents()?;
        }
        Ok(())
    }

    /// Makes all that was staged durable: one sync for each disk, before the first rename.
    pub fn sync(&self) -> Result<()> {
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
}
