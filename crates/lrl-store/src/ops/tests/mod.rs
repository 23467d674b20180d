//! Tests that cross the verbs.

pub mod cases;
mod faults;
pub mod faulty;
mod interleave;
pub mod life;
pub mod lockless;
pub mod sample;
mod site_sets;
mod year;
