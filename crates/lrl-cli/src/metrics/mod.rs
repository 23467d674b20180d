//! Metrics for Prometheus: which there are, their text, and the file that they are written to. What they are measured from is in `cmd/status`.

pub mod families;
pub mod file;
pub mod text;
