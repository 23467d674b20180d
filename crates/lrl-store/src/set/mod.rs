//! The set that a snapshot becomes: the archive of the uploads, written by splicing, and its reading. Lower layers know
//! nothing of tar or gzip.

pub mod archive;
pub mod deflate;
mod disk;
pub mod extract;
pub mod manifest;
mod names;
mod plan;
mod segment;
pub mod tar;
#[cfg(test)]
mod tests;
pub mod unpack;
pub mod untar;
