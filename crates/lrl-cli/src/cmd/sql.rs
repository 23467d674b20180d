//! `lrl sql`: a query in a database of a snapshot; the rows for people, as CSV or as JSON.

use std::io::Read;

use lrl_store::error::Result as EngineResult;
use lrl_store::ops::query::sql::{self, Options};
use lrl_store::ops::select::Need;
use lrl_store::source::database::cell::Cell;
use lrl_store::source::database::select::RowSink;
use serde_json::{Value, json};

use super::shared::stopped::Stopped;
use super::shared::{choose, database, open};
use crate::args::sql::SqlArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::row_table::RowTable;
use crate::render::{cells, json, units};
use crate::term::Term;

/// Runs the query.
pub fn run(context: &Context<'_>, args: &SqlArgs) -> Result {
    let query = query(&args.query)?;
    let store = open::open_default(context)?;
    let need = Need { database: true, uploads: false };
    let (name, snapshot) = choose::select(context, &store, &args.snapshot, need)?;
    let part = database::pick(&snapshot, args.database.as_deref())?;
    let term = context.term;
    let temp = std::env::temp_dir();
    let options = Options { temp: &temp, time_limit: args.time_limit };
    let head = json!({
        "snapshot": name.id, "timestamp": snapshot.timestamp, "database": units::path(&part.path),
    });
    json::list(term, head, "rows", |list| {
        let out = match (term.is_json(), args.csv) {
            (true, _) => Form::Json(list),
            (_, true) => Form::Csv,
            (false, false) => Form::Table(RowTable::new(term)),
        };
        let mut rows = Rows { term, out, columns: Vec::new(), stopped: Stopped::default() };
        let count = sql::sql(&store, part, &query, &options, &mut rows, term);
        let count = rows.stopped.or(count)?;
        if let Form::Table(table) = rows.out {
            if table.finish()? {
                term.note("long values are cut; --csv and --json give them whole");
            }
            term.note(units::count(count, "row"));
        }
        Ok((json!({ "columns": rows.columns, "count": count }), Exit::Done))
    })
}

/// Reads the query from standard input where that is asked for.
fn query(given: &str) -> Result<String> {
    /// SQLite takes no longer one here.
    const MOST: u64 = 1 << 20;
    if given != "-" {
        return Ok(given.to_string());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MOST + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::Usage(format!("cannot read the query from standard input: {error}")))?;
    if text.len() as u64 > MOST {
        return Err(Failure::Usage("the query on standard input is longer than 1 MiB".into()));
    }
    Ok(text)
}

enum Form<'a, 'l, 't> {
    Table(RowTable<'t>),
    Csv,
    Json(&'a mut json::List<'l>),
}

struct Rows<'a, 'l, 't> {
    term: &'t Term,
    out: Form<'a, 'l, 't>,
    columns: Vec<String>,
    stopped: Stopped,
}

impl RowSink for Rows<'_, '_, '_> {
    fn columns(&mut self, names: &[String]) -> EngineResult<()> {
        let written = match &mut self.out {
            Form::Table(table) => {
                table.heading(names);
                Ok(())
            }
            Form::Csv => {
                let names: Vec<Cell<'_>> = names.iter().map(|name| Cell::Text(name.as_bytes())).collect();
                self.term.csv(&names)
            }
            Form::Json(_) => {
                self.columns = names.to_vec();
                Ok(())
            }
        };
        self.stopped.keep(written)
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> EngineResult<()> {
        let written = match &mut self.out {
            Form::Table(table) => table.row(cells),
            Form::Csv => self.term.csv(cells),
            Form::Json(list) => list.item(|| Value::Array(cells.iter().map(cells::to_json).collect())),
        };
        self.stopped.keep(written)
    }
}
