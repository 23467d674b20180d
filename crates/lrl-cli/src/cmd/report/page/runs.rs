//! The last runs on this machine, and the newest snapshots.

use super::super::model::SourcePage;
use super::table::{head, table};
use super::text;
use crate::cmd::shared::run_record::RunRecord;
use crate::exit::TABLE;
use crate::render::html::Html;
use crate::render::names::Names;
use crate::render::units;

/// The newest snapshots that are listed.
const MOST_LISTED: usize = 10;

/// Writes how the last run of each command ended, the newest first.
pub fn runs(h: &mut Html, source: &SourcePage, names: Names, now: i64) {
    if source.runs.is_empty() {
        return;
    }
    let mut runs: Vec<&RunRecord> = source.runs.iter().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.finished));
    h.leaf("h3", "", "The last runs on this machine");
    table(h, "The last runs", |h| {
        head(h, &["Command", "Ended", "How", ">Took"]);
        h.el("tbody", &[], |h| {
            for run in runs {
                h.el("tr", &[], |h| {
                    h.leaf("td", "mono", &format!("lrl {}", run.command));
                    h.el("td", &[], |h| text::minute(h, run.finished));
                    h.el("td", &[], |h| ended(h, run, names, now));
                    h.leaf("td", "num", &run.seconds.map(text::took).unwrap_or_default());
                });
            }
        });
    });
}

fn ended(h: &mut Html, run: &RunRecord, names: Names, now: i64) {
    if run.exit == 0 {
        return h.leaf("span", "state ok", "well");
    }
    let meaning = TABLE.iter().find(|(exit, _)| exit.code() == run.exit).map_or("failed", |(_, meaning)| meaning);
    h.leaf("span", "state no", &format!("exit {}", run.exit));
    let why = run.error.clone().filter(|_| !names.are_redacted()).unwrap_or_else(|| meaning.to_string());
    h.leaf("div", "", &why);
    let last = match run.last_success {
        Some(at) => format!("last ended well {}", text::before(at, now)),
        None => "never ended well yet".into(),
    };
    h.leaf("div", "soft", &last);
}

/// Writes the newest snapshots.
pub fn snapshots(h: &mut Html, source: &SourcePage, names: Names) {
    let points = &source.history.points;
    if points.is_empty() {
        return;
    }
    h.leaf("h3", "", "The newest snapshots");
    table(h, "The newest snapshots", |h| {
        head(h, &["Snapshot", "Made", "State", "Proven", ">Added", ">Database", ">Files"]);
        h.el("tbody", &[], |h| {
            for point in points.iter().rev().take(MOST_LISTED) {
                h.el("tr", &[], |h| {
                    h.leaf("td", "mono", &point.name.id.short().to_string());
                    h.el("td", &[], |h| match point.created {
                        Some(created) => text::minute(h, created.secs),
                        None => h.text("not readable"),
                    });
                    h.el("td", &[], |h| {
                        let class = if point.state.is_good() { "state ok" } else { "state no" };
                        h.leaf("span", class, point.state.name());
                        if !point.reason.is_empty() && !names.are_redacted() {
                            h.leaf("div", "soft", &point.reason);
                        }
                    });
                    h.leaf("td", "", if point.proven { "yes" } else { "no" });
                    let size = |bytes: Option<u64>| bytes.map(units::size).unwrap_or_default();
                    h.leaf("td", "num", &size(point.added_bytes));
                    h.leaf("td", "num", &size(point.database_bytes));
                    h.leaf("td", "num", &point.files.map(|files| files.to_string()).unwrap_or_default());
                });
            }
        });
    });
}
