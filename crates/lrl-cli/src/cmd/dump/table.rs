//! `lrl dump --table`: a table of a snapshot as SQL, as CSV, or as a database of its own.

use lrl_store::error::Result as EngineResult;
use lrl_store::ops::query::dump_table::{self, Wanted};
use lrl_store::ops::select::Need;
use lrl_store::source::database::cell::Cell;
use lrl_store::source::database::select::RowSink;
use serde_json::json;

use crate::args::dump::DumpArgs;
use crate::cmd::shared::stopped::Stopped;
use crate::cmd::shared::{choose, database, open};
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::units;
use crate::term::Term;

/// Writes the table.
pub fn run(context: &Context<'_>, args: &DumpArgs, table: &str) -> Result {
    let term = context.term;
    if term.is_json() && args.into.is_none() {
        let text = "lrl dump writes the table itself: `lrl sql --json` gives rows as JSON";
        return Err(Failure::Usage(text.into()));
    }
    let store = open::open_default(context)?;
    let need = Need { database: true, uploads: false };
    let (_, snapshot) = choose::select(context, &store, &args.snapshot, need)?;
    let part = database::pick(&snapshot, args.database.as_deref())?;
    let temp = std::env::temp_dir();
    let wanted = Wanted { table, condition: args.condition.as_deref(), temp: &temp, time_limit: args.time_limit };
    if let Some(path) = &args.into {
        let written = dump_table::into_file(&store, part, &wanted, path, term)?;
        term.say(format!(
            "{} of {} -> {}",
            units::count(written.rows, "row"),
            units::safe(table),
            units::safe(&path.to_string_lossy())
        ));
        if let Some(why) = &written.plain {
            term.note(format!("the table has columns and types there, and no constraints: {why}"));
        }
        if term.is_json() {
            term.json(&json!({
                "success": true, "table": table, "rows": written.rows, "path": path.to_string_lossy(), "plain": written.plain,
            }))?;
        }
        return Ok(Exit::Done);
    }
    let mut out = Out { term, stopped: Stopped::default() };
    let dumped = match args.csv {
        true => dump_table::rows(&store, part, &wanted, &mut out, term),
        false => dump_table::sql(
            &store,
            part,
            &wanted,
            &mut |text| {
                let written = term.script(text);
                out.stopped.keep(written)
            },
            term,
        ),
    };
    out.stopped.or(dumped).map(|_| Exit::Done)
}

struct Out<'t> {
    term: &'t Term,
    stopped: Stopped,
}

impl RowSink for Out<'_> {
    fn columns(&mut self, names: &[String]) -> EngineResult<()> {
        let names: Vec<Cell<'_>> = names.iter().map(|name| Cell::Text(name.as_bytes())).collect();
        let written = self.term.csv(&names);
        self.stopped.keep(written)
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> EngineResult<()> {
        let written = self.term.csv(cells);
        self.stopped.keep(written)
    }
}
