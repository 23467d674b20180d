//! The verbs: one file each. A verb takes plain options and an observer and returns a report; it prints nothing.

pub mod backup;
pub mod check;
pub mod diff;
pub mod dump;
pub mod export;
pub mod find;
pub mod ls;
pub mod select;
pub mod snapshots;
pub mod stats;
