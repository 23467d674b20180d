//! What a repair did.

use crate::error::Error;
use crate::ops::check::report::Report;

/// Chunks that were copied out of damaged packs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Saved {
    /// How many.
    pub chunks: u64,
    /// Packs that hold them now.
    pub packs: u64,
    /// Bytes of these packs.
    pub bytes: u64,
}

impl Saved {
    /// Adds what another round has saved.
    pub(in crate::ops) fn add(&mut self, other: &Self) {
        self.chunks += other.chunks;
        self.packs += other.packs;
        self.bytes += other.bytes;
    }
}

/// An object that has another name now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// The name that it had.
    pub object: String,
    /// The name that it has.
    pub to: String,
}

/// What a repair did.
#[derive(Debug)]
pub struct Repaired {
    /// What was found before.
    pub found: Report,
    /// What is left.
    pub left: Report,
    /// Objects that were under other names than their own, and got these back.
    pub renamed: Vec<Moved>,
    /// What was moved out of the way.
    pub moved: Vec<Moved>,
    /// What was still good in damaged packs.
    pub saved: Saved,
    /// Chunks that were found again in sets, live data and other stores.
    pub healed: Saved,
    /// What of these could not be used, and why.
    pub notes: Vec<String>,
    /// Packs that are in the index again, or in a new one.
    pub listed: u64,
    /// The config was made again.
    pub config: bool,
    /// Why not all of it could be done: the disk is full. What was done before is durable.
    pub failed: Option<Error>,
}
