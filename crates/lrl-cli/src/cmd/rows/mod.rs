//! `lrl rows`: rows of each table in each snapshot, one line a snapshot: when did they vanish?

pub mod lines;

use std::collections::BTreeSet;

use lrl_store::error::Error;
use lrl_store::ops::query::rows::{self, Counted, Counts};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use self::lines::Line;
use super::shared::{choose, database, open};
use crate::args::rows::RowsArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::render::{cells, json, units};
use crate::term::Colour;

/// Characters of a table's name in the heading.
const NAME_CHARS: usize = 24;

/// Counts the rows.
pub fn run(context: &Context<'_>, args: &RowsArgs) -> Result {
    let store = open::open_default(context)?;
    let term = context.term;
    let source = choose::named_source(context).unwrap_or(&context.cli.global.source);
    let mut damaged = 0;
    let snapshots = lines::last(&store, store.snapshot_names(Some(source))?, args.last as usize, term, |error| {
        term.warn(error);
        damaged += 1;
    })?;
    let Some((_, newest)) = snapshots.last() else {
        return Err(Error::not_found(format!(
            "no snapshot of source `{source}` holds a database; `lrl snapshots` lists what there is"
        ))
        .into());
    };
    let path = database::pick(newest, args.database.as_deref())?.path.clone();
    let head = json!({ "source": source, "database": units::path(&path) });
    json::list(term, head, "snapshots", |list| {
        let mut lines = Vec::new();
        rows::rows(&store, snapshots, &path, &std::env::temp_dir(), term, &mut |counted| {
            damaged += u64::from(matches!(counted.rows, Some(Err(_))));
            list.item(|| to_json(&counted, &path, &args.tables))?;
            lines.push(Line::new(counted, &path));
            Ok::<(), Failure>(())
        })?;
        let (columns, more) = lines::columns(&lines, &args.tables);
        if columns.is_empty() && !args.tables.is_empty() {
            return Err(missing(&lines, &args.tables).into());
        }
        for name in args.tables.iter().filter(|name| !columns.iter().any(|column| column.eq_ignore_ascii_case(name))) {
            term.warn(format!("no snapshot that is shown has a table {name} that can be counted"));
        }
        if !term.is_json() {
            write(context, &lines, &columns)?;
        }
        if more > 0 {
            term.note(format!("{} more; name them to see them", units::count(more as u64, "table")));
        }
        let exit = if damaged == 0 { Exit::Done } else { Exit::Incomplete };
        Ok((json!({ "damaged": damaged }), exit))
    })
}

fn to_json(counted: &Counted, path: &[u8], named: &[String]) -> Value {
    let Counted { name, snapshot, rows } = counted;
    let is_wanted = |table: &str| named.is_empty() || named.iter().any(|name| name.eq_ignore_ascii_case(table));
    let (rows, from, error) = match rows {
        None => (Value::Null, Value::Null, None),
        Some(Err(error)) => (Value::Null, Value::Null, Some(hint::error(error))),
        Some(Ok((counts, origin))) => {
            let part = snapshot.database(path);
            let own = part.into_iter().flat_map(|part| rows::own_tables(part, counts));
            let rows: serde_json::Map<String, Value> =
                own.filter(|(table, _)| is_wanted(table)).map(|(table, rows)| (table.clone(), rows.into())).collect();
            (rows.into(), json!(origin), None)
        }
    };
    json!({
        "id": name.id, "sequence": name.sequence, "timestamp": snapshot.timestamp, "rows": rows, "from": from, "error": error,
    })
}

fn missing(lines: &[Line], named: &[String]) -> Error {
    let known: BTreeSet<&String> = lines::counts(lines).flat_map(Counts::keys).collect();
    let known: Vec<_> = known.into_iter().take(20).map(|table| units::safe(table)).collect();
    Error::not_found(format!(
        "no snapshot that is shown has a table {}; there are {}",
        named.join(", "),
        known.join(", ")
    ))
}

fn head(line: &Line) -> String {
    format!("{}  {}", line.name.id.short(), units::moment(line.created))
}

/// Writes the lines; a count that is not that of the line above has the difference beside it.
fn write(context: &Context<'_>, lines: &[Line], columns: &[String]) -> Result<()> {
    let term = context.term;
    let mut before: Option<&Counts> = None;
    let mut table: Vec<Vec<String>> = Vec::with_capacity(lines.len());
    for line in lines {
        let cells = match &line.rows {
            None => vec!["no such database".into()],
            Some(Err(why)) => vec![units::safe(why).into_owned()],
            Some(Ok(counts)) => {
                let cells = columns
                    .iter()
                    .map(|name| lines::cell(before.map(|before| before.get(name).copied()), counts.get(name).copied()));
                let cells = cells.collect();
                before = Some(counts);
                cells
            }
        };
        table.push(cells);
    }
    let heading: Vec<String> = columns.iter().map(|name| cells::cut(&units::safe(name), NAME_CHARS)).collect();
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let whole = table.iter().filter(|cells| cells.len() == heading.len());
            whole.filter_map(|cells| cells.get(at)).chain([name]).map(|text| text.width()).max().unwrap_or(0)
        })
        .collect();
    let row = |head: &str, cells: &[String]| {
        let mut text = format!("{head:<29}");
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str("  ");
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
        }
        text.trim_end().to_string()
    };
    term.line(term.paint(Colour::Dim, &row("id        time (UTC)", &heading)))?;
    for (line, cells) in lines.iter().zip(&table) {
        let text = match &line.rows {
            Some(Ok(_)) => row(&head(line), cells),
            _ => format!("{}  {}", head(line), cells.join("")),
        };
        let is_fewer = cells.iter().any(|cell| cell.contains("(-") || cell.contains("(gone"));
        term.line(if is_fewer { term.paint(Colour::Yellow, &text) } else { text })?;
    }
    Ok(())
}
