//! The set that a snapshot becomes: the archive of the uploads, written by splicing, and its reading. Lower layers know
//! nothing of tar or gzip.

pub mod archive;
pub(crate) mod behind;
pub mod deflate;
mod disk;
pub mod extract;
pub mod files;
pub mod found;
pub mod hash;
pub mod image;
pub mod keep;
pub mod manifest;
mod names;
mod plan;
mod segment;
pub mod shelf;
pub mod stored;
pub mod tar;
#[cfg(test)]
pub(crate) mod tests;
pub mod unpack;
pub mod untar;

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
