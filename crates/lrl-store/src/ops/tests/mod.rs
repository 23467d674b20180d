//! Tests that cross the verbs.

pub mod cases;
mod faults;
pub mod faulty;
mod interleave;
pub mod life;
pub mod lockless;
mod odd_stores;
mod salvage;
pub mod sample;
mod site_sets;
mod year;
