//! `lrl rows`: rows of each table in each snapshot, one line a snapshot: when did they vanish?

use std::collections::BTreeSet;

use lrl_store::error::Error;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::query::rows::{self, Counted, Counts};
use lrl_store::store::{SnapshotName, Store};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::shared::{choose, database, open};
use crate::args::rows::RowsArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::{cells, json, units};
use crate::term::Colour;

/// As many tables have a column, unless they are named.
const COLUMNS: usize = 6;
/// Characters of a table's name in the heading.
const NAME_CHARS: usize = 24;

/// One line: the snapshot's id and time, and its counts, or why there are none.
struct Line {
    head: String,
    rows: Option<Result<Counts, String>>,
}

/// Counts the rows.
pub fn run(context: &Context<'_>, args: &RowsArgs) -> Result {
    let store = open::open_default(context)?;
    let term = context.term;
    let source = choose::named_source(context).unwrap_or(&context.cli.global.source);
    let (snapshots, mut damaged) = last(context, &store, source, args.last as usize)?;
    let Some((_, newest)) = snapshots.last() else {
        return Err(Error::NotFound(format!(
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
            lines.push(line(counted, &path));
            Ok::<(), Failure>(())
        })?;
        let (columns, more) = columns(&lines, &args.tables);
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

/// Returns the last N snapshots with a database, oldest first, and how many cannot be read.
fn last(
    context: &Context<'_>,
    store: &Store,
    source: &str,
    most: usize,
) -> Result<(Vec<(SnapshotName, Snapshot)>, u64)> {
    let (mut found, mut damaged) = (Vec::new(), 0);
    for name in store.snapshot_names(Some(source))?.into_iter().rev() {
        if found.len() == most {
            break;
        }
        match store.snapshot(&name) {
            Ok(snapshot) if snapshot.databases.is_empty() => {}
            Ok(snapshot) => found.push((name, snapshot)),
            Err(error @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. })) => {
                context.term.warn(error);
                damaged += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    found.reverse();
    Ok((found, damaged))
}

fn line(counted: Counted, path: &[u8]) -> Line {
    let Counted { name, snapshot, rows } = counted;
    let own = |counts: &Counts| -> Counts {
        let part = snapshot.database(path);
        part.into_iter()
            .flat_map(|part| rows::own_tables(part, counts))
            .map(|(table, rows)| (table.clone(), rows))
            .collect()
    };
    let rows = rows.map(|rows| rows.map(|(counts, _)| own(&counts)).map_err(|error| error.to_string()));
    Line { head: format!("{}  {}", name.id.short(), units::moment(snapshot.created.secs)), rows }
}

fn to_json(counted: &Counted, path: &[u8], named: &[String]) -> Value {
    let Counted { name, snapshot, rows } = counted;
    let is_wanted = |table: &str| named.is_empty() || named.iter().any(|name| name.eq_ignore_ascii_case(table));
    let (rows, from, error) = match rows {
        None => (Value::Null, Value::Null, None),
        Some(Err(error)) => (Value::Null, Value::Null, Some(error.to_string())),
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

fn counts(lines: &[Line]) -> impl Iterator<Item = &Counts> {
    lines.iter().filter_map(|line| line.rows.as_ref()?.as_ref().ok())
}

fn missing(lines: &[Line], named: &[String]) -> Error {
    let known: BTreeSet<&String> = counts(lines).flat_map(Counts::keys).collect();
    let known: Vec<_> = known.into_iter().take(20).map(|table| units::safe(table)).collect();
    Error::NotFound(format!(
        "no snapshot that is shown has a table {}; there are {}",
        named.join(", "),
        known.join(", ")
    ))
}

/// Returns the tables that get a column, and how many others there are.
fn columns(lines: &[Line], named: &[String]) -> (Vec<String>, usize) {
    let all: BTreeSet<&String> = counts(lines).flat_map(Counts::keys).collect();
    if !named.is_empty() {
        let spelled =
            |name: &String| all.iter().find(|table| table.eq_ignore_ascii_case(name)).map(|table| (*table).clone());
        return (named.iter().filter_map(spelled).collect(), 0);
    }
    let rank = |table: &String| {
        let each: Vec<Option<u64>> = counts(lines).map(|counts| counts.get(table).copied()).collect();
        let changes = each.windows(2).filter(|pair| pair[0] != pair[1]).count();
        (changes == 0, std::cmp::Reverse(each.into_iter().flatten().max().unwrap_or(0)))
    };
    let mut ranked: Vec<&String> = all.into_iter().collect();
    ranked.sort_by_key(|table| rank(table));
    let more = ranked.len().saturating_sub(COLUMNS);
    ranked.truncate(COLUMNS);
    // The order of their names is that of the other commands.
    ranked.sort();
    (ranked.into_iter().cloned().collect(), more)
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
                    .map(|name| cell(before.map(|before| before.get(name).copied()), counts.get(name).copied()));
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
            Some(Ok(_)) => row(&line.head, cells),
            _ => format!("{}  {}", line.head, cells.join("")),
        };
        let is_fewer = cells.iter().any(|cell| cell.contains("(-") || cell.contains("(gone"));
        term.line(if is_fewer { term.paint(Colour::Yellow, &text) } else { text })?;
    }
    Ok(())
}

fn cell(before: Option<Option<u64>>, now: Option<u64>) -> String {
    match (before, now) {
        (Some(Some(_)), None) => "- (gone)".into(),
        (_, None) => "-".into(),
        (Some(None), Some(now)) => format!("{now} (new)"),
        (Some(Some(before)), Some(now)) if now > before => format!("{now} (+{})", now - before),
        (Some(Some(before)), Some(now)) if now < before => format!("{now} (-{})", before - now),
        (_, Some(now)) => now.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn changes_are_marked() {
        assert_eq!(cell(None, Some(3)), "3");
        assert_eq!(cell(Some(Some(3)), Some(3)), "3");
        assert_eq!(cell(Some(Some(3)), Some(5)), "5 (+2)");
        assert_eq!(cell(Some(Some(3)), Some(0)), "0 (-3)");
        assert_eq!(cell(Some(Some(3)), None), "- (gone)");
        assert_eq!(cell(Some(None), Some(1)), "1 (new)");
        assert_eq!(cell(Some(None), None), "-");
    }
}
