//! Where uploads come from: a walk over directories in list order and the reading of one file.
//! Only reads; never follows a link inside the uploads that the operator has not named, never stores anything.

pub mod exclude;
mod found;
pub(crate) mod hard_links;
pub mod include;
pub mod kept_copies;
mod link_target;
mod listing;
mod open;
pub(crate) mod read;
mod read_ahead;
mod roots;
pub mod walk;

pub(crate) use read_ahead::walk_ahead;
