//! What several verbs share: opening the store, the heading, choosing the snapshot, another verb's command line, the record of a run, how the sets grow.

mod bucket_variables;
pub(crate) mod choose;
pub(crate) mod database;
pub(crate) mod heading;
pub(crate) mod line;
pub(crate) mod open;
pub mod run_record;
pub(crate) mod same_store;
pub(crate) mod sets_growth;
pub(crate) mod stopped;
pub mod watch_state;
