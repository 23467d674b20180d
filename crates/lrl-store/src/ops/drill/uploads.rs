//! The files that the rows of the database are compared with.

use super::files::Files;

/// What is known of the uploads when the database's rows are looked up.
pub(crate) enum Uploads {
    Known(Files),
    /// They could not be read to their end.
    Unreadable,
    /// There are none.
    Absent(&'static str),
}
