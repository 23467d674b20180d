//! Tests of several verbs together.

mod cases;
mod faults;
