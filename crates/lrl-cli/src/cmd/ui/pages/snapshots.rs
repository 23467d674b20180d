//! The snapshots of a source, newest first, and the one of a moment.

use std::time::SystemTime;

use lrl_store::ops::judgement::{Judge, Judgement};
use lrl_store::ops::select::{self, Need};
use lrl_store::time::{Time, time_of};

use super::super::answer::Answer;
use super::frame;
use super::site::Asked;
use crate::cmd::report::page::{table, text};
use crate::cmd::status::source::Listed;
use crate::exit::{Failure, Result};
use crate::render::html::Html;
use crate::render::units;
use crate::when;

const PER_PAGE: usize = 100;

/// Lists snapshots.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let site = asked.site;
    let (Listed { name: source, snapshots: names }, others) = asked.sources()?;
    let number = asked.address.number("page");
    let mut judge = Judge::new(asked.store, time_of(SystemTime::now()));
    let mut rows = Vec::new();
    for (n, name) in names.iter().enumerate().rev().skip(number.saturating_mul(PER_PAGE)).take(PER_PAGE) {
        let snapshot = asked.store.snapshot(name);
        let judgement = match &snapshot {
            Ok(snapshot) => judge.of(name, snapshot, asked.limited)?,
            Err(error) => Judgement::damaged(error),
        };
        let before = n.checked_sub(1).and_then(|before| names.get(before));
        rows.push((name, snapshot.ok(), judgement, before));
    }
    let source_bytes = source.as_bytes();
    let html = frame::page(site, "Snapshots", |h| {
        h.leaf("h1", "", &format!("Snapshots of {source}"));
        if !others.is_empty() {
            h.el("p", &[], |h| {
                h.text("Other sources: ");
                for other in &others {
                    let link = site.base.link("snapshots", &[("source", other.as_bytes())]);
                    h.el("a", &[("href", &link)], |h| h.text(other));
                    h.text(" ");
                }
            });
        }
        let at = site.base.link("at", &[]);
        let label = "At a time, such as 2026-11-28T14:03, yesterday or 3d";
        frame::form(h, &at, label, ("at", ""), &[("source", &source)], "Show");
        if rows.is_empty() {
            h.leaf("p", "", "There are none here.");
            return;
        }
        table::table(h, "Snapshots", |h| {
            table::head(h, &["Made", "Snapshot", "State", ">Database", ">Files", "Against the one before"]);
            h.el("tbody", &[], |h| {
                for (name, snapshot, judgement, before) in &rows {
                    h.el("tr", &[], |h| {
                        h.el("td", &[], |h| match snapshot {
                            Some(snapshot) => text::minute(h, snapshot.created.secs),
                            None => h.text("not readable"),
                        });
                        h.el("td", &[("class", "mono")], |h| {
                            h.el("a", &[("href", &asked.link("browse", name, b""))], |h| {
                                h.text(&name.id.short().to_string())
                            });
                        });
                        state(h, judgement);
                        let bytes = snapshot.as_ref().filter(|it| it.has_databases()).map(|it| it.database_bytes());
                        h.leaf("td", "num", &bytes.map(units::size).unwrap_or_default());
                        let files =
                            snapshot.as_ref().and_then(|it| it.files.as_ref()).map(|files| files.files.to_string());
                        h.leaf("td", "num", &files.unwrap_or_default());
                        h.el("td", &[], |h| {
                            if let Some(before) = before {
                                let (a, b) = (before.id.to_string(), name.id.to_string());
                                let link = site.base.link("diff", &[("from", a.as_bytes()), ("to", b.as_bytes())]);
                                h.el("a", &[("href", &link)], |h| h.text("what changed"));
                            }
                        });
                    });
                }
            });
        });
        h.el("p", &[], |h| {
            for (is, to, label) in [
                (number > 0, number.saturating_sub(1), "Newer"),
                (names.len() > (number + 1).saturating_mul(PER_PAGE), number + 1, "Older"),
            ] {
                if is {
                    let link =
                        site.base.link("snapshots", &[("source", source_bytes), ("page", to.to_string().as_bytes())]);
                    h.el("a", &[("href", &link)], |h| h.text(label));
                    h.text(" ");
                }
            }
        });
    });
    Ok(Answer::Page(200, html))
}

fn state(h: &mut Html, judgement: &Judgement) {
    h.el("td", &[], |h| {
        h.leaf("span", if judgement.is_good() { "state ok" } else { "state no" }, judgement.state.name());
        if !judgement.reason.is_empty() {
            h.leaf("div", "soft", &judgement.reason);
        }
    });
}

/// Leads to the newest snapshot at or before a time.
pub fn at(asked: &Asked<'_>) -> Result<Answer> {
    let source = asked.source()?;
    let wanted = asked.address.text("at").unwrap_or("now").trim();
    let now = when::now(asked.site.context.cli.global.utc);
    let time = when::moment(wanted, &now).ok_or_else(|| {
        Failure::Usage(format!("{wanted:?} is no time: 2026-11-28T14:03, 2026-11-28, 14:03, yesterday, 2h and 3d are"))
    })?;
    let time = Time { secs: time.as_second(), nanos: time.subsec_nanosecond().unsigned_abs() };
    let need = Need { database: false, uploads: false };
    let found = select::at(asked.store, Some(&source), (wanted, time), need, asked.limited)?;
    Ok(Answer::Other(asked.link("browse", &found.name, b""), None))
}
