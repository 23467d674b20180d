//! What the verb `watch` consists of: when a round is due, the directories whose events tell when to look, and the proof that nothing has
//! changed. The loop with its clock, the rounds and the application are the caller's.

mod places;
pub mod timing;
mod unchanged;
mod wal_follower;
mod watcher;

pub use unchanged::unchanged_since;
pub use wal_follower::WalFollower;
pub use watcher::{Blind, Seen, Watcher};
