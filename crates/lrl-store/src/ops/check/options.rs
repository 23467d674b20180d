//! How to check.

use std::time::Duration;

use crate::id::{Hasher, PackId};
use crate::time::Time;

/// Which packs are read whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadData {
    /// None: only what leads to data is read.
    No,
    /// All.
    All,
    /// The `part`-th of `of` slices (from 1); together the slices are all packs.
    Slice {
        /// Which one.
        part: u32,
        /// How many there are.
        of: u32,
    },
    /// This percentage of the packs, by chance.
    Percent(f64),
    /// Packs of about this many bytes, by chance.
    Bytes(u64),
}

/// How to check.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Options {
    /// How much data to read.
    pub read_data: ReadData,
    /// Decides which packs are chosen by chance.
    pub seed: u64,
    /// How long to wait for the store's lock.
    pub lock_wait: Duration,
    /// What the check's record says of when it began and of the program; `None` leaves no record.
    pub record: Option<(Time, &'static str)>,
}

impl Options {
    /// Reads this much data, waits for no lock, and leaves no record.
    #[must_use]
    pub fn new(read_data: ReadData) -> Self {
        Self { read_data, seed: 0, lock_wait: Duration::ZERO, record: None }
    }
}

impl ReadData {
    /// Returns the share of all packs that is chosen, between 0 and 1.
    fn share(self, all_bytes: u64) -> f64 {
        match self {
            Self::No | Self::Slice { .. } => 0.0,
            Self::All => 1.0,
            Self::Percent(percent) => percent / 100.0,
            Self::Bytes(bytes) => bytes as f64 / all_bytes.max(1) as f64,
        }
    }

    pub(super) fn takes(self, pack: &PackId, seed: u64, all_bytes: u64) -> bool {
        if let Self::Slice { part, of } = self {
            let value = u64::from_be_bytes(*pack.as_bytes().first_chunk().unwrap_or(&[0; 8]));
            return value % u64::from(of.max(1)) + 1 == u64::from(part);
        }
        (chance(pack, seed) as f64) < self.share(all_bytes) * u64::MAX as f64 || self == Self::All
    }
}

/// A number that is the same for a pack and a seed, and as good as random.
pub(super) fn chance(pack: &PackId, seed: u64) -> u64 {
    let digest = Hasher::new().update(&seed.to_le_bytes()).update(pack.as_bytes()).finish();
    u64::from_le_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
}
