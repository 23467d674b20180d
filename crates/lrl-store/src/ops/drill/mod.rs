//! The verb `drill`: proves that a set or a snapshot can be restored. Runs the checks in order and reports them; writes nothing but its own
//! temporary files and, where it is asked to, the record of the drill.

pub(crate) mod checks;
mod files;
mod finding;
mod newest_set;
mod options;
pub mod past_drills;
mod report;
mod set;
mod snapshot;
mod subject;
mod uploads;
mod verification;

pub use checks::required_tables::RequiredTables;
pub use checks::rows_query::RowsCheck;
pub use checks::user_query::Assertion;
pub use newest_set::newest_set;
pub use options::{Options, SCRATCH, TIME_LIMIT};
pub use report::Report;
pub use set::drill_set;
pub use snapshot::drill_snapshot;
pub use verification::{Check, SKIPPABLE, Verification};

#[cfg(test)]
mod tests;
