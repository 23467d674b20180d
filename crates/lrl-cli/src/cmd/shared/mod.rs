//! What several verbs share: opening the store, choosing the snapshot, the record of a run.

pub(crate) mod choose;
pub(crate) mod open;
pub mod run_record;
pub(crate) mod same_store;
