//! The engine of lrl: a content-addressed store of snapshots of one SQLite database and a tree of uploads.
//!
//! Silent: no terminal, no environment, no clock of its own. Layers, lowest first: words (`id`, `units`, `error`, `progress`, `time`),
//! bytes (`format`, `chunk`, `codec`, `crypt`), the system (`fs`), what is backed up (`source`), where objects are kept (`backend`),
//! the store, sets (`set`), verbs (`ops`).

pub mod backend;
pub mod chunk;
pub mod codec;
pub mod crypt;
pub mod error;
pub mod format;
pub mod fs;
pub mod id;
pub mod ops;
pub mod progress;
pub mod set;
pub mod source;
pub mod store;
pub mod time;
pub mod units;

#[cfg(test)]
extern crate self as lrl_store;
#[cfg(test)]
#[path = "../../lrl-testing/src/lib.rs"]
#[allow(dead_code)] // The tests of the binary use the rest of it.
pub(crate) mod testing;
