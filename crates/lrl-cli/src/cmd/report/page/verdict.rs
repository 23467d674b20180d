//! The top of the page: whether all is well, since when, and what is not.

use lrl_store::ops::report::since;
use lrl_store::time::Time;

use super::super::model::Page;
use super::text;
use crate::render::html::Html;
use crate::render::units;

/// Returns the page's title: how it is, and of what.
pub fn title(page: &Page) -> String {
    let of = match page.stores.as_slice() {
        [store] => match store.sources.as_slice() {
            [source] => source.name.clone(),
            _ => store.name.clone(),
        },
        stores => units::count(stores.len() as u64, "store"),
    };
    match page.wrong() {
        0 => format!("All is well: backups of {of}"),
        number => format!("{} wrong: backups of {of}", units::count(number as u64, "thing")),
    }
}

/// Writes the verdict.
pub fn write(h: &mut Html, page: &Page) {
    let wrong = page.all_wrong();
    let class = if wrong.is_empty() { "verdict" } else { "verdict bad" };
    h.el("div", &[("class", class)], |h| {
        mark(h, wrong.is_empty());
        h.el("div", &[], |h| {
            match wrong.len() {
                0 => h.leaf("h1", "", "All is well"),
                1 => h.leaf("h1", "", "Something is wrong"),
                number => h.leaf("h1", "", &format!("{number} things are wrong")),
            }
            since_when(h, page, wrong.is_empty());
            if !wrong.is_empty() {
                h.el("ul", &[], |h| wrong.iter().for_each(|line| h.leaf("li", "", line)));
            }
        });
    });
    h.el("p", &[("class", "soft")], |h| {
        h.text("As of ");
        text::minute(h, page.now.secs);
        h.text(" UTC. If that is long ago, this page says nothing of today: find out why it is not written any more.");
        match page.judged_by.as_slice() {
            [] => h.text(" No limit is set: a late backup is not counted as wrong (max-age in lrl.toml)."),
            limits => h.text(&format!(" Limits: {}.", limits.join(", "))),
        }
    });
}

fn since_when(h: &mut Html, page: &Page, is_fine: bool) {
    let sources = page.stores.iter().flat_map(|store| &store.sources);
    let time: Option<Time> = if is_fine {
        let since: Option<Vec<Time>> = sources.map(|source| since::fine_since(&source.history, &page.limits)).collect();
        since.and_then(|since| since.into_iter().max())
    } else {
        let conditions = sources.flat_map(|source| source.stand.conditions.iter().map(move |it| (source, it)));
        let since = conditions.filter_map(|(source, it)| since::wrong_since(it, &source.history, page.now));
        since.min()
    };
    let Some(time) = time else { return };
    h.el("p", &[], |h| {
        h.text("Since ");
        text::minute(h, time.secs);
        let passed = units::duration(std::time::Duration::from_secs((page.now.secs - time.secs).max(0).unsigned_abs()));
        h.text(&format!(" ({passed})"));
        if is_fine {
            h.text(", as far as the records go back");
        }
    });
}

fn mark(h: &mut Html, is_fine: bool) {
    let svg = [("class", "mark"), ("viewBox", "0 0 40 40"), ("aria-hidden", "true")];
    h.el("svg", &svg, |h| {
        h.el("circle", &[("cx", "20"), ("cy", "20"), ("r", "20"), ("fill", "currentColor")], |_| {});
        let path = if is_fine { "M11 21l6.5 6.5L29.5 14" } else { "M20 9v14M20 28.5v3" };
        let line = [
            ("d", path),
            ("fill", "none"),
            ("stroke", "#fff"),
            ("stroke-width", "4"),
            ("stroke-linecap", "round"),
            ("stroke-linejoin", "round"),
        ];
        h.el("path", &line, |_| {});
    });
}
