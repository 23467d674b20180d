//! How a site is described: which databases and files it has, by flags, by `lrl.toml`, by a preset; and what a look at a directory
//! proposes. Plain values, no engine call but the walk and the look at a schema.

pub mod checked;
pub mod detect;
pub mod expand;
pub mod fitting;
pub mod found;
pub mod merge;
pub mod model;
pub mod preset;
pub mod proposal;
pub mod rules;
pub mod scan;
pub mod tables;

#[cfg(test)]
mod tests;
