//! What differs between two snapshots.

use lrl_store::format::path_text;
use lrl_store::ops::diff::{self, DatabaseChange};
use lrl_store::store::tree::diff::Change;

use super::super::answer::Answer;
use super::frame;
use super::site::Asked;
use crate::cmd::report::page::{table, text};
use crate::exit::{Failure, Result};
use crate::render::units;

const MOST: usize = 500;

/// Shows it.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let ((from_name, from), (to_name, to)) = (asked.snapshot("from")?, asked.snapshot("to")?);
    let databases = diff::databases(asked.store, &from, &to)?;
    let mut listed: Vec<(&'static str, Vec<u8>, String)> = Vec::new();
    let mut all = 0usize;
    let counts = diff::uploads(asked.store, &from, &to, asked.limited, &mut |change| -> Result<(), Failure> {
        all += 1;
        if listed.len() < MOST {
            listed.push(match change {
                Change::Added(new) => ("added", new.path.clone(), units::size(new.size())),
                Change::Removed(old) => ("removed", old.path.clone(), units::size(old.size())),
                Change::Changed(old, new) if diff::aspects(old, new).content => {
                    ("changed", new.path.clone(), format!("{} → {}", units::size(old.size()), units::size(new.size())))
                }
                Change::Changed(_, new) => ("metadata", new.path.clone(), units::size(new.size())),
            });
        }
        Ok(())
    })?;
    let html = frame::page(asked.site, "What changed", |h| {
        h.leaf("h1", "", "What changed");
        h.el("p", &[], |h| {
            for (word, name, snapshot) in [("From ", &from_name, &from), (" to ", &to_name, &to)] {
                h.text(word);
                h.el("a", &[("href", &asked.link("browse", name, b""))], |h| text::minute(h, snapshot.created.secs));
            }
        });
        h.leaf("h2", "", "Databases");
        h.el("ul", &[], |h| {
            for database in &databases {
                let path = path_text::decode(&database.path).unwrap_or_else(|| database.path.clone().into_bytes());
                h.el("li", &[], |h| {
                    h.el("a", &[("href", &asked.link("file", &to_name, &path))], |h| h.text(&database.path));
                    h.text(&format!(": {}", of_database(&database.change)));
                });
            }
        });
        h.leaf("h2", "", "Files");
        h.leaf(
            "p",
            "",
            &format!(
                "{} added, {} removed, {} changed, {} with other metadata",
                counts.added, counts.removed, counts.changed, counts.metadata
            ),
        );
        if listed.is_empty() {
            return;
        }
        table::table(h, "Files", |h| {
            table::head(h, &["What", "Path", ">Size"]);
            h.el("tbody", &[], |h| {
                for (what, path, size) in &listed {
                    h.el("tr", &[], |h| {
                        h.leaf("td", "", what);
                        let of = if *what == "removed" { &from_name } else { &to_name };
                        let link = asked.link("file", of, path);
                        h.el("td", &[], |h| h.el("a", &[("href", &link)], |h| h.text(&units::path(path))));
                        h.leaf("td", "num", size);
                    });
                }
            });
        });
        if all > MOST {
            h.leaf("p", "note", &format!("Only the first {MOST} of {all} are listed."));
        }
        let command =
            format!("lrl diff {} {} {}", from_name.id.short(), to_name.id.short(), asked.site.flags(&to_name.source));
        frame::command(h, "All of it, in a terminal", &command);
    });
    Ok(Answer::Page(200, html))
}

fn of_database(change: &DatabaseChange) -> String {
    match change {
        DatabaseChange::Same { size_bytes } => format!("the same, {}", units::size(*size_bytes)),
        DatabaseChange::Added { size_bytes } => format!("added, {}", units::size(*size_bytes)),
        DatabaseChange::Removed { size_bytes } => format!("removed, {}", units::size(*size_bytes)),
        DatabaseChange::Changed { from_bytes, to_bytes, extents_bytes, tables_added, tables_removed } => {
            let mut text = format!(
                "changed, {} → {}, {} of it in other extents",
                units::size(*from_bytes),
                units::size(*to_bytes),
                units::size(*extents_bytes)
            );
            for (what, tables) in [("new tables", tables_added), ("tables gone", tables_removed)] {
                if !tables.is_empty() {
                    text.push_str(&format!("; {what}: {}", tables.join(", ")));
                }
            }
            text
        }
    }
}
