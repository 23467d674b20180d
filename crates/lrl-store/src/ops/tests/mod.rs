//! Tests that cross the verbs.

mod cases;
mod faults;
mod life;
