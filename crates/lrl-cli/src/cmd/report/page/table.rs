//! Tables of a page.

use crate::render::html::Html;

/// Writes a table that scrolls by itself where it is too wide. It is no landmark: a page with several sources has many of one name.
pub fn table(h: &mut Html, label: &str, inside: impl FnOnce(&mut Html)) {
    let group = [("class", "wide"), ("tabindex", "0"), ("role", "group"), ("aria-label", label)];
    h.el("div", &group, |h| h.el("table", &[], inside));
}

/// Writes the heading of a table; `>` begins the name of a column of numbers.
pub fn head(h: &mut Html, names: &[&str]) {
    h.el("thead", &[], |h| {
        h.el("tr", &[], |h| names.iter().for_each(|name| column(h, name)));
    });
}

fn column(h: &mut Html, name: &str) {
    let (class, name) = name.strip_prefix('>').map_or(("", name), |name| ("num", name));
    let attributes = [("scope", "col"), ("class", class)];
    h.el("th", if class.is_empty() { &attributes[..1] } else { &attributes }, |h| h.text(name));
}
