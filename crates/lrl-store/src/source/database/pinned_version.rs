//! The version of a database that is held before it is read: what it is, what of it changed, and its pages. Long databases in rollback mode are
//! cloned instead of being held; where that is not possible they are read before, without a lasting lock.

use std::fs::{self, File};
use std::time::Instant;

use super::clone::can_clone;
use super::model::{Image, ImageSink, Method};
use super::pages::{Copied, Transaction, is_wal, page_size};
use super::read::{LOCKED_UP_TO, Reading, describe_image};
use super::shm;
use super::state::Stamp;
use super::unlocked;
use super::unlocked::{Unlocked, Version};
use super::wal_changes::{ExtentSet, RULES, Wal, WalMark};
use crate::error::{Error, Result};

impl Reading<'_> {
    /// Returns whether writers would wait long for an image: it would be read under the lock, as it cannot be cloned.
    ///
    /// # Errors
    /// [`Error::Source`] or [`Error::Io`] if the file cannot be read.
    pub(crate) fn would_block_writers(&mut self) -> Result<bool> {
        let header = self.header()?;
        let len = fs::metadata(&self.db).map_err(Error::io("stat", self.shown))?.len();
        if page_size(&header) == 0 || is_wal(&header) || len <= LOCKED_UP_TO {
            return Ok(false);
        }
        self.source = File::open(&self.db).ok().filter(|source| can_clone(source, &self.db));
        Ok(self.source.is_none())
    }

    /// Reads the image without a lasting lock, before the version is held.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and whatever `sink` returns.
    pub(crate) fn read_unlocked(&self, sink: &mut dyn ImageSink) -> Result<Unlocked> {
        unlocked::read(&self.db, &|since| self.wait_for_lock(since), sink, self.observer)
    }

    /// Holds the version of this moment until the image is read, unless only plain reads or a recovered copy can give one. The mark of an
    /// `earlier` image saves reading all of the WAL.
    ///
    /// # Errors
    /// [`Error::Source`] if another process does not let go of its lock, [`Error::Interrupted`].
    pub(crate) fn hold(&mut self, earlier: Option<&WalMark>) -> Result<()> {
        // The caller's patience with locks counts from here.
        self.started = Instant::now();
        let is_empty = Stamp::of(&self.db)?.is_none_or(|stamp| stamp.size == 0);
        if !is_empty && !self.is_closed_wal()? {
            self.published = shm::published(&self.db);
            let mark = Wal::open(&self.db, RULES).and_then(|wal| wal.mark(earlier, self.published.as_ref()));
            // A refusal comes again when the image is read, and is dealt with there.
            self.transaction = self.begin()?.ok();
            if let (Some(held), Some(source)) = (&mut self.transaction, &self.source) {
                held.detach(source, &self.db);
            }
            let held = self.transaction.as_ref().filter(|held| held.is_wal);
            self.mark = mark.zip(held).map(|(mark, held)| mark.of_image(held.page_count));
        }
        Ok(())
    }

    /// Returns the mark of the version that is held, if it is in WAL mode: with it a later image is compared with this one.
    pub(crate) fn mark(&self) -> Option<&WalMark> {
        self.mark.as_ref()
    }

    /// Returns which extents of the version that is held may differ from those of an earlier image; `None` if that is not known.
    pub(crate) fn changed_since(&self, mark: &WalMark, extent_bytes: u32) -> Option<ExtentSet> {
        let held = self.transaction.as_ref().filter(|held| held.is_wal && held.tables.is_ok())?;
        Wal::open(&self.db, RULES)?.changed_since(mark, held.page_count, extent_bytes, self.published.as_ref())
    }

    /// Returns whether the version that is held is the one that was read without a lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn holds(&self, version: &Version) -> Result<bool> {
        let Some(held) = &self.transaction else { return Ok(false) };
        let Some(header) = held.header().filter(|_| held.tables.is_ok()) else { return Ok(false) };
        Ok(Version::of(&self.db, &header, held.page_count)? == *version)
    }

    /// Returns the length and the page size of the version that is held, in bytes.
    pub(crate) fn held_size(&self) -> Option<(u64, u32)> {
        self.transaction.as_ref().map(|held| (held.size_bytes(), held.page_size))
    }

    /// Reads bytes of the version that is held, whole pages; returns whether they are there.
    pub(crate) fn read_held(&self, from: u64, to: u64, bytes: &mut Vec<u8>) -> bool {
        let Some(held) = &self.transaction else { return false };
        let page = u64::from(held.page_size.max(1));
        to > from && held.read_pages(from / page + 1, to / page, bytes)
    }

    /// Ends a version that was held and need not be read any more; `None` if it can be described no better than by reading it.
    pub(crate) fn release(&mut self, method: Method) -> Option<Image> {
        let header = self.transaction.as_ref()?.header()?;
        let held = self.transaction.take()?;
        let (size, tables) = (held.size_bytes(), held.tables.clone());
        Some(describe_image(Copied { header, method, held: held.end() }, size, tables))
    }

    /// Returns whether writers wait for as long as the version is held.
    pub(crate) fn blocks_writers(&self) -> bool {
        self.transaction.as_ref().is_some_and(Transaction::blocks_writers)
    }
}
