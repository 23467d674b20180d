//! A JSON document with a long list in it, written item by item: memory does not grow with the list, and a failure on the way still
//! leaves one whole document, which says so.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::{Exit, Failure, Result};
use crate::term::Term;

/// The list that is being written; does nothing unless `--json` asks for it.
pub struct List<'t> {
    term: &'t Term,
    first: bool,
}

impl List<'_> {
    /// Writes the next item, which is made only if it is wanted.
    pub fn item<T: Serialize>(&mut self, make: impl FnOnce() -> T) -> Result<()> {
        if !self.term.is_json() {
            return Ok(());
        }
        let comma = if self.first { "" } else { "," };
        self.first = false;
        self.term.json_part(&format!("{comma}\n    {}", text(&make())))
    }
}

/// Writes `{ head…, "name": [items…], tail…, "success": … }`: `fill` writes the items and returns the tail and how the verb ended.
pub fn list(term: &Term, head: Value, name: &str, fill: impl FnOnce(&mut List<'_>) -> Result<(Value, Exit)>) -> Result {
    let mut list = List { term, first: true };
    if !term.is_json() {
        return fill(&mut list).map(|(_, exit)| exit);
    }
    let mut open = String::from("{\n");
    members(head, &mut open);
    open.push_str(&format!("  {}: [", text(&name)));
    term.json_part(&open)?;
    let filled = fill(&mut list);
    let mut close = String::from(if list.first { "],\n" } else { "\n  ],\n" });
    match &filled {
        Ok((tail, exit)) => {
            members(tail.clone(), &mut close);
            close.push_str(&format!("  \"success\": {}\n}}\n", *exit == Exit::Done));
        }
        Err(failure) => {
            close.push_str(&format!("  \"success\": false,\n  \"error\": {}\n}}\n", error(failure)));
        }
    }
    term.json_part(&close)?;
    filled.map(|(_, exit)| exit)
}

fn error(failure: &Failure) -> String {
    text(&failure.json(failure.exit(false).code()))
}

fn members(value: Value, out: &mut String) {
    let members = match value {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, value) in members {
        out.push_str(&format!("  {}: {},\n", text(&key), text(&value)));
    }
}

/// Nothing that is written here can fail to be JSON: keys are strings, numbers are finite.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}
