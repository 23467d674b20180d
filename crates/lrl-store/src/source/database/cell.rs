//! Values of a database's rows, exactly as they are: their identity, their order under the collation BINARY, and how SQL writes them.

use std::cmp::Ordering;
use std::fmt::Write;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

/// A value of a row, borrowed from SQLite.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'r> {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text; not necessarily UTF-8.
    Text(&'r [u8]),
    /// A blob.
    Blob(&'r [u8]),
}

/// A value of a row, kept.
#[derive(Debug, Clone)]
pub enum OwnedCell {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text; not necessarily UTF-8.
    Text(Vec<u8>),
    /// A blob.
    Blob(Vec<u8>),
}

/// How a database encodes its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
}

impl<'r> From<ValueRef<'r>> for Cell<'r> {
    fn from(value: ValueRef<'r>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes),
            ValueRef::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl From<Cell<'_>> for OwnedCell {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(number),
            Cell::Real(number) => Self::Real(number),
            Cell::Text(bytes) => Self::Text(bytes.to_vec()),
            Cell::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl OwnedCell {
    /// Borrows the value.
    pub fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(number) => Cell::Integer(*number),
            Self::Real(number) => Cell::Real(*number),
            Self::Text(bytes) => Cell::Text(bytes),
            Self::Blob(bytes) => Cell::Blob(bytes),
        }
    }
}

/// Identity: the same type and the same bytes; -0.0 is not 0.0.
impl PartialEq for OwnedCell {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) | (Self::Blob(a), Self::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for OwnedCell {}

impl ToSql for OwnedCell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Cell<'_> {
    /// Returns the name that `typeof()` gives.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        }
    }

    /// Orders values as `ORDER BY … COLLATE BINARY` does in a database of this encoding: NULL, numbers, texts, blobs.
    pub(crate) fn order(&self, other: &Cell<'_>, encoding: Encoding) -> Ordering {
        let class = |cell: &Cell<'_>| match cell {
            Cell::Null => 0,
            Cell::Integer(_) | Cell::Real(_) => 1,
            Cell::Text(_) => 2,
            Cell::Blob(_) => 3,
        };
        match (self, other) {
            (Self::Integer(a), Cell::Integer(b)) => a.cmp(b),
            (Self::Real(a), Cell::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::Integer(a), Cell::Real(b)) => integer_with_real(*a, *b),
            (Self::Real(a), Cell::Integer(b)) => integer_with_real(*b, *a).reverse(),
            (Self::Text(a), Cell::Text(b)) if encoding == Encoding::Utf8 => a.cmp(b),
            (Self::Text(a), Cell::Text(b)) => encoding.encode(a).cmp(&encoding.encode(b)),
            (Self::Blob(a), Cell::Blob(b)) => a.cmp(b),
            _ => class(self).cmp(&class(other)),
        }
    }

    /// Writes the value as SQL that gives it back exactly in a database of this encoding. Nothing in it is a command to a terminal: a text with
    /// control characters, or that is not UTF-8, is written by its bytes.
    pub(crate) fn write_sql(&self, encoding: Encoding, out: &mut String) {
        match self {
            Self::Null => out.push_str("NULL"),
            Self::Integer(number) => {
                let _ = write!(out, "{number}");
            }
            Self::Real(number) => out.push_str(&real(*number, "9e999")),
            Self::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.contains(is_odd) => {
                    out.push('\'');
                    out.push_str(&text.replace('\'', "''"));
                    out.push('\'');
                }
                _ => {
                    out.push_str("CAST(");
                    hex_literal(&encoding.encode(bytes), out);
                    out.push_str(" AS TEXT)");
                }
            },
            Self::Blob(bytes) => hex_literal(bytes, out),
        }
    }
}

impl Encoding {
    /// Returns the bytes that such a database has of a text that SQLite gave in UTF-8.
    fn encode(self, text: &[u8]) -> Vec<u8> {
        let units = || String::from_utf8_lossy(text).encode_utf16().collect::<Vec<u16>>();
        match self {
            Self::Utf8 => text.to_vec(),
            Self::Utf16Le => units().into_iter().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => units().into_iter().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

/// Writes a number with a point or an exponent, as SQLite reads it back; `infinite` is what an infinite one is called.
pub fn real(number: f64, infinite: &str) -> String {
    if number.is_infinite() {
        return format!("{}{infinite}", if number < 0.0 { "-" } else { "" });
    }
    format!("{number:?}")
}

fn is_odd(c: char) -> bool {
    let is_text = matches!(c, '\n' | '\t');
    c.is_control() && !is_text
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn hex_literal(bytes: &[u8], out: &mut String) {
    out.push_str("x'");
    bytes.iter().for_each(|byte| {
        let _ = write!(out, "{byte:02x}");
    });
    out.push('\'');
}

/// Compares exactly: a large integer has no exact floating-point number.
fn integer_with_real(integer: i64, real: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if real >= LIMIT {
        return Ordering::Less;
    }
    if real < -LIMIT {
        return Ordering::Greater;
    }
    let whole = real.trunc();
    integer.cmp(&(whole as i64)).then_with(|| 0.0f64.partial_cmp(&(real - whole)).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::{Cell, Encoding, OwnedCell};

    pub(crate) fn any_cell() -> impl Strategy<Value = OwnedCell> {
        prop_oneof![
            Just(OwnedCell::Null),
            any::<i64>().prop_map(OwnedCell::Integer),
            (-3i64..3).prop_map(OwnedCell::Integer),
            any::<f64>().prop_filter("SQLite has no NaN", |real| !real.is_nan()).prop_map(OwnedCell::Real),
            (-3i8..3).prop_map(|n| OwnedCell::Real(f64::from(n))),
            any::<u64>()
                .prop_map(f64::from_bits)
                .prop_filter("no NaN", |real| !real.is_nan())
                .prop_map(OwnedCell::Real),
            "[\\PCa\n\t'\u{1b}\0]{0,6}".prop_map(|text| OwnedCell::Text(text.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..6).prop_map(OwnedCell::Text),
            prop::collection::vec(any::<u8>(), 0..6).prop_map(OwnedCell::Blob),
        ]
    }

    fn read(conn: &Connection, sql: &str) -> OwnedCell {
        conn.query_row(sql, [], |row| Ok(Cell::from(row.get_ref(0)?).into())).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn sql_gives_back_what_it_was_made_of(cell in any_cell()) {
            let conn = Connection::open_in_memory().unwrap();
            let mut sql = String::from("SELECT ");
            cell.as_cell().write_sql(Encoding::Utf8, &mut sql);
            prop_assert!(!sql.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            prop_assert_eq!(read(&conn, &sql), cell, "{}", sql);
        }

        #[test]
        fn the_order_is_that_of_sqlite(a in any_cell(), b in any_cell()) {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch("CREATE TABLE t(n, v)").unwrap();
            conn.execute("INSERT INTO t VALUES(1, ?1), (2, ?2)", (&a, &b)).unwrap();
            let ranks = "SELECT group_concat(r, ' ') FROM (SELECT rank() OVER (ORDER BY v COLLATE BINARY) AS r FROM t ORDER BY n)";
            let ranks: String = conn.query_row(ranks, [], |row| row.get(0)).unwrap();
            let expected = match ranks.as_str() { "1 2" => std::cmp::Ordering::Less, "2 1" => std::cmp::Ordering::Greater, _ => std::cmp::Ordering::Equal };
            prop_assert_eq!(a.as_cell().order(&b.as_cell(), Encoding::Utf8), expected);
        }
    }

    #[test]
    fn texts_of_utf_16_are_written_and_ordered_as_that_database_does() {
        for (pragma, encoding) in [("UTF-16le", Encoding::Utf16Le), ("UTF-16be", Encoding::Utf16Be)] {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(&format!("PRAGMA encoding='{pragma}'; CREATE TABLE t(v)")).unwrap();
            let texts = ["a\0b", "\u{1b}[2J", "ä", "\u{1F600}", "\u{ffee}", "z"];
            let mut cells: Vec<OwnedCell> = texts.map(|text| OwnedCell::Text(text.into())).into();
            for cell in &cells {
                let mut sql = String::from("SELECT ");
                cell.as_cell().write_sql(encoding, &mut sql);
                assert_eq!(read(&conn, &sql), *cell, "{sql}");
                conn.execute("INSERT INTO t VALUES(?1)", [cell]).unwrap();
            }
            cells.sort_by(|a, b| a.as_cell().order(&b.as_cell(), encoding));
            let mut statement = conn.prepare("SELECT v FROM t ORDER BY v").unwrap();
            let sorted = statement.query_map([], |row| Ok(OwnedCell::from(Cell::from(row.get_ref(0)?)))).unwrap();
            assert_eq!(sorted.collect::<Result<Vec<_>, _>>().unwrap(), cells);
        }
    }
}
