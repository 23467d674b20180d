//! The lrl command.
fn main() {}
