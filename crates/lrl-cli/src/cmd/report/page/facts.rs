//! The facts that an operator asks for first, one card each.

use std::time::Duration;

use lrl_store::ops::status::{Newest, PartAge};

use super::super::model::{Page, SourcePage, StorePage};
use super::text;
use crate::render::html::Html;
use crate::render::units;

/// Writes the cards.
pub fn write(h: &mut Html, page: &Page, source: &SourcePage, store: &StorePage) {
    let status = &source.stand.status;
    let now = page.now.secs;
    h.el("dl", &[("class", "facts")], |h| {
        card(h, "Last good backup", |h| match &status.good {
            Some(good) => {
                big(h, |h| text::minute(h, good.created.secs));
                small(h, &format!("{}; snapshot {}", text::before(good.created.secs, now), good.name.id.short()));
                for (name, part) in [("database", &status.database), ("uploads", &status.uploads)] {
                    if part.known && part.good != status.good {
                        small(h, &of_part(name, part));
                    }
                }
            }
            None => bad(h, "none"),
        });
        if let Some(Newest { name, judgement, .. }) = status.newest.as_ref().filter(|it| !it.judgement.is_good()) {
            card(h, "Newest snapshot", |h| {
                bad(h, judgement.state.name());
                let why = page.names.or(format!(": {}", judgement.reason), "");
                small(h, &format!("{}{why}", name.id.short()));
            });
        }
        card(h, "Last proven restorable", |h| {
            match &status.passed_drill {
                Some(drill) => {
                    big(h, |h| text::minute(h, drill.finished.secs));
                    small(
                        h,
                        &format!(
                            "{}; the data of {}",
                            text::before(drill.finished.secs, now),
                            text::of_stamp(&drill.timestamp)
                        ),
                    );
                    if let Some(seconds) = drill.restore_seconds {
                        small(h, &format!("brought back in {}", text::took(seconds)));
                    }
                }
                None => bad(h, "never"),
            }
            if status.drill.as_ref().is_some_and(|drill| !drill.passed) {
                h.leaf("dd", "bad-text", "The last drill failed.");
            }
        });
        card(h, "Proven", |h| {
            big(h, |h| h.text(&format!("{} of {}", status.proven, units::count(status.snapshots, "snapshot"))));
            if let Some(oldest) = &status.oldest_unproven {
                small(h, &format!("the oldest that is not is {}", oldest.id.short()));
            }
        });
        copies(h, page, source);
        card(h, "Last check of the store", |h| match status.check {
            Some((time, passed)) => {
                big(h, |h| text::minute(h, time.secs));
                match passed {
                    true => small(h, "nothing wrong"),
                    false => h.leaf("dd", "bad-text", "It found damage."),
                }
            }
            None => soft(h, "never"),
        });
        if let Some(disk) = store.space.as_ref().and_then(|space| space.disks.first()) {
            card(h, "Free on the disk", |h| {
                let percent = disk.free as f64 * 100.0 / disk.total.max(1) as f64;
                big(h, |h| h.text(&format!("{} ({percent:.0} %)", units::size(disk.free))));
                small(h, &super::disk::last_day(disk));
            });
        }
    });
    if let Some(newest) = &source.history.newest {
        let mut parts = Vec::new();
        parts.extend(Some(&newest.host).filter(|host| !host.is_empty()).map(|host| format!("Machine: {host}")));
        parts.extend((!newest.tags.is_empty()).then(|| format!("tags: {}", newest.tags.join(", "))));
        if newest.databases.len() > 1 {
            let named: Vec<String> = newest
                .databases
                .iter()
                .take(8)
                .map(|(name, size)| format!("{name} ({})", units::size(*size)))
                .collect();
            let more = newest.databases.len().saturating_sub(named.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("databases: {}{more}", named.join(", ")));
        }
        if !page.names.are_redacted() && !parts.is_empty() {
            h.leaf("p", "soft", &parts.join("; "));
        }
    }
}

fn copies(h: &mut Html, page: &Page, source: &SourcePage) {
    if source.lacks_copy {
        card(h, "Second store", |h| {
            bad(h, "nothing yet");
            small(h, "lrl.toml names one (copy-to), and nothing has come there");
        });
    }
    for (copy, behind, age) in &source.stand.copies {
        card(h, "Second store", |h| {
            match (behind, age) {
                (0, _) => big(h, |h| h.text("has everything")),
                (behind, age) => {
                    big(h, |h| h.text(&format!("{} behind", units::count(*behind, "snapshot"))));
                    if let Some(age) = age {
                        small(h, &format!("the oldest it lacks is {} old", units::duration(Duration::from_secs(*age))));
                    }
                }
            }
            h.el("dd", &[("class", "soft")], |h| {
                h.text(&page.names.or(format!("{}, copied ", copy.place), "copied "));
                text::minute(h, copy.at);
            });
        });
    }
}

fn of_part(name: &str, part: &PartAge) -> String {
    let good = part.good.as_ref().map_or("none".into(), |good| units::moment(good.created.secs));
    format!("of the {name}: {good}")
}

fn card(h: &mut Html, name: &str, inside: impl FnOnce(&mut Html)) {
    h.el("div", &[], |h| {
        h.leaf("dt", "", name);
        inside(h);
    });
}

fn big(h: &mut Html, inside: impl FnOnce(&mut Html)) {
    h.el("dd", &[("class", "big")], inside);
}

fn bad(h: &mut Html, text: &str) {
    h.leaf("dd", "big bad-text", text);
}

fn soft(h: &mut Html, text: &str) {
    h.leaf("dd", "big soft", text);
}

fn small(h: &mut Html, text: &str) {
    h.leaf("dd", "soft", text);
}
