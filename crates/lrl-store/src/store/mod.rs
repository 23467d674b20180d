//! The store: verified chunks by id, snapshots by name, over any backend.

pub(crate) mod check_records;
mod chunk_cache;
pub(crate) mod chunk_set;
mod config;
pub(crate) mod deletion;
pub(crate) mod drill_records;
mod fifo;
mod handle;
pub mod index;
pub mod key_slots;
pub(crate) mod local_bases;
mod names;
pub mod open;
mod pack_upload;
pub(crate) mod prefetch;
mod read;
mod read_content;
pub(crate) mod repair;
pub(crate) mod run_cache;
mod snapshots;
pub mod tree;
pub mod write;

pub use config::{create, exists};
pub use handle::{DamagedIndex, Store};
pub(crate) use names::pack_id;
pub use names::{LAST_SEQUENCE, SnapshotName, is_source_name, pack_name};
pub(crate) use repair::missing_packs::MissingPacks;
pub(crate) use repair::pack_scan::{damaged_directory, directory as pack_directory};
