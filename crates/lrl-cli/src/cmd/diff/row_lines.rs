//! Rows that differ, and what was found of a table: for people and as JSON.

use lrl_store::ops::query::rows_diff::{Compared, Counts};
use lrl_store::source::database::cell::OwnedCell;
use lrl_store::source::database::merge::RowChange;
use serde_json::{Value, json};

use crate::render::{cells, units};

/// Values of rows are cut after this many characters.
const CELL: usize = 60;

/// The table whose rows are given.
pub(super) struct Table {
    /// The columns, those of the key first.
    pub columns: Vec<String>,
    /// How many columns are the key.
    pub key: usize,
    /// The rows of the document.
    pub rows: Vec<Value>,
    /// Bytes of them.
    pub bytes: usize,
}

/// Says what was found of a table; nothing for people where nothing differs.
pub(super) fn describe(compared: &Compared) -> (Option<String>, Value) {
    let counts = |counts: &Counts, how: String| {
        let text = format!("+{} -{} ~{}{how}", counts.added, counts.removed, counts.changed);
        ((!counts.is_zero()).then_some(text), json!(counts))
    };
    match compared {
        Compared::Unread => (None, json!({ "added": 0, "removed": 0, "changed": 0, "read": false })),
        Compared::ByKey(key, found) => {
            let (text, mut document) = counts(found, format!("  (by {})", units::safe(&key.join(", "))));
            document["key"] = json!(key);
            (text, document)
        }
        Compared::WholeRows(found) => counts(found, "  (no key: whole rows)".into()),
        Compared::OneSided(found) => counts(found, String::new()),
        Compared::Refused(why) => (Some(format!("not compared: {why}")), json!({ "refused": why })),
    }
}

/// Writes a row for people.
pub(super) fn row_text(table: &Table, change: &RowChange<'_>) -> String {
    let one = |name: &String, cell: &OwnedCell| format!("{}={}", units::safe(name), quoted(cell));
    let all = |row: &[OwnedCell]| {
        let parts: Vec<String> = table.columns.iter().zip(row).map(|(name, cell)| one(name, cell)).collect();
        parts.join(" ")
    };
    match change {
        RowChange::Removed(row) => format!("   - {}", all(row)),
        RowChange::Added(row) => format!("   + {}", all(row)),
        RowChange::Changed(old, new) => {
            let key: Vec<String> =
                table.columns.iter().zip(*new).take(table.key).map(|(name, cell)| one(name, cell)).collect();
            let differs = table.columns.iter().zip(old.iter().zip(*new)).filter(|(_, (old, new))| old != new);
            let parts: Vec<String> = differs
                .map(|(name, (old, new))| format!("{}: {} -> {}", units::safe(name), quoted(old), quoted(new)))
                .collect();
            format!("   ~ {}: {}", key.join(" "), parts.join(", "))
        }
    }
}

/// Writes a value for people; texts in quotes, because several stand in a line.
fn quoted(cell: &OwnedCell) -> String {
    let text = cells::shown(&cell.as_cell(), CELL);
    match cell {
        OwnedCell::Text(bytes) if bytes != b"NULL" => format!("'{text}'"),
        _ => text,
    }
}

/// Returns a row as JSON.
pub(super) fn row_json(table: &Table, change: &RowChange<'_>) -> Value {
    let object = |row: &[OwnedCell]| -> Value {
        let members = table.columns.iter().zip(row).map(|(name, cell)| (name.clone(), cells::to_json(&cell.as_cell())));
        Value::Object(members.collect())
    };
    match change {
        RowChange::Removed(row) => json!({ "change": "removed", "from": object(row) }),
        RowChange::Added(row) => json!({ "change": "added", "to": object(row) }),
        RowChange::Changed(old, new) => json!({ "change": "changed", "from": object(old), "to": object(new) }),
    }
}
