//! What is missing or damaged in a store, and what can be read of it all the same.

pub(crate) mod lost_chunks;
pub(crate) mod missing_packs;
pub(crate) mod pack_scan;
pub(crate) mod quarantine;
