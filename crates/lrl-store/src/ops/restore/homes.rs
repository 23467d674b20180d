//! Owns the directories in which targets are: each with its staging directory and the guard of its disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{fstat, syncfs};

use super::file::Writer;
use super::place::Place;
use super::staging::{Made, Staging};
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::storage::room::{Reserve, Room};
use crate::store::Store;

/// A directory in which targets are, its staging directory and the guard of its disk.
pub(super) struct Home {
    /// Its path.
    pub path: PathBuf,
    /// Where things are made ready.
    pub staging: Staging,
    /// Keeps its disk from filling up.
    pub room: Room,
}

/// All of them.
#[derive(Default)]
pub(super) struct Homes {
    /// In the order in which they were opened.
    pub all: Vec<Home>,
}

impl Homes {
    /// Returns the one that a target is in.
    pub fn of(&self, place: &Place) -> Result<&Home> {
        self.all
            .iter()
            .find(|home| home.path == place.home)
            .ok_or_else(|| Error::Refused(format!("{} was not prepared", place.home.display())))
    }

    /// Returns what writes into its staging directory.
    pub fn writer<'a>(&'a self, place: &Place, store: &'a Store, observer: &'a dyn Observer) -> Result<Writer<'a>> {
        Ok(Writer { store, observer, room: &self.of(place)?.room })
    }

    /// Opens one, created if need be, and makes its staging directory.
    pub fn open(&mut self, path: &Path, made: &mut Made, owner: Option<(u32, u32)>) -> Result<()> {
        if self.all.iter().any(|home| home.path == path) {
            return Ok(());
        }
        let dir = made.create(path, owner)?;
        let staging = Staging::create(&dir, path)?;
        let room = Room::new(Arc::clone(&staging.dir), path, Reserve::LEAST);
        self.all.push(Home { path: path.to_path_buf(), staging, room });
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
