//! `lrl diff --rows`: what changed in the tables of a database.

use std::path::PathBuf;

use lrl_store::error::{Error, Result as EngineResult};
use lrl_store::format::snapshot::{Database, Snapshot};
use lrl_store::ops::query::rows_diff::{self, Compared, DiffSink, SchemaChange, Session, Unchanged};
use lrl_store::ops::query::{image, live};
use lrl_store::source::database::Inspector;
use lrl_store::source::database::merge::RowChange;
use lrl_store::store::Store;
use serde_json::{Map, Value, json};

use super::super::shared::stopped::Stopped;
use super::super::shared::{choose, database};
use super::row_lines::{Table, describe, row_json, row_text};
use crate::args::DiffArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::units;
use crate::term::{Colour, Term};

/// The newer side.
pub enum Newer {
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// The live database, below this directory.
    Live(PathBuf),
}

/// Compares the rows of one database.
pub fn run(context: &Context<'_>, args: &DiffArgs, store: &Store, from: &Snapshot, to: &Newer) -> Result {
    let term = context.term;
    let temp = std::env::temp_dir();
    let before = database::pick(from, args.database.as_deref())?;
    let path = units::path(&before.path);
    let to_name = match to {
        Newer::Snapshot(to) => to.timestamp.clone(),
        Newer::Live(_) => "live".into(),
    };
    let mut sink =
        Shown { term, document: Document::new(from, &to_name, &path), table: None, stopped: Stopped::default() };
    let after: Option<&Database> = match to {
        Newer::Snapshot(to) => Some(
            to.database(&before.path)
                .ok_or_else(|| Error::not_found(format!("the snapshot {} holds no database `{path}`", to.timestamp)))?,
        ),
        Newer::Live(_) => None,
    };
    if after.is_some_and(|after| after.root == before.root && after.size_bytes == before.size_bytes) {
        if args.sql {
            term.bytes(b"-- both hold the same database\n")?;
        } else {
            term.line(format!("=  {path} (the same; nothing was read)"))?;
        }
        return sink.finish(true);
    }
    let unchanged = after.map(|after| Unchanged::between(store, before, after)).transpose()?.flatten();
    let old = image::open(store, before, &temp, term)?;
    let new = open_newer(context, store, after, to, &temp)?;
    let session = Session { from: &old, to: &new, unchanged: unchanged.as_ref() };
    let tables = args.rows.clone().unwrap_or_default();
    if args.sql {
        return script(context, &session, &tables, (from, &to_name), &path);
    }
    term.line(format!("M  {path}"))?;
    let compared = rows_diff::compare(&session, &tables, &mut sink, term);
    std::mem::take(&mut sink.stopped).or(compared)?;
    sink.finish(false)
}

fn open_newer<'t>(
    context: &Context<'t>,
    store: &Store,
    after: Option<&Database>,
    to: &Newer,
    temp: &std::path::Path,
) -> Result<Inspector<'t>> {
    match (after, to) {
        (Some(after), _) => Ok(image::open(store, after, temp, context.term)?),
        (None, Newer::Live(path)) => Ok(live::open(path, context.cli.global.lock_wait, temp, context.term)?),
        (None, Newer::Snapshot(_)) => Err(Error::NotFound("there is no such database".into()).into()),
    }
}

/// Writes the statements.
fn script(
    context: &Context<'_>,
    session: &Session<'_>,
    tables: &[String],
    (from, to): (&Snapshot, &str),
    path: &str,
) -> Result {
    let term = context.term;
    term.script(&format!(
        "-- {path}: the statements turn the state of {} into that of {to}.\n\
         -- Triggers of the tables concerned are dropped and made again, so they do not run.\n",
        from.timestamp
    ))?;
    let mut stopped = Stopped::default();
    let written = rows_diff::write_sql(session, tables, &mut |text| stopped.keep(term.script(text)), term);
    let left_out = stopped.or(written)?;
    for (table, why) in &left_out {
        term.warn(format!("{table} is not among the statements: {why}"));
    }
    Ok(if left_out.iter().any(|(_, why)| why != "a virtual table") { Exit::Incomplete } else { Exit::Done })
}

/// Returns where the live database is.
pub fn live_path(context: &Context<'_>, args: &DiffArgs, from: &Snapshot) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let part = database::pick(from, args.database.as_deref())?;
    let root = match &from.root {
        Some(root) => context.site()?.root.clone().unwrap_or_else(|| PathBuf::from(&root.path)),
        None => context.paths()?.data_dir,
    };
    Ok(root.join(std::ffi::OsStr::from_bytes(&part.path)))
}

/// Compares the row counts of the JSON document.
struct Document {
    head: Map<String, Value>,
    schema: Vec<Value>,
    tables: Vec<Value>,
    left_out: Vec<Value>,
}

impl Document {
    fn new(from: &Snapshot, to: &str, path: &str) -> Self {
        let mut head = Map::new();
        head.insert("from".into(), json!({ "timestamp": from.timestamp }));
        head.insert("to".into(), json!({ "timestamp": to }));
        head.insert("database".into(), path.into());
        Self { head, schema: Vec::new(), tables: Vec::new(), left_out: Vec::new() }
    }
}

struct Shown<'t> {
    term: &'t Term,
    document: Document,
    table: Option<Table>,
    stopped: Stopped,
}

impl Shown<'_> {
    fn write(&mut self, text: String) -> EngineResult<()> {
        self.stopped.keep(self.term.line(text))
    }

    fn finish(self, same: bool) -> Result {
        let Document { schema, tables, .. } = &self.document;
        let is_zero = |table: &Value| ["added", "removed", "changed"].iter().all(|key| table[key] == 0);
        if !same && schema.is_empty() && tables.iter().all(is_zero) {
            self.term.line("   no row differs")?;
        }
        let refused = self.document.tables.iter().any(|table| table["refused"].is_string());
        let exit = if refused { Exit::Incomplete } else { Exit::Done };
        if self.term.is_json() {
            let Document { mut head, schema, tables, left_out } = self.document;
            head.insert("same".into(), same.into());
            head.insert("schema".into(), schema.into());
            head.insert("tables".into(), tables.into());
            head.insert("left_out".into(), left_out.into());
            head.insert("success".into(), (exit == Exit::Done).into());
            self.term.json(&Value::Object(head))?;
        }
        Ok(exit)
    }
}

impl DiffSink for Shown<'_> {
    fn schema(&mut self, change: &SchemaChange) -> EngineResult<()> {
        let name = units::safe(&change.name);
        let numbers =
            || format!(" {} -> {}", change.from.as_deref().unwrap_or("-"), change.to.as_deref().unwrap_or("-"));
        let text = match (&change.from, &change.to) {
            (None, _) => format!("   + {} {name}", change.kind),
            (_, None) => format!("   - {} {name}", change.kind),
            _ if change.kind == "pragma" => format!("   ~ {name}{}", numbers()),
            _ => format!("   ~ {} {name}: another definition", change.kind),
        };
        self.document.schema.push(json!(change));
        self.write(text)
    }

    fn left_out(&mut self, table: &str, why: &str) -> EngineResult<()> {
        self.document.left_out.push(json!({ "table": table, "reason": why }));
        self.write(format!("   {}: left out: {why}", units::safe(table)))
    }

    fn begin(&mut self, _: &str, columns: &[String], key: usize) -> EngineResult<()> {
        self.table = Some(Table { columns: columns.to_vec(), key, rows: Vec::new(), bytes: 0 });
        Ok(())
    }

    fn row(&mut self, change: &RowChange<'_>) -> EngineResult<()> {
        let Some(table) = &mut self.table else { return Ok(()) };
        if self.term.is_json() {
            let row = row_json(table, change);
            table.bytes += row.to_string().len();
            if table.bytes > MOST_JSON {
                let text =
                    format!("the rows take more than {} of JSON: use --sql, or lrl sql", units::size(MOST_JSON as u64));
                return Err(Error::refused(text));
            }
            table.rows.push(row);
            return Ok(());
        }
        let text = row_text(table, change);
        let text = match change {
            RowChange::Removed(_) => self.term.paint(Colour::Red, &text),
            RowChange::Added(_) => self.term.paint(Colour::Green, &text),
            RowChange::Changed(..) => text,
        };
        self.write(text)
    }

    fn end(&mut self, name: &str, compared: &Compared) -> EngineResult<()> {
        let rows = self.table.take().map(|table| table.rows);
        let (text, mut document) = describe(compared);
        if let Value::Object(document) = &mut document {
            document.insert("table".into(), name.into());
            document.insert("rows".into(), rows.into());
        }
        self.document.tables.push(document);
        match text {
            Some(text) => self.write(format!("   {}: {text}", units::safe(name))),
            None => Ok(()),
        }
    }
}

/// The rows of one document take no more, in bytes.
const MOST_JSON: usize = 8 << 20;

/// Finds the two sides and compares them.
pub fn sides(context: &Context<'_>, args: &DiffArgs, store: &Store) -> Result {
    use lrl_store::ops::select::Need;
    let need = Need { database: true, uploads: false };
    let (_, from) = choose::select(context, store, &args.from, need)?;
    let to = match args.to.as_str() {
        "live" => Newer::Live(live_path(context, args, &from)?),
        to => Newer::Snapshot(Box::new(choose::select(context, store, to, need)?.1)),
    };
    run(context, args, store, &from, &to)
}
