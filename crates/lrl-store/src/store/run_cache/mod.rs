//! What makes the next run cheap: states of files, of the database and of outputs, and archive segments. Only a cache: it never says that
//! a chunk exists, every answer is checked against the snapshot or a digest, and losing it (or any part) costs time only.

mod cache;
mod files;
mod outputs;
#[cfg(test)]
mod tests;

pub(crate) use cache::RunCache;
pub(crate) use files::{FileState, FileStates, tag};
pub(crate) use outputs::{SegmentState, Stamp};
