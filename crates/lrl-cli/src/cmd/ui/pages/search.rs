//! Which snapshots hold a file, and in which versions.

use lrl_store::error::Error;
use lrl_store::ops::find::{self, Pattern, Version, What};

use super::super::answer::Answer;
use super::frame;
use super::site::Asked;
use crate::cmd::report::page::{table, text};
use crate::exit::{Failure, Result};
use crate::render::units;

const MOST: usize = 200;

/// Searches.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let (site, source) = (asked.site, asked.source()?);
    let query = asked.address.bytes("q").unwrap_or_default();
    let shown = String::from_utf8_lossy(query).into_owned();
    let mut versions: Vec<Version> = Vec::new();
    let mut more = false;
    if !query.is_empty() {
        let pattern = Pattern::new(&shown, query.to_vec())?;
        let found = find::find(asked.store, &source, &pattern, asked.limited, &mut |version| {
            if versions.len() == MOST {
                more = true;
                // Enough is known.
                return Err(Failure::Engine(Error::Interrupted));
            }
            versions.push(version.clone());
            Ok(())
        });
        match found {
            Err(Failure::Engine(Error::Interrupted)) if more => {}
            other => _ = other?,
        }
    }
    let html = frame::page(site, "Search", |h| {
        h.leaf("h1", "", "Search");
        let label = "A name, a path or a pattern, in all snapshots";
        frame::form(h, &site.base.link("search", &[]), label, ("q", &shown), &[("source", &source)], "Search");
        if query.is_empty() {
            return;
        }
        if versions.is_empty() {
            h.leaf("p", "", "No snapshot holds such a file.");
        } else {
            table::table(h, "Versions", |h| {
                table::head(h, &["Path", ">Size", "Changed", ">Snapshots", "Oldest", "Newest"]);
                h.el("tbody", &[], |h| {
                    for version in &versions {
                        h.el("tr", &[], |h| {
                            let link = asked.link("file", &version.newest.name, &version.path);
                            h.el("td", &[], |h| h.el("a", &[("href", &link)], |h| h.text(&units::path(&version.path))));
                            let (size, changed) = match &version.what {
                                What::Upload(entry) => (entry.size(), Some(entry.mtime.secs)),
                                What::Database { size_bytes, .. } => (*size_bytes, None),
                            };
                            h.leaf("td", "num", &units::size(size));
                            h.el("td", &[], |h| {
                                if let Some(changed) = changed {
                                    text::minute(h, changed);
                                }
                            });
                            h.leaf("td", "num", &version.snapshots.to_string());
                            h.leaf("td", "mono", &version.oldest.timestamp);
                            h.leaf("td", "mono", &version.newest.timestamp);
                        });
                    }
                });
            });
        }
        if more {
            h.leaf("p", "note", &format!("Only the first {MOST} are shown."));
        }
        frame::command(
            h,
            "The same in a terminal",
            &format!("lrl find {} {}", units::shell_word(&shown), site.flags(&source)),
        );
    });
    Ok(Answer::Page(200, html))
}
