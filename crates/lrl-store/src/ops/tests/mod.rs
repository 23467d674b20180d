//! Tests that cross the verbs.

mod life;
