//! What only tests use: a file system in memory that fails, dies and loses power where it is told to; what every backend must do; stores
//! with a long history; the bodies of the fuzz targets. The engine's own unit tests compile these files as their module `testing`.

// Tests may.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod backend_conformance;
pub mod disk_image;
#[cfg(not(test))] // It is compiled into the engine's unit tests too, which have no use for it.
pub mod fuzz_bodies;
#[cfg(not(test))]
pub mod long_history;
pub mod memory_backend;
pub mod rng;
