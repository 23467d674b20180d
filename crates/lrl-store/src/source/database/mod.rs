//! Everything that touches SQLite files: the consistent image of the live database, the proof that it has not changed, and the
//! careful look into a copy. Owns rusqlite for application data; never writes to the application's files, but for `writer`.
//!
//! One rule binds the whole module: within this process, no file descriptor on the live database is opened or closed while a SQLite
//! connection to it is open, because closing any descriptor drops all of the process's POSIX locks on the file.

mod asset_rows;
mod authorizer;
pub mod cell;
mod clone;
mod connect;
pub(crate) mod definition;
pub(crate) mod each_row;
mod file_rows;
pub(crate) mod header;
pub(crate) mod image;
pub(crate) mod inspect;
mod inspect_in_use;
mod integrity;
pub mod merge;
pub(crate) mod model;
mod pages;
mod pinned_version;
mod plain_file;
mod read;
pub mod select;
mod shm;
pub(crate) mod small_file;
pub mod source;
pub mod sql_text;
pub(crate) mod state;
pub(crate) mod table_shape;
mod unlocked;
mod user_query;
mod wal_changes;
pub(crate) mod writer;

pub(crate) use asset_rows::{AssetRow, AssetRows};
pub(crate) use file_rows::{FileFacts, FileRow, RowPath, may_give_md5};
pub use header::{Header, read_header};
pub use image::{prepare, read_image};
pub use inspect::{Inspector, Stop, TableRows, Tables};
pub use inspect_in_use::inspect_in_use;
pub(crate) use integrity::{Integrity, Orphans};
pub(crate) use model::LOCK_BYTE;
pub use model::{HeldFor, Image, ImageSink, Method, ReadOptions};
pub(crate) use pages::page_size;
pub use plain_file::COPIES;
pub(crate) use read::Reading;
pub(crate) use shm::{has_wal, index_growth};
pub(crate) use state::used_pages;
pub(crate) use state::{State, observe};
pub(crate) use unlocked::{Unlocked, Version};
pub use user_query::{Value, begins_query, check_query};
pub(crate) use wal_changes::{ExtentSet, WalMark, follow_wal};

#[cfg(test)]
mod tests;
