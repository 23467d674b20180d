//! `write_sql` applied to the older state gives the newer one, over schemas and changes; the counts agree with plain lists.

use std::path::Path;

use proptest::prelude::*;
use rusqlite::Connection;

use super::{Compared, Counts, DiffSink, SchemaChange, Session, compare, write_sql};
use crate::error::Result;
use crate::progress::Silent;
use crate::source::database::Inspector;
use crate::source::database::cell::{Cell, OwnedCell};
use crate::source::database::merge::RowChange;

/// Tables of every kind; each has columns a, b, c that take any value.
const TABLES: [&str; 9] = [
    "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c)",
    "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b, c UNIQUE)",
    "CREATE TABLE t(a PRIMARY KEY, b, c)",
    "CREATE TABLE t(a, b, c, PRIMARY KEY(b, a)) WITHOUT ROWID",
    "CREATE TABLE t(a, b, c)",
    "CREATE TABLE t(a NOT NULL, b NOT NULL, c, UNIQUE(a, b))",
    "CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, b REAL, c INTEGER, d AS (c || b), e AS (a) STORED) WITHOUT ROWID",
    "CREATE TABLE t(\"the \"\"a\"\"\" TEXT UNIQUE, b INTEGER NOT NULL UNIQUE, rowid ANY) STRICT",
    "CREATE TABLE t(a, b UNIQUE, c UNIQUE)",
];

/// What each state has besides.
const EXTRAS: [&str; 6] = [
    "",
    "CREATE INDEX i ON t(b); CREATE VIEW v AS SELECT * FROM t;",
    "CREATE INDEX i ON t(b DESC); CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u; END; CREATE TRIGGER h AFTER DELETE ON t BEGIN INSERT INTO u VALUES(1); END;",
    "CREATE TABLE only(x); INSERT INTO only VALUES(1), ('two'); PRAGMA user_version=7;",
    "CREATE UNIQUE INDEX one ON u(x);",
    "CREATE INDEX i ON t(b); CREATE INDEX j ON u(x DESC); INSERT INTO u VALUES(3), (4);",
];

fn value() -> impl Strategy<Value = OwnedCell> {
    prop_oneof![
        3 => (0i64..6).prop_map(OwnedCell::Integer),
        1 => Just(OwnedCell::Null),
        1 => (0i8..4).prop_map(|n| OwnedCell::Real(f64::from(n))),
        1 => any::<f64>().prop_filter("no NaN", |real| !real.is_nan()).prop_map(OwnedCell::Real),
        2 => "[abAB'\n\0\u{1b}]{0,2}".prop_map(|text| OwnedCell::Text(text.into_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(OwnedCell::Blob),
    ]
}

type Rows = Vec<[OwnedCell; 3]>;

fn rows() -> impl Strategy<Value = Rows> {
    prop::collection::vec([value(), value(), value()], 0..14)
}

/// Makes a database; rows that a constraint refuses are not in it.
fn make(path: &Path, table: &str, extra: &str, rows: &Rows) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(&format!("{table}; CREATE TABLE u(x INTEGER PRIMARY KEY);")).unwrap();
    let columns: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_info('t') WHERE cid < 3")
        .unwrap()
        .query_map([], |row| Ok(quote(&row.get::<_, String>(0)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let sql = format!("INSERT OR IGNORE INTO t({}) VALUES(?1, ?2, ?3)", columns.join(", "));
    for row in rows {
        let _ = conn.execute(&sql, (&row[0], &row[1], &row[2]));
    }
    conn.execute_batch(extra).unwrap();
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Everything that `.dump` shows, in an order that does not depend on rowids that nobody declared.
fn dump(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let mut text = String::new();
            for at in 0..columns {
                let cell = OwnedCell::from(Cell::from(row.get_ref(at)?));
                text.push_str(&format!("{cell:?} "));
            }
            Ok(text)
        };
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    let mut all = list(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT IN ('sqlite_sequence', 'sqlite_stat4') ORDER BY type, name",
    );
    for table in ["t", "u", "only", "sqlite_sequence", "sqlite_stat1"] {
        let there: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0)).unwrap();
        if there > 0 {
            let mut rows = list(&format!("SELECT * FROM {table}"));
            rows.sort();
            // SQLite keeps its table of counters once it has made it.
            if table != "sqlite_sequence" || !rows.is_empty() {
                all.push(table.into());
                all.extend(rows);
            }
        }
    }
    all.extend(list("PRAGMA user_version"));
    all.extend(list("PRAGMA integrity_check"));
    all
}

#[derive(Default)]
struct Found {
    ends: Vec<(String, Compared)>,
    schema: Vec<String>,
    rows: u64,
    left_out: Vec<String>,
}

impl DiffSink for Found {
    fn schema(&mut self, change: &SchemaChange) -> Result<()> {
        self.schema.push(format!("{} {}", change.kind, change.name));
        Ok(())
    }
    fn left_out(&mut self, table: &str, _: &str) -> Result<()> {
        self.left_out.push(table.into());
        Ok(())
    }
    fn begin(&mut self, _: &str, _: &[String], _: usize) -> Result<()> {
        Ok(())
    }
    fn row(&mut self, _: &RowChange<'_>) -> Result<()> {
        self.rows += 1;
        Ok(())
    }
    fn end(&mut self, table: &str, compared: &Compared) -> Result<()> {
        self.ends.push((table.into(), compared.clone()));
        Ok(())
    }
}

fn script(a: &Path, b: &Path) -> (String, Vec<(String, String)>) {
    let (from, to) = (Inspector::open(a, &Silent).unwrap(), Inspector::open(b, &Silent).unwrap());
    let session = Session { from: &from, to: &to, unchanged: None };
    let mut text = String::new();
    let left_out = write_sql(
        &session,
        &[],
        &mut |part| {
            text.push_str(part);
            Ok(())
        },
        &Silent,
    );
    (text, left_out.unwrap())
}

fn found(a: &Path, b: &Path, tables: &[String]) -> Found {
    let (from, to) = (Inspector::open(a, &Silent).unwrap(), Inspector::open(b, &Silent).unwrap());
    let mut found = Found::default();
    compare(&Session { from: &from, to: &to, unchanged: None }, tables, &mut found, &Silent).unwrap();
    found
}

fn apply(path: &Path, script: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(script).unwrap_or_else(|error| panic!("{error}\n{script}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn the_script_turns_one_state_into_the_other(
        tables in (0..TABLES.len(), prop_oneof![4 => Just(None), 1 => (0..TABLES.len()).prop_map(Some)]),
        extras in (0..EXTRAS.len(), 0..EXTRAS.len()),
        first in rows(),
        second in rows(),
        kept in 0usize..14,
        analyzed: (bool, bool),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let second: Rows = first.iter().take(kept).chain(&second).cloned().collect();
        make(&a, TABLES[tables.0], EXTRAS[extras.0], &first);
        make(&b, TABLES[tables.1.unwrap_or(tables.0)], EXTRAS[extras.1], &second);
        for (path, _) in [(&a, analyzed.0), (&b, analyzed.1)].into_iter().filter(|(_, is_analyzed)| *is_analyzed) {
            Connection::open(path).unwrap().execute_batch("ANALYZE").unwrap();
        }
        let before = found(&a, &b, &[]);
        let (text, left_out) = script(&a, &b);
        prop_assert!(left_out.is_empty(), "{left_out:?}");
        apply(&a, &text);
        prop_assert_eq!(dump(&a), dump(&b), "{}", text);
        let after = found(&a, &b, &[]);
        prop_assert!(after.schema.is_empty());
        for (table, compared) in after.ends {
            prop_assert!(matches!(&compared, Compared::ByKey(_, counts) | Compared::WholeRows(counts) if counts.is_zero()), "{table} {compared:?}");
        }
        prop_assert!(before.ends.iter().any(|(table, _)| table == "t"));
    }
}

fn two(first: &str, second: &str) -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    Connection::open(&a).unwrap().execute_batch(first).unwrap();
    Connection::open(&b).unwrap().execute_batch(second).unwrap();
    (dir, a, b)
}

#[test]
fn rows_are_counted_by_their_key_and_given_where_their_table_is_named() {
    let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY, t); CREATE TABLE q(x); CREATE TABLE gone(x); INSERT INTO gone VALUES(1);";
    let (_dir, a, b) = two(
        &format!("{schema} INSERT INTO p VALUES(1,'a'),(2,'b'),(3,'c'); INSERT INTO q VALUES(1),(1),(NULL);"),
        &format!(
            "{schema} INSERT INTO p VALUES(1,'a'),(2,'B'),(4,'d'),(5,'e'); INSERT INTO q VALUES(1),(1.0),(NULL),(NULL); DROP TABLE gone;"
        ),
    );
    let all = found(&a, &b, &[]);
    let counts = |added, removed, changed| Counts { added, removed, changed };
    assert_eq!(
        all.ends,
        [
            ("gone".to_string(), Compared::OneSided(counts(0, 1, 0))),
            ("p".to_string(), Compared::ByKey(vec!["id".into()], counts(2, 1, 1))),
            ("q".to_string(), Compared::WholeRows(counts(2, 1, 0))),
        ]
    );
    assert_eq!((all.schema, all.rows), (vec!["table gone".to_string()], 0));
    let named = found(&a, &b, &["P".to_string()]);
    assert_eq!((named.ends.len(), named.rows), (1, 4));
}

#[test]
fn what_only_the_application_can_read_is_refused_and_virtual_tables_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let conn = Connection::open(&path).unwrap();
    conn.create_collation("theirs", |a, b| a.cmp(b)).unwrap();
    conn.execute_batch(
        "CREATE TABLE p(id TEXT COLLATE theirs PRIMARY KEY, t) WITHOUT ROWID; INSERT INTO p VALUES('a', 1);
         CREATE TABLE posts(id INTEGER PRIMARY KEY, body); INSERT INTO posts VALUES(1, 'words');
         CREATE VIRTUAL TABLE posts_fts USING fts5(body, content=posts, content_rowid=id);",
    )
    .unwrap();
    drop(conn);
    let all = found(&path, &path, &[]);
    assert_eq!(all.left_out, ["posts_fts"]);
    let of = |name: &str| all.ends.iter().find(|(table, _)| table == name).map(|(_, compared)| compared.clone());
    assert!(matches!(of("p"), Some(Compared::Refused(why)) if why.contains("application")), "{:?}", of("p"));
    assert!(matches!(of("posts"), Some(Compared::ByKey(..))));
    let b = dir.path().join("b");
    std::fs::copy(&path, &b).unwrap();
    Connection::open(&b).unwrap().execute_batch("UPDATE posts SET body = 'others'").unwrap();
    let (text, left_out) = script(&path, &b);
    assert_eq!(left_out[0].0, "p");
    assert!(text.contains("'rebuild'") && text.contains("UPDATE \"posts\" SET \"body\"='others'"), "{text}");
}

#[test]
fn full_text_indexes_are_rebuilt_however_their_definition_spells_names() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let conn = Connection::open(&a).unwrap();
    conn.execute_batch(
        "CREATE TABLE posts(id INTEGER PRIMARY KEY, body); INSERT INTO posts VALUES(1, 'words');
         CREATE VIRTUAL TABLE found USING FTS5(body, content=Posts, content_rowid=id);",
    )
    .unwrap();
    drop(conn);
    std::fs::copy(&a, &b).unwrap();
    Connection::open(&b).unwrap().execute_batch("UPDATE posts SET body = 'others'").unwrap();
    let (text, _) = script(&a, &b);
    assert!(text.contains("INSERT INTO \"found\"(\"found\") VALUES('rebuild');"), "{text}");
}
