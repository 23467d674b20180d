//! Tests that cross the verbs.

mod cases;
mod faults;
pub mod faulty;
mod life;
