//! How results look to people: tables, units, the progress bar. Never does I/O but for the bar.

pub mod cells;
pub mod entry;
pub mod html;
pub mod json;
pub mod names;
pub mod progress;
pub mod row_table;
pub mod table;
pub mod units;
