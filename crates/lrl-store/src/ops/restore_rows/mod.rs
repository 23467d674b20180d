//! The verb `restore --table`: rows of a snapshot back into the live database. Tried on a copy first; then one transaction, and a record by
//! which it is taken back.

mod apply;
mod checks;
mod commit;
mod files;
mod idle;
mod model;
mod prepare;
mod record;
mod stopped;
mod target;
mod undo;

pub use commit::commit;
pub use files::{Named, Places};
pub use idle::{forget as forget_idle, idle, note_idle};
pub use model::{Counts, Mode, Options, Plan, Prepared};
pub use prepare::prepare;
pub use record::{forget, is_recorded};
pub use undo::{Undone, undo};
