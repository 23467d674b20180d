//! The `.tar.gz` of a set: written by splicing compressed segments, read in bounded memory.

pub(crate) mod content;
pub mod deflate;
pub(crate) mod digests;
pub mod extract;
pub(crate) mod headers;
mod link_targets;
pub(crate) mod model;
pub(crate) mod paths;
pub(crate) mod read;
pub(crate) mod segment_builder;
pub(crate) mod segments;
pub mod tar;
pub(crate) mod write;
pub(crate) mod write_tree;
