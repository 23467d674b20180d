//! The verb `prune`: frees the space of what no snapshot reaches; plan, then apply. Marks first, and stops at the first doubt. Then in
//! this order: deltas over what nothing else needs are stored in full; the new index, without what is dead; the old indexes go; the dead
//! packs go; what is left in wasteful packs is moved.
//! Whenever it ends, every snapshot reads, and the next prune goes on.

mod apply;
mod deltas;
mod inventory;
mod mark;
mod model;
mod plan;
mod repack;
pub mod two_phase;

pub use apply::apply;
pub use model::{Full, MaxUnused, Numbers, Packs, Plan, Report};
pub use plan::plan;

#[cfg(test)]
mod reach_tests;
#[cfg(test)]
pub(super) mod tests;
