//! A site as the text of an `lrl.toml` that describes it in full.

use std::fmt::Write;
use std::path::Path;

use super::model::Site;
use super::rules::{DatabaseRule, FilesRule, Place, RowsCheck};

/// Writes a string in TOML's form, in quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes a list of strings in TOML's form; a long one on several lines.
pub fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    let line = format!("[{}]", quoted.join(", "));
    if line.len() <= 100 {
        return line;
    }
    let mut out = String::from("[\n");
    for text in quoted {
        let _ = writeln!(out, "    {text},");
    }
    out.push(']');
    out
}

fn place(place: &Place) -> String {
    match place {
        Place::Path(path) => format!("path = {}\n", quoted(path)),
        Place::Pattern(pattern) => format!("pattern = {}\n", quoted(pattern)),
    }
}

/// Writes a `[[database]]`.
pub fn database(rule: &DatabaseRule) -> String {
    let mut out = format!("[[database]]\n{}", place(&rule.place));
    if !rule.require_tables.is_empty() {
        let _ = writeln!(out, "require-tables = {}", list(&rule.require_tables));
    }
    out
}

/// Writes a `[[files]]`.
pub fn files(rule: &FilesRule) -> String {
    let mut out = format!("[[files]]\n{}", place(&rule.place));
    for (key, patterns) in [("exclude", &rule.exclude), ("secret", &rule.secret)] {
        if !patterns.is_empty() {
            let _ = writeln!(out, "{key} = {}", list(patterns));
        }
    }
    out
}

/// Writes a `[[check]]`.
pub fn check(check: &RowsCheck) -> String {
    let mut out = String::from("[[check]]\n");
    for (key, value) in [("name", &check.name), ("database", &check.database)] {
        if let Some(value) = value {
            let _ = writeln!(out, "{key} = {}", quoted(value));
        }
    }
    let _ = writeln!(out, "rows = {}", quoted(&check.rows));
    out
}

/// Writes the whole site. Where a preset has tables and the site has none of them, that is said with an empty list.
pub fn site(site: &Site, data_dir: &Path) -> Result<String, String> {
    let utf8 = |path: &Path| {
        path.to_str()
            .map(quoted)
            .ok_or_else(|| format!("{} is not UTF-8, which lrl.toml cannot express", path.display()))
    };
    let mut out = String::new();
    let Site { root, app, databases, files: rules, plain, checks, source } = site;
    match root {
        Some(root) => _ = writeln!(out, "root = {}", utf8(root)?),
        None => {
            _ = writeln!(out, "# The manual's layout: lrl.db, assets/ and storage/.\ndata-dir = {}", utf8(data_dir)?)
        }
    }
    if let Some(app) = app {
        let _ = writeln!(out, "app = {}", quoted(&app.name));
    }
    if let Some(source) = source {
        let _ = writeln!(out, "source = {}", quoted(source));
    }
    if !plain.is_empty() || app.is_some_and(|app| !app.plain.is_empty()) {
        let _ = writeln!(out, "plain = {}", list(plain));
    }
    let of_app = app.map(|app| &app.tables);
    let empty = [
        ("database", databases.is_empty() && of_app.is_some_and(|t| t.databases.is_some())),
        ("files", rules.is_empty() && of_app.is_some_and(|t| t.files.is_some())),
        ("check", checks.is_empty() && of_app.is_some_and(|t| t.checks.is_some())),
    ];
    for (name, _) in empty.iter().filter(|(_, is_empty)| *is_empty) {
        let _ = writeln!(out, "{name} = []");
    }
    let tables = databases.iter().map(database).chain(rules.iter().map(files)).chain(checks.iter().map(check));
    tables.for_each(|table| out.extend(["\n", &table]));
    Ok(out)
}
