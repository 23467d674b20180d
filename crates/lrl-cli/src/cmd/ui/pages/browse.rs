//! A directory of a snapshot.

use lrl_store::format::entry::Kind;
use lrl_store::ops::{browse, ls};

use super::super::answer::Answer;
use super::frame;
use super::site::Asked;
use crate::cmd::report::page::{table, text};
use crate::exit::Result;
use crate::render::{entry, units};

const PER_PAGE: usize = 200;

/// Shows what is directly in a directory.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let (name, snapshot) = asked.snapshot("snapshot")?;
    let dir = ls::clean(asked.address.bytes("path").unwrap_or_default());
    let found = browse::children(asked.store, &snapshot, &dir, asked.address.bytes("from"), PER_PAGE)?;
    let is_empty = found.databases.is_empty() && found.children.is_empty();
    if is_empty && !dir.is_empty() {
        // Nothing is below it: an empty directory, or no such path.
        ls::find(asked.store, &snapshot, &dir)?;
    }
    let title = if dir.is_empty() { name.id.short().to_string() } else { units::path(&dir) };
    let html = frame::page(asked.site, &title, |h| {
        h.el("h1", &[], |h| {
            h.text("Snapshot of ");
            text::minute(h, snapshot.created.secs);
        });
        frame::trail(h, asked, &name, &dir);
        let search = asked.site.base.link("search", &[]);
        frame::form(
            h,
            &search,
            "Search in all snapshots: a name, a path or a pattern",
            ("q", ""),
            &[("source", &name.source)],
            "Search",
        );
        if is_empty {
            h.leaf("p", "", "Nothing is in here.");
        } else {
            table::table(h, "Contents", |h| {
                table::head(h, &["Name", ">Size", "Changed", "Mode"]);
                h.el("tbody", &[], |h| {
                    for database in &found.databases {
                        h.el("tr", &[], |h| {
                            h.el("td", &[], |h| {
                                h.el("a", &[("href", &asked.link("file", &name, &database.path))], |h| {
                                    h.text(&last(&database.path))
                                });
                                h.leaf("span", "soft", " database");
                            });
                            h.leaf("td", "num", &units::size(database.size_bytes));
                            h.el("td", &[], |h| text::minute(h, database.mtime.secs));
                            h.leaf("td", "mono", &entry::mode(b'-', database.mode));
                        });
                    }
                    for child in &found.children {
                        h.el("tr", &[], |h| {
                            let page = if child.is_dir() { "browse" } else { "file" };
                            let slash = if child.is_dir() { "/" } else { "" };
                            h.el("td", &[], |h| {
                                let link = asked.link(page, &name, &child.path);
                                h.el("a", &[("href", &link)], |h| h.text(&format!("{}{slash}", last(&child.path))));
                            });
                            let Some(found) = &child.entry else {
                                (0..3).for_each(|_| h.leaf("td", "", ""));
                                return;
                            };
                            let size = matches!(found.kind, Kind::File { .. }).then(|| units::size(found.size()));
                            h.leaf("td", "num", &size.unwrap_or_default());
                            h.el("td", &[], |h| text::minute(h, found.mtime.secs));
                            h.leaf("td", "mono", &entry::mode(entry::letter(&found.kind), found.mode));
                        });
                    }
                });
            });
        }
        if let Some(next) = &found.next {
            let id = name.id.to_string();
            let link = asked.site.base.link("browse", &[("snapshot", id.as_bytes()), ("path", &dir), ("from", next)]);
            h.el("p", &[], |h| h.el("a", &[("href", &link)], |h| h.text("More")));
        }
        restore(h, asked, &name, &dir);
    });
    Ok(Answer::Page(200, html))
}

/// Writes the command that brings a path back.
pub(super) fn restore(
    h: &mut crate::render::html::Html,
    asked: &Asked<'_>,
    name: &lrl_store::store::SnapshotName,
    path: &[u8],
) {
    let only = match path {
        [] => String::new(),
        path => format!(" --only {}", units::shell_word(&units::path(path))),
    };
    let what =
        if path.is_empty() { "Restore all of it, beside the live data" } else { "Restore this, beside the live data" };
    let command = format!(
        "lrl restore {}{only} --target ./restored {}",
        units::shell_word(&name.id.short().to_string()),
        asked.site.flags(&name.source)
    );
    frame::command(h, what, &command);
}

fn last(path: &[u8]) -> String {
    units::path(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path))
}
