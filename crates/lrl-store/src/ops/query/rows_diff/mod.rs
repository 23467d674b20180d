//! Compares the rows of two states of one database: schema changes first, then each table by its key.

mod model;
mod pages;
mod pair;
mod plan;
mod script;
mod statement;

pub use model::{Compared, Counts, DiffSink, SchemaChange, Session};
pub use pages::Unchanged;
pub use plan::compare;
pub use script::write_sql;

#[cfg(test)]
mod tests;
