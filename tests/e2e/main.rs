//! End-to-end tests: the built binary on real directories and databases, and the rules that hold between source files.

// A test that cannot go on should fail, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backup;
mod bench;
mod browse;
mod bucket;
mod check;
mod common;
mod config;
mod copy;
mod defects;
mod dependencies;
mod docs;
mod document;
mod drill;
mod dry;
mod encrypted;
mod evidence;
mod export;
mod faults;
mod filesystems;
mod fleet;
mod foreign;
mod forget;
mod format;
mod heal;
mod hostile;
// The engine's tests use the rest of it.
#[allow(dead_code)]
mod import;
mod judgement;
mod justfile;
mod known;
mod layers;
mod odd;
mod operations;
mod paths;
mod power_cut;
mod prune;
mod pruned_bucket;
mod reader;
mod remote;
mod repair;
mod replay;
mod restore;
mod restore_parts;
mod retire;
mod room;
mod sample;
mod scan;
mod sets;
mod status;
mod tools;
mod trust;
mod undo;
mod usage;
mod writers;
