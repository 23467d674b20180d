//! Values of rows: for people, as CSV, as JSON.

use std::fmt::Write;

use lrl_store::source::database::cell::{Cell, real};
use serde_json::{Value, json};

use super::units::{hex, safe};

/// Writes a value for people, cut after `most` characters: NULL as `NULL`, a blob as `x'…'`, and nothing that a terminal would obey.
pub fn shown(cell: &Cell<'_>, most: usize) -> String {
    match cell {
        Cell::Null => "NULL".into(),
        // The text is not the value.
        Cell::Text(b"NULL") => "'NULL'".into(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => real(*number, "Inf"),
        Cell::Text(bytes) => {
            // A character has up to 4 bytes.
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(most * 4 + 4)]);
            cut(&safe(&text), most)
        }
        Cell::Blob(bytes) => {
            let digits = hex(&bytes[..bytes.len().min(most)]);
            cut(&format!("x'{digits}{}", if bytes.len() <= most { "'" } else { "" }), most)
        }
    }
}

/// Returns whether [`shown`] cuts the value.
pub fn is_cut(cell: &Cell<'_>, most: usize) -> bool {
    match cell {
        Cell::Text(bytes) => bytes.len() > most && shown(cell, most).ends_with('…'),
        Cell::Blob(bytes) => bytes.len() * 2 + 3 > most,
        _ => false,
    }
}

/// Cuts a text to a number of characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Adds a row of CSV (RFC 4180), with `\n` at its end. NULL is nothing, an empty text is `""`; a blob is `x'…'`. For a terminal, `escaped` replaces
/// what it would obey.
pub fn csv_row<'a, 'r: 'a>(cells: impl IntoIterator<Item = &'a Cell<'r>>, escaped: bool, out: &mut Vec<u8>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Null => {}
            Cell::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Real(number) => out.extend_from_slice(real(*number, "Inf").as_bytes()),
            Cell::Text(bytes) if escaped => csv_text(safe(&String::from_utf8_lossy(bytes)).as_bytes(), out),
            Cell::Text(bytes) => csv_text(bytes, out),
            Cell::Blob(bytes) => {
                out.extend_from_slice(b"x'");
                let mut digits = String::with_capacity(1 << 10);
                for piece in bytes.chunks(512) {
                    digits.clear();
                    piece.iter().for_each(|byte| {
                        let _ = write!(digits, "{byte:02x}");
                    });
                    out.extend_from_slice(digits.as_bytes());
                }
                out.push(b'\'');
            }
        }
    }
    out.push(b'\n');
}

fn csv_text(text: &[u8], out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty() || text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if !needs_quotes {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Returns a value as JSON: a blob as `{"blob": "hex"}`, a text that is not UTF-8 as `{"text": "hex"}`, an infinite number as `{"real": "Inf"}`.
pub fn to_json(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Real(number) if number.is_finite() => (*number).into(),
        Cell::Real(number) => json!({ "real": real(*number, "Inf") }),
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({ "text": hex(bytes) }),
        },
        Cell::Blob(bytes) => json!({ "blob": hex(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, csv_row, is_cut, shown, to_json};

    #[test]
    fn null_is_told_from_texts_and_nothing_is_a_command() {
        let cells = [
            (Cell::Null, "NULL", "", "null"),
            (Cell::Text(b""), "", "\"\"", "\"\""),
            (Cell::Text(b"NULL"), "'NULL'", "NULL", "\"NULL\""),
            (Cell::Integer(i64::MIN), "-9223372036854775808", "-9223372036854775808", "-9223372036854775808"),
            (Cell::Real(1.0), "1.0", "1.0", "1.0"),
            (Cell::Real(f64::NEG_INFINITY), "-Inf", "-Inf", "{\"real\":\"-Inf\"}"),
            (Cell::Text(b"a,\"b\"\x1b"), "a,\"b\"\\u{1b}", "\"a,\"\"b\"\"\\u{1b}\"", "\"a,\\\"b\\\"\\u001b\""),
            (Cell::Text(b"\xff"), "\u{fffd}", "\u{fffd}", "{\"text\":\"ff\"}"),
            (Cell::Blob(b"\x00\xff"), "x'00ff'", "x'00ff'", "{\"blob\":\"00ff\"}"),
        ];
        for (cell, for_people, csv, json) in cells {
            assert_eq!(shown(&cell, 60), for_people);
            let mut row = Vec::new();
            csv_row([&cell], true, &mut row);
            assert_eq!(String::from_utf8(row).unwrap().trim_end_matches('\n'), csv);
            assert_eq!(to_json(&cell).to_string(), json);
            assert!(!is_cut(&cell, 60));
        }
        let long = "ä".repeat(100);
        assert_eq!(shown(&Cell::Text(long.as_bytes()), 3), "äää…");
        assert_eq!(shown(&Cell::Blob(&[1, 2, 3]), 6), "x'0102…");
        assert!(is_cut(&Cell::Text(long.as_bytes()), 60) && is_cut(&Cell::Blob(&[1, 2, 3]), 6));
        let mut raw = Vec::new();
        csv_row([&Cell::Text(b"\x1b\xff"), &Cell::Null], false, &mut raw);
        assert_eq!(raw, b"\x1b\xff,\n");
    }
}
