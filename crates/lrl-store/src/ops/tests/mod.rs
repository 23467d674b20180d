//! Tests that cross the verbs.

pub mod cases;
mod faults;
pub mod faulty;
mod interleave;
mod life;
pub mod sample;
