//! The verbs: one file each. A verb takes plain options and an observer and returns a report; it prints nothing.

pub mod backup;
pub mod check;
pub mod consistency;
pub mod copy;
pub mod diff;
pub mod drill;
pub mod dump;
pub mod export;
pub mod find;
pub mod forget;
pub mod heal;
pub mod import;
pub mod judgement;
pub mod ls;
pub mod need;
mod problem;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod select;
pub(crate) mod sets;
pub mod snapshots;
pub mod stats;
pub mod status;
#[cfg(test)]
mod tests;
