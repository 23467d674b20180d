//! Pure encoding and decoding of everything that is kept on disk. Never does I/O, never panics on any input,
//! never allocates more than a small multiple of what it was given. `docs/FORMAT.md` is the normative text.

pub mod acl;
pub(crate) mod bytes;
pub(crate) mod check;
pub mod config;
pub mod drill;
pub mod entry;
pub mod index;
pub mod key;
pub mod node;
pub mod pack;
pub mod path_text;
pub mod pending;
pub(crate) mod record_order;
pub(crate) mod references;
pub mod repair;
pub mod snapshot;
#[cfg(test)]
mod snapshot_tests;
pub mod xattr;
mod xattr_json;
