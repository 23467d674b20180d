//! Pages: elements whose every text and attribute is escaped, and the frame around them, with which no page can run a script or ask for
//! anything elsewhere.

mod frame;
mod writer;

pub use frame::{Forms, page, policy};
pub use writer::Html;
