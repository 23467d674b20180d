//! The set of files that a snapshot becomes: a database, an archive of the uploads, and a manifest.

pub mod archive;
pub mod directory;
pub(crate) mod flush;
pub mod growth;
pub(crate) mod image_reader;
pub(crate) mod layout;
pub mod manifest;
pub(crate) mod missing;
pub mod own_files;
pub(crate) mod retention;
pub(crate) mod sha256;
pub(crate) mod sqlite_file;
#[cfg(test)]
pub(crate) mod tests;
