//! What a user's query may do: read rows and compute. SQLite asks for every table, function and pragma while it prepares a statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Functions that touch files, or that change what SQLite is.
const FORBIDDEN: [&str; 6] = ["load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "fsdir"];
/// Pragmas that only read. Their table-valued functions and the full text indexes ask for them.
const PRAGMAS: [&str; 15] = [
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "module_list",
    "page_count",
    "page_size",
    "table_info",
    "table_list",
    "table_xinfo",
];
/// An R*Tree prepares its writes when it is opened. They cannot be made: the file is immutable, and the user's statement must be one that reads.
const RTREE: [&str; 3] = ["_node", "_rowid", "_parent"];

/// Whether the statements that are prepared come from the user.
#[derive(Debug, Clone, Default)]
pub(super) struct Strict(Arc<AtomicBool>);

impl Strict {
    /// Begins to watch a connection; nothing is refused yet.
    pub(super) fn watch(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let strict = Arc::clone(&self.0);
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            if !strict.load(Ordering::Relaxed) || is_allowed(&context.action) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))
    }

    /// Holds statements to what a user's query may do, for as long as the guard lives.
    pub(super) fn hold(&self) -> Held {
        Held(Arc::clone(&self.0), self.0.swap(true, Ordering::Relaxed))
    }
}

/// Statements are held to what a user's query may do.
pub(super) struct Held(Arc<AtomicBool>, bool);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Relaxed);
    }
}

fn is_allowed(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !FORBIDDEN.iter().any(|name| name.eq_ignore_ascii_case(function_name))
        }
        AuthAction::Pragma { pragma_name, .. } => PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name)),
        AuthAction::Insert { table_name }
        | AuthAction::Delete { table_name }
        | AuthAction::Update { table_name, .. } => RTREE.iter().any(|end| table_name.ends_with(end)),
        _ => false,
    }
}
