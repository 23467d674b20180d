//! How results look to people: tables, units, the progress bar. Never does I/O but for the bar.

pub mod document;
pub mod entry;
pub mod progress;
pub mod table;
pub mod units;
