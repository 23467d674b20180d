//! What the system provides, and nothing about backups: directories by handle, metadata, free space, locks and temporary directories.

pub(crate) mod dir;
pub mod durable;
pub(crate) mod flush;
pub(crate) mod inotify;
pub mod lock;
pub(crate) mod lock_holder;
pub(crate) mod metadata;
pub mod missing_features;
pub(crate) mod remove;
pub(crate) mod resolve;
pub(crate) mod small_text;
pub mod space;
pub(crate) mod temp_db;
pub mod temp_dir;
pub mod temp_file;
pub(crate) mod tree_writer;
pub mod vfs;
pub(crate) mod xattrs;
