//! The verb `drill`: proves that a set or a snapshot can be restored. Runs the checks in order and reports them; writes nothing but its own
//! temporary files and, where it is asked to, the record of the drill.

mod archive;
mod asset_rows;
mod database;
mod file_rows;
mod files;
mod finding;
mod matches;
mod newest_set;
mod options;
pub mod past_drills;
mod report;
mod require;
mod row_list;
pub(crate) mod row_path;
mod rows_check;
mod set;
mod snapshot;
mod subject;
mod uploads;
mod user_query;
mod verification;

pub use newest_set::newest_set;
pub use options::{Options, SCRATCH, TIME_LIMIT};
pub use report::Report;
pub use require::RequiredTables;
pub use rows_check::RowsCheck;
pub use set::drill_set;
pub use snapshot::drill_snapshot;
pub use user_query::Assertion;
pub use verification::{Check, SKIPPABLE, Verification};

#[cfg(test)]
mod tests;
