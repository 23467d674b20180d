//! The verbs: one file each. A verb takes plain options and an observer and returns a report; it prints nothing.

pub mod backup;
pub mod drill;
pub mod import;
pub mod restore;
mod scratch;
pub mod select;
pub mod status;
