//! The set of files that a snapshot becomes: a database, an archive of the uploads, and a manifest.

pub mod archive;
pub mod directory;
pub(crate) mod flush;
pub mod growth;
pub(crate) mod image_reader;
pub mod layout;
pub mod manifest;
pub mod missing;
pub mod own_files;
pub mod retention;
pub mod sha256;
pub mod sqlite_file;
#[cfg(test)]
pub(crate) mod tests;
