//! What is kept, by the settings in force.

use super::super::model::Page;
use crate::render::html::Html;

/// Writes the rules.
pub fn write(h: &mut Html, page: &Page) {
    let Some(keep) = &page.keep else { return };
    h.leaf("h2", "", "What is kept");
    let sets = format!("Sets: {}.", keep.sets);
    match keep.rules.is_empty() {
        true => h.leaf(
            "p",
            "",
            &format!("Snapshots: all, for no rule says otherwise (keep-… in the table [policy]). {sets}"),
        ),
        false => {
            h.leaf("p", "", &format!("Snapshots: those that one of these rules keeps. {sets}"));
            h.el("pre", &[], |h| h.lines(keep.rules.iter().map(String::as_str)));
        }
    }
    if !keep.others.is_empty() {
        h.el("details", &[], |h| {
            h.leaf("summary", "", "The rest of [policy]");
            h.el("pre", &[], |h| h.lines(keep.others.iter().map(String::as_str)));
        });
    }
}
