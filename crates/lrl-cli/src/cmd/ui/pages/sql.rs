//! The tables of a database with their rows, and queries: by the engine's function for `lrl sql`, under its limits.

use std::time::Duration;

use lrl_store::error::{Error, Result as EngineResult};
use lrl_store::format::snapshot::Database;
use lrl_store::ops::ls;
use lrl_store::ops::query::sql::{self, Options};
use lrl_store::source::database::cell::Cell;
use lrl_store::source::database::select::RowSink;
use lrl_store::source::database::sql_text::quoted;
use lrl_store::store::SnapshotName;

use super::super::answer::Answer;
use super::frame;
use super::site::Asked;
use crate::cmd::report::page::table;
use crate::exit::Result;
use crate::render::html::Html;
use crate::render::{cells, units};

/// Rows of a page.
const PER_PAGE: usize = 100;
/// Characters of a value.
const MOST_CHARS: usize = 200;
/// A page with more bytes than these has no further rows.
const MOST_BYTES: usize = 2 << 20;
/// How long a query may run: other pages wait for it.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The rows of one page.
#[derive(Default)]
struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Rows before the page.
    skip: usize,
    bytes: usize,
    /// Whether there is another row after those of the page.
    more: bool,
    is_cut: bool,
}

impl RowSink for Rows {
    fn columns(&mut self, names: &[String]) -> EngineResult<()> {
        self.columns = names.to_vec();
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> EngineResult<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        if self.rows.len() == PER_PAGE || self.bytes > MOST_BYTES {
            self.more = true;
            // The engine only has to stop.
            return Err(Error::Interrupted);
        }
        let shown: Vec<String> = cells.iter().map(|cell| cells::shown(cell, MOST_CHARS)).collect();
        self.is_cut |= cells.iter().any(|cell| cells::is_cut(cell, MOST_CHARS));
        self.bytes += shown.iter().map(|cell| cell.len() + 16).sum::<usize>();
        self.rows.push(shown);
        Ok(())
    }
}

/// Writes the names of a database's tables, each with a link to its rows.
pub fn tables(h: &mut Html, asked: &Asked<'_>, name: &SnapshotName, part: &Database) {
    h.leaf("h2", "", "Tables");
    let Some(tables) = &part.tables else {
        h.leaf("p", "note", "Its schema could not be read.");
        return;
    };
    h.el("ul", &[], |h| {
        for table in tables {
            let query = format!("SELECT * FROM {}", quoted(table));
            h.el("li", &[], |h| h.el("a", &[("href", &link(asked, name, &part.path, &query, 0))], |h| h.text(table)));
        }
    });
    form(h, asked, name, &part.path, "");
}

/// Returns the address of a page of a query's rows.
pub fn link(asked: &Asked<'_>, name: &SnapshotName, path: &[u8], query: &str, page: usize) -> String {
    let (id, number) = (name.id.to_string(), page.to_string());
    let values = [("snapshot", id.as_bytes()), ("path", path), ("q", query.as_bytes()), ("page", number.as_bytes())];
    asked.site.base.link("sql", &values)
}

fn form(h: &mut Html, asked: &Asked<'_>, name: &SnapshotName, path: &[u8], query: &str) {
    let Ok(path) = std::str::from_utf8(path) else { return };
    let id = name.id.to_string();
    h.el("form", &[("action", &asked.site.base.link("sql", &[])), ("method", "get")], |h| {
        h.el("label", &[], |h| {
            h.leaf("span", "soft", "A query; nothing but SELECT, WITH and VALUES is run");
            h.el("textarea", &[("name", "q"), ("rows", "4"), ("spellcheck", "false")], |h| h.lines(query.lines()));
        });
        for (name, value) in [("snapshot", id.as_str()), ("path", path)] {
            h.void("input", &[("type", "hidden"), ("name", name), ("value", value)]);
        }
        h.el("button", &[("type", "submit")], |h| h.text("Run"));
    });
}

/// Shows the rows of a query.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let (name, snapshot) = asked.snapshot("snapshot")?;
    let path = ls::clean(asked.address.bytes("path").unwrap_or_default());
    let part = snapshot.database(&path);
    let part = part.ok_or_else(|| Error::NotFound("the snapshot holds no such database".into()))?;
    let (query, number) = (asked.address.text("q").unwrap_or_default().trim(), asked.address.number("page"));
    let mut rows = Rows { skip: number.saturating_mul(PER_PAGE), ..Rows::default() };
    let temp = std::env::temp_dir();
    let options = Options { temp: &temp, time_limit: TIME_LIMIT };
    let run = match query {
        "" => Ok(0),
        query => sql::sql(asked.store, part, query, &options, &mut rows, asked.limited),
    };
    let refused = match run {
        Ok(_) => None,
        Err(Error::Interrupted) if rows.more => None,
        // What is wrong with the query belongs beside it.
        Err(Error::Refused(why)) => Some(why),
        Err(error) => return Err(error.into()),
    };
    let html = frame::page(asked.site, &units::path(&path), |h| {
        h.leaf("h1", "", "Rows");
        frame::trail(h, asked, &name, &path);
        form(h, asked, &name, &path, query);
        match &refused {
            Some(why) => h.leaf("p", "note", why.text()),
            None if query.is_empty() => {}
            None => result(h, asked, (&name, &path), query, &rows, number),
        }
        let database = if snapshot.databases.len() > 1 {
            format!(" --database {}", units::shell_word(&units::path(&path)))
        } else {
            String::new()
        };
        if !query.is_empty() {
            let flags = asked.site.flags(&name.source);
            frame::command(
                h,
                "The same in a terminal; --csv and --json give all of it",
                &format!("lrl sql {} {}{database} {flags}", name.id.short(), units::shell_word(query)),
            );
        }
    });
    Ok(Answer::Page(if refused.is_some() { 400 } else { 200 }, html))
}

fn result(
    h: &mut Html,
    asked: &Asked<'_>,
    (name, path): (&SnapshotName, &[u8]),
    query: &str,
    rows: &Rows,
    number: usize,
) {
    let first = number.saturating_mul(PER_PAGE);
    match rows.rows.len() {
        0 => h.leaf("p", "", if number == 0 { "No row." } else { "No further row." }),
        count => h.leaf("p", "soft", &format!("Rows {} to {}", first + 1, first + count)),
    }
    table::table(h, "Rows", |h| {
        let names: Vec<&str> = rows.columns.iter().map(String::as_str).collect();
        h.el("thead", &[], |h| {
            h.el("tr", &[], |h| names.iter().for_each(|name| h.el("th", &[("scope", "col")], |h| h.text(name))));
        });
        h.el("tbody", &[], |h| {
            for row in &rows.rows {
                h.el("tr", &[], |h| row.iter().for_each(|cell| h.leaf("td", "cell", cell)));
            }
        });
    });
    if rows.is_cut {
        h.leaf("p", "soft", "Long values are cut.");
    }
    h.el("p", &[], |h| {
        for (is, to, label) in [(number > 0, number.saturating_sub(1), "Back"), (rows.more, number + 1, "More")] {
            if is {
                h.el("a", &[("href", &link(asked, name, path, query, to))], |h| h.text(label));
                h.text(" ");
            }
        }
    });
}
