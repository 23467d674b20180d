//! The manifest of a set: its fields, its writer, its reader, and where the files are that it names.

mod document;
pub(crate) mod files;
pub(crate) mod model;
pub mod read;
pub(crate) mod write;

pub(crate) use files::find_beside;
pub use model::{Assets, Database, Layout, MISSING, Manifest, ManifestEntry, Missing, Origin, VERSION};
