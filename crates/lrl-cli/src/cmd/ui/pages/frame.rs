//! The frame of the pages: where one is, and where one can go.

use super::site::{Asked, Site};
use crate::render::html::{self, Forms, Html};
use lrl_store::store::SnapshotName;

/// Writes a page.
pub fn page(site: &Site<'_>, title: &str, inside: impl FnOnce(&mut Html)) -> String {
    html::page(&format!("{title}: lrl"), Forms::Here, |h| {
        h.el("a", &[("class", "skip"), ("href", "#content")], |h| h.text("Skip to the content"));
        h.el("nav", &[("class", "top"), ("aria-label", "Pages")], |h| {
            for (name, page) in [("State", ""), ("Snapshots", "snapshots"), ("Rows", "rows"), ("Search", "search")] {
                let link = site.base.link(page, &[]);
                h.el("a", &[("href", &link)], |h| h.text(name));
            }
        });
        h.el("main", &[("id", "content"), ("tabindex", "-1")], inside);
        h.el("footer", &[], |h| {
            h.leaf("p", "", "Served by lrl ui on this machine. Nothing can be changed here. All times are in UTC.");
        });
    })
}

/// Writes where in a snapshot a path is, with a link to each directory above it.
pub fn trail(h: &mut Html, asked: &Asked<'_>, name: &SnapshotName, path: &[u8]) {
    h.el("nav", &[("class", "trail"), ("aria-label", "Path")], |h| {
        h.el("a", &[("href", &asked.link("browse", name, b""))], |h| h.text(&name.id.short().to_string()));
        let mut end = 0;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            end += part.len() + usize::from(end > 0);
            h.text(" / ");
            let shown = crate::render::units::path(part);
            match path.get(..end) {
                Some(above) if above.len() < path.len() => {
                    h.el("a", &[("href", &asked.link("browse", name, above))], |h| h.text(&shown));
                }
                _ => h.leaf("span", "", &shown),
            }
        }
    });
}

/// Writes a command to copy, and what it does.
pub fn command(h: &mut Html, what: &str, command: &str) {
    h.leaf("p", "", what);
    h.el("pre", &[("tabindex", "0")], |h| h.lines([command]));
}

/// Writes a form that asks for a page.
pub fn form(
    h: &mut Html,
    action: &str,
    label: &str,
    field: (&'static str, &str),
    hidden: &[(&str, &str)],
    button: &str,
) {
    h.el("form", &[("action", action), ("method", "get")], |h| {
        h.el("label", &[], |h| {
            h.leaf("span", "soft", label);
            h.void("input", &[("type", "search"), ("name", field.0), ("value", field.1), ("autocomplete", "off")]);
        });
        for (name, value) in hidden {
            h.void("input", &[("type", "hidden"), ("name", name), ("value", value)]);
        }
        h.el("button", &[("type", "submit")], |h| h.text(button));
    });
}
