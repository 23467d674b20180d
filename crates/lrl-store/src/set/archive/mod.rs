//! The `.tar.gz` of a set: written by splicing compressed segments, read in bounded memory.

pub mod content;
pub mod deflate;
pub mod digests;
pub mod extract;
pub mod headers;
mod link_targets;
pub mod model;
pub(crate) mod paths;
pub mod read;
pub(crate) mod segment_builder;
pub(crate) mod segments;
pub mod tar;
pub mod write;
pub(crate) mod write_tree;
