//! The page itself. What matters most comes first: is all well, and since when.

mod chart;
mod disk;
mod facts;
mod growth;
mod keep;
mod runs;
mod strip;
pub mod table;
pub mod text;
pub mod verdict;

use lrl_store::ops::report::{DAYS, days};

use self::table::{head, table};
use super::model::{Page, SourcePage, StorePage};
use crate::render::html::{self, Forms, Html};

/// More sources than these are folded, except those with something wrong.
const MOST_OPEN: usize = 3;

/// Writes the page.
pub fn html(page: &Page) -> String {
    html::page(&verdict::title(page), Forms::Nowhere, |h| {
        h.el("header", &[], |h| verdict::write(h, page));
        h.el("main", &[], |h| parts(h, page));
        h.el("footer", &[], |h| {
            h.leaf("p", "", "Written by lrl report. The judgement is that of `lrl status`. All times are in UTC.");
        });
    })
}

/// Writes all that is below the verdict.
pub fn parts(h: &mut Html, page: &Page) {
    if page.sources() + page.stores.len() > 2 {
        overview(h, page);
    }
    for (n, store) in page.stores.iter().enumerate() {
        of_store(h, page, store, n);
    }
    keep::write(h, page);
}

/// A line for each source, with a link to it.
fn overview(h: &mut Html, page: &Page) {
    h.el("nav", &[("aria-label", "Sources")], |h| {
        h.leaf("h2", "", "All sources");
        table(h, "All sources", |h| {
            head(h, &["Store", "Source", "State", "Last good backup", "Proven"]);
            h.el("tbody", &[], |h| {
                for (n, store) in page.stores.iter().enumerate() {
                    if store.sources.is_empty() {
                        h.el("tr", &[], |h| {
                            h.leaf("td", "", &store.name);
                            h.leaf("td", "", "");
                            state(h, &store.wrong.join("; "));
                            h.leaf("td", "", "none");
                            h.leaf("td", "", "");
                        });
                    }
                    for (m, source) in store.sources.iter().enumerate() {
                        let status = &source.stand.status;
                        let wrong: Vec<&str> =
                            store.wrong.iter().chain(&source.stand.wrong).map(String::as_str).collect();
                        h.el("tr", &[], |h| {
                            h.leaf("td", "", &store.name);
                            h.el("td", &[], |h| {
                                h.el("a", &[("href", &format!("#{}", id(n, m)))], |h| h.text(&source.name));
                            });
                            state(h, &wrong.join("; "));
                            h.el("td", &[], |h| match &status.good {
                                Some(good) => text::minute(h, good.created.secs),
                                None => h.text("none"),
                            });
                            h.leaf("td", "", &format!("{} of {}", status.proven, status.snapshots));
                        });
                    }
                }
            });
        });
    });
}

fn state(h: &mut Html, wrong: &str) {
    h.el("td", &[], |h| match wrong {
        "" => h.leaf("span", "state ok", "ok"),
        wrong => h.leaf("span", "bad-text", wrong),
    });
}

fn of_store(h: &mut Html, page: &Page, store: &StorePage, n: usize) {
    h.el("section", &[], |h| {
        if page.stores.len() > 1 {
            h.leaf("h2", "", &store.name);
        }
        for note in &store.notes {
            h.leaf("p", "note", &format!("{note}: not counted; `lrl check` tells more"));
        }
        if store.sources.is_empty() {
            store.wrong.iter().for_each(|wrong| h.leaf("p", "bad-text", wrong));
        }
        for (m, source) in store.sources.iter().enumerate() {
            let id = id(n, m);
            let is_open = page.sources() <= MOST_OPEN || !source.stand.wrong.is_empty();
            match page.sources() {
                1 => of_source(h, page, source, store),
                _ if is_open => h.el("section", &[("id", &id)], |h| {
                    h.leaf("h2", "", &source.name);
                    of_source(h, page, source, store);
                }),
                _ => h.el("details", &[("class", "source"), ("id", &id)], |h| {
                    h.leaf("summary", "", &source.name);
                    of_source(h, page, source, store);
                }),
            }
        }
        if let Some(space) = &store.space {
            disk::write(h, space, page.now.secs);
        }
    });
}

fn of_source(h: &mut Html, page: &Page, source: &SourcePage, store: &StorePage) {
    let days = days::days(&source.history.points, &source.history.drills, page.now, DAYS);
    facts::write(h, page, source, store);
    strip::write(h, &days);
    growth::write(h, &source.history, page.names);
    runs::runs(h, source, page.names, page.now.secs);
    runs::snapshots(h, source, page.names);
    h.leaf("h3", "", "Restore");
    for advice in &source.restore {
        h.leaf("p", "", &advice.what);
        h.el("pre", &[("tabindex", "0")], |h| h.lines(advice.commands.iter().map(String::as_str)));
    }
}

fn id(store: usize, source: usize) -> String {
    format!("source-{store}-{source}")
}
