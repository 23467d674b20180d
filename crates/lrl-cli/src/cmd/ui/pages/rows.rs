//! Rows of each table in each snapshot: what `lrl rows` prints, newest first.

use lrl_store::error::Error;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::ls;
use lrl_store::ops::query::rows as engine;
use lrl_store::source::database::sql_text::quoted;

use super::super::answer::Answer;
use super::site::Asked;
use super::{frame, sql};
use crate::cmd::report::page::{table, text};
use crate::cmd::rows::lines::{self, Line};
use crate::cmd::status::source::Listed;
use crate::exit::Result;
use crate::render::html::Html;
use crate::render::units;

/// Snapshots of a page.
const PER_PAGE: usize = 30;
/// Tables that are offered by name.
const MOST_TABLES: usize = 200;

/// What the page is about.
struct Shown<'a> {
    asked: &'a Asked<'a>,
    source: &'a str,
    /// The database.
    path: &'a [u8],
    /// The tables that were named.
    named: &'a [String],
}

impl Shown<'_> {
    fn link(&self, path: &[u8], table: &str, to: &str) -> String {
        let values =
            [("source", self.source.as_bytes()), ("path", path), ("table", table.as_bytes()), ("to", to.as_bytes())];
        let given: Vec<_> = values.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        self.asked.site.base.link("rows", &given)
    }

    fn table(&self) -> &str {
        self.named.first().map_or("", String::as_str)
    }
}

/// Shows it.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let (Listed { name: source, snapshots: mut names }, others) = asked.sources()?;
    if asked.address.text("to").is_some() {
        let to = asked.address.number("to") as u64;
        names.retain(|name| name.sequence <= to);
    }
    let mut damaged = 0;
    // The one before the last of the page is what that is compared with.
    let found = lines::last(asked.store, names, PER_PAGE + 1, asked.limited, |_| damaged += 1)?;
    let Some((_, newest)) = found.last() else {
        return Err(Error::not_found(format!("no snapshot of source {source} holds a database")).into());
    };
    let path = path_of(asked, newest)?;
    let databases: Vec<Vec<u8>> = newest.databases.iter().map(|part| part.path.clone()).collect();
    let mut counted = Vec::new();
    engine::rows(asked.store, found, &path, &std::env::temp_dir(), asked.limited, &mut |one| -> Result<(), Error> {
        counted.push(Line::new(one, &path));
        Ok(())
    })?;
    let named: Vec<String> = asked.address.text("table").map(String::from).into_iter().collect();
    let shown = Shown { asked, source: &source, path: &path, named: &named };
    let html = frame::page(asked.site, "Rows", |h| {
        h.leaf("h1", "", &format!("Rows of each table in each snapshot of {source}"));
        choices(h, &shown, &others, &databases);
        result(h, &shown, &counted);
        if damaged > 0 {
            h.leaf("p", "note", &format!("{} cannot be read.", units::count(damaged, "snapshot")));
        }
        let database = match databases.len() {
            0 | 1 => String::new(),
            _ => format!(" --database {}", units::shell_word(&units::path(&path))),
        };
        let tables: String = named.iter().map(|name| format!(" {}", units::shell_word(name))).collect();
        let command = format!("lrl rows{tables}{database} {}", asked.site.flags(&source));
        frame::command(h, "The same in a terminal; --last shows more snapshots", &command);
    });
    Ok(Answer::Page(200, html))
}

/// Returns the path of the database that is meant: the one that is named, else the first.
fn path_of(asked: &Asked<'_>, newest: &Snapshot) -> Result<Vec<u8>> {
    let path = asked.address.bytes("path").map(ls::clean).or_else(|| Some(newest.databases.first()?.path.clone()));
    Ok(path.ok_or_else(|| Error::NotFound("the snapshot holds no database".into()))?)
}

fn choices(h: &mut Html, shown: &Shown<'_>, others: &[String], databases: &[Vec<u8>]) {
    if !others.is_empty() {
        h.el("p", &[], |h| {
            h.text("Other sources: ");
            for other in others {
                let link = shown.asked.site.base.link("rows", &[("source", other.as_bytes())]);
                h.el("a", &[("href", &link)], |h| h.text(other));
                h.text(" ");
            }
        });
    }
    h.el("p", &[], |h| {
        h.text("Database: ");
        h.leaf("strong", "", &units::path(shown.path));
        for other in databases.iter().filter(|other| *other != shown.path) {
            h.text(", ");
            h.el("a", &[("href", &shown.link(other, "", ""))], |h| h.text(&units::path(other)));
        }
    });
}

fn result(h: &mut Html, shown: &Shown<'_>, counted: &[Line]) {
    let (columns, more) = lines::columns(counted, shown.named);
    // The oldest is of the next page, if it is full.
    let is_full = counted.len() > PER_PAGE;
    if columns.is_empty() && !shown.named.is_empty() {
        h.leaf("p", "note", &format!("None of these snapshots has a table {} that can be counted.", shown.table()));
    }
    table::table(h, "Rows", |h| {
        h.el("thead", &[], |h| {
            h.el("tr", &[], |h| {
                for name in ["Made", "Snapshot"] {
                    h.el("th", &[("scope", "col")], |h| h.text(name));
                }
                columns.iter().for_each(|name| h.el("th", &[("scope", "col"), ("class", "num")], |h| h.text(name)));
            });
        });
        h.el("tbody", &[], |h| {
            for at in (usize::from(is_full)..counted.len()).rev() {
                row(h, shown, counted, at, &columns);
            }
        });
    });
    if is_full && let Some(before) = counted.first() {
        h.el("p", &[], |h| {
            let link = shown.link(shown.path, shown.table(), &before.name.sequence.to_string());
            h.el("a", &[("href", &link)], |h| h.text("Older"));
        });
    }
    if more == 0 && shown.named.is_empty() {
        return;
    }
    let mut all: Vec<&String> = lines::counts(counted).flat_map(|counts| counts.keys()).collect();
    all.sort();
    all.dedup();
    h.leaf("h2", "", "Tables");
    h.el("p", &[], |h| {
        if !shown.named.is_empty() {
            h.el("a", &[("href", &shown.link(shown.path, "", ""))], |h| h.text("The tables that changed"));
            h.text(", ");
        }
        for (n, name) in all.iter().take(MOST_TABLES).enumerate() {
            if n > 0 {
                h.text(", ");
            }
            h.el("a", &[("href", &shown.link(shown.path, name, ""))], |h| h.text(name));
        }
        if all.len() > MOST_TABLES {
            h.text(&format!(" and {} more", all.len() - MOST_TABLES));
        }
    });
}

fn row(h: &mut Html, shown: &Shown<'_>, counted: &[Line], at: usize, columns: &[String]) {
    let Some(line) = counted.get(at) else { return };
    let earlier = counted.get(..at).unwrap_or_default();
    let before = earlier.iter().rev().find_map(|line| line.rows.as_ref()?.as_ref().ok());
    h.el("tr", &[], |h| {
        h.el("td", &[], |h| text::minute(h, line.created));
        h.el("td", &[("class", "mono")], |h| {
            let link = shown.asked.link("browse", &line.name, b"");
            h.el("a", &[("href", &link)], |h| h.text(&line.name.id.short().to_string()));
        });
        let counts = match &line.rows {
            Some(Ok(counts)) => counts,
            Some(Err(why)) => return rest(h, columns, why),
            None => return rest(h, columns, "no such database"),
        };
        for name in columns {
            let cell = lines::cell(before.map(|before| before.get(name).copied()), counts.get(name).copied());
            let is_fewer = cell.contains("(-") || cell.contains("(gone");
            h.el("td", &[("class", "num")], |h| match counts.contains_key(name) {
                false => h.leaf("span", if is_fewer { "bad-text" } else { "soft" }, &cell),
                true => {
                    let query = format!("SELECT * FROM {}", quoted(name));
                    let link = sql::link(shown.asked, &line.name, shown.path, &query, 0);
                    let attributes = [("href", link.as_str()), ("class", "bad-text")];
                    h.el("a", if is_fewer { &attributes } else { &attributes[..1] }, |h| h.text(&cell));
                }
            });
        }
    });
}

/// Writes why a snapshot has no counts.
fn rest(h: &mut Html, columns: &[String], why: &str) {
    let span = columns.len().max(1).to_string();
    h.el("td", &[("colspan", &span)], |h| h.leaf("div", "soft", why));
}
