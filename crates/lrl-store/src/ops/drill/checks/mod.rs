//! The checks of a drill. Each has a documented name (`super::verification`): those of a database file are called in order by `database`, those
//! of an archive by `archive`, and `matches_snapshot` compares both with the snapshot. A new check of the rows is a file here, called from
//! `database`, with its name in `super::verification`.

pub mod archive;
mod asset_rows;
pub mod database;
mod file_rows;
pub mod matches_snapshot;
pub mod required_tables;
mod row_list;
pub mod row_path;
pub mod rows_query;
pub mod user_query;
