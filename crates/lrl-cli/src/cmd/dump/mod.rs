//! `lrl dump`: one file of a snapshot on standard output, byte for byte; or one table.

mod table;

use std::os::unix::ffi::OsStrExt;

use lrl_store::ops::select::Need;
use lrl_store::ops::{dump, ls};

use super::shared::stopped::Stopped;
use super::shared::{choose, open};
use crate::args::dump::DumpArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};

/// Writes the file.
pub fn run(context: &Context<'_>, args: &DumpArgs) -> Result {
    let term = context.term;
    if let Some(table) = &args.table {
        return table::run(context, args, table);
    }
    if args.csv || args.into.is_some() || args.condition.is_some() || args.database.is_some() {
        return Err(Failure::Usage(
            "--where, --csv, --into and --database are about a table: name it with --table".into(),
        ));
    }
    let Some(path) = &args.path else {
        return Err(Failure::Usage("name a file, or a table with --table".into()));
    };
    if term.is_json() {
        return Err(Failure::Usage("lrl dump writes the file itself: there is no JSON to write with --json".into()));
    }
    let store = open::open_default(context)?;
    let path = path.as_os_str().as_bytes();
    let is_database = ls::clean(path) == ls::DATABASE.as_bytes();
    let need = Need { database: is_database, uploads: !is_database };
    let (_, snapshot) = choose::select(context, &store, &args.snapshot, need)?;
    let path = &choose::typed_path(&store, &snapshot, path);
    let mut stopped = Stopped::default();
    let dumped = dump::dump(&store, &snapshot, path, term, &mut |bytes| stopped.keep(term.bytes(bytes)));
    stopped.or(dumped).map(|_| Exit::Done)
}
