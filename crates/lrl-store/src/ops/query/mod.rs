//! Looks into the databases of snapshots: queries, and the rows of tables. Read-only; works on private images that are gone with the process.

pub mod dump_table;
pub mod image;
pub(crate) mod limit;
pub mod live;
pub(crate) mod private_file;
pub mod rows;
pub mod rows_diff;
pub mod sql;
