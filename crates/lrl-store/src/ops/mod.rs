//! The verbs: one file each. A verb takes plain options and an observer and returns a report; it prints nothing.

pub mod backup;
pub mod browse;
pub mod check;
pub mod copy;
pub mod diff;
pub mod drill;
pub mod dump;
pub mod export;
pub mod find;
pub mod forget;
pub mod import;
pub mod judgement;
pub mod ls;
pub(crate) mod parts;
pub mod prune;
pub mod query;
pub mod recover_chunks;
pub mod repair;
pub mod report;
mod report_problem;
pub mod restore;
pub mod restore_rows;
pub mod select;
pub(crate) mod sets;
pub(crate) mod skipped;
pub mod snapshots;
pub mod stats;
pub mod status;
#[cfg(test)]
mod tests;
pub mod verify_snapshot;
pub mod watch;
