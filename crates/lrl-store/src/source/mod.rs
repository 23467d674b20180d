//! What is backed up: a live SQLite database and directories of files. Only reads.

pub mod database;
pub mod files;
