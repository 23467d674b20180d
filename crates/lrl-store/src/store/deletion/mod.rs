//! Deletion in a store without locks: one prune at a time, and what writers must not depend on meanwhile.
//! `docs/FORMAT.md` has the protocol.

pub(crate) mod pending;
pub(crate) mod prune_lease;
pub(crate) mod reachability;
mod recheck;
