//! End-to-end tests: the built binary on real directories and databases, and the rules that hold between source files.

// A test that cannot go on should fail, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browse;
mod check;
mod common;
mod config;
mod dependencies;
mod docs;
mod document;
mod drill;
mod dry;
mod export;
mod format;
mod heal;
mod import;
mod layers;
mod operations;
mod reader;
mod sample;
mod sets;
mod status;
mod usage;
