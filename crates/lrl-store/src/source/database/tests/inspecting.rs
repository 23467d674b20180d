//! The inspector on good, damaged and hostile copies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use super::Lab;
use crate::error::Error;
use crate::format::entry::compare_paths;
use crate::progress::{Observer, Silent};
use crate::source::database::asset_rows::{AssetRow, AssetRows};
use crate::source::database::inspect::Inspector;
use crate::source::database::integrity::Integrity;
use crate::source::database::user_query::Value;

const SCHEMA: &str = "CREATE TABLE users(id TEXT PRIMARY KEY); CREATE TABLE assets(id TEXT PRIMARY KEY, filename_original TEXT, \
                      mime_type TEXT, size_bytes INTEGER, sha256 TEXT, storage_path TEXT, visibility TEXT, \
                      created_by_user_id TEXT REFERENCES users(id), created_at DATETIME);";

impl Lab {
    fn sql(&self, sql: &str) {
        let code = "c = sqlite3.connect(db)\nc.executescript(sys.argv[2])\nc.commit()\nc.close()";
        assert!(super::python(&self.db(), code).arg(sql).status().unwrap().success());
    }

    fn inspect(&self) -> Inspector<'static> {
        Inspector::open(&self.db(), &Silent).unwrap()
    }

    fn rows(&self) -> (AssetRows, Vec<AssetRow>) {
        let mut rows = vec![];
        let found = self.inspect().asset_rows(&mut |row| {
            rows.push(row);
            Ok(())
        });
        (found.unwrap(), rows)
    }
}

#[test]
fn asset_rows_come_in_the_order_of_the_uploads_list() {
    for encoding in ["UTF-8", "UTF-16le"] {
        let lab = Lab::new();
        let paths = ["b/c", "a/x.png", "a-b/y", "a", "é/z", "", "\u{10000}x", "\u{ff00}y", "B", "a/x"];
        let values: String = paths
            .iter()
            .enumerate()
            .map(|(at, path)| {
                format!(
                    "INSERT INTO assets(id, size_bytes, sha256, storage_path) VALUES('{at}', {at}, 'd{at}', '{path}');"
                )
            })
            .collect();
        lab.sql(&format!("PRAGMA encoding='{encoding}'; {SCHEMA} {values} INSERT INTO assets(id) VALUES('none');"));
        let (found, rows) = lab.rows();
        assert_eq!(found, AssetRows::Rows(11));
        assert!(
            rows.is_sorted_by(|a, b| compare_paths(&a.storage_path, &b.storage_path).is_le()),
            "{encoding}: {rows:?}"
        );
        let row = rows.iter().find(|row| row.id == "4").unwrap();
        assert_eq!(
            (row.size_bytes, row.sha256.as_deref(), row.storage_path.as_slice()),
            (Some(4), Some("d4"), "é/z".as_bytes())
        );
        let row = rows.iter().find(|row| row.id == "none").unwrap();
        assert_eq!((row.size_bytes, row.sha256.as_deref(), row.storage_path.as_slice()), (None, None, &b""[..]));
    }
}

#[test]
fn tables_without_the_columns_do_not_apply() {
    let lab = Lab::new();
    lab.sql("CREATE TABLE users(id)");
    assert_eq!(lab.rows().0, AssetRows::NotApplicable("there is no table assets".into()));
    lab.sql("CREATE TABLE assets(id, filename)");
    assert_eq!(
        lab.rows().0,
        AssetRows::NotApplicable("the table assets has no column storage_path, size_bytes, sha256".into())
    );
    assert_eq!(lab.inspect().tables().unwrap().names, ["assets", "users"]);
}

#[test]
fn a_sinks_error_comes_back() {
    let lab = Lab::new();
    lab.sql(&format!("{SCHEMA} INSERT INTO assets(id) VALUES(1), (2);"));
    let result = lab.inspect().asset_rows(&mut |_| Err(Error::NotFound("enough".into())));
    assert!(matches!(result, Err(Error::NotFound(text)) if text.text() == "enough"));
}

#[test]
fn findings_are_listed_and_limited() {
    let lab = Lab::new();
    lab.sql(&format!("PRAGMA foreign_keys=OFF; {SCHEMA} INSERT INTO assets(id, created_by_user_id) VALUES(1, 'x'), (2, 'y'), (3, NULL);"));
    let inspector = lab.inspect();
    assert_eq!(inspector.integrity_check(10).unwrap(), Integrity::default());
    let found = inspector.foreign_key_check(10).unwrap();
    assert_eq!(
        found.described,
        [
            "assets: row 1 refers to a row of users that is not there",
            "assets: row 2 refers to a row of users that is not there"
        ]
    );
    let found = inspector.foreign_key_check(1).unwrap();
    assert_eq!((found.described.len(), found.rows), (1, [("assets".to_string(), 2)].into()));
    let counts = inspector.rows_per_table().unwrap();
    let counts: Vec<_> = counts.into_iter().map(|count| (count.table, count.rows.unwrap())).collect();
    assert_eq!(counts, [("assets".into(), 3), ("users".into(), 0)]);
    drop(inspector);
    // Every page but the first is noise.
    let mut bytes = fs::read(lab.db()).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(lab.db(), bytes).unwrap();
    let inspector = lab.inspect();
    let findings = inspector.integrity_check(10).unwrap().findings;
    assert!(!findings.is_empty() && findings.iter().all(|line| !line.contains(['\n', '*'])), "{findings:?}");
    assert!(inspector.foreign_key_check(10).unwrap().error.is_some());
    assert!(inspector.rows_per_table().unwrap().iter().all(|count| count.rows.is_err()));
    assert!(matches!(inspector.asset_rows(&mut |_| Ok(())), Err(Error::Corrupt { .. })));
}

#[test]
fn assertions_yield_a_value_or_refuse() {
    let lab = Lab::new();
    lab.sql(&format!("{SCHEMA} INSERT INTO users VALUES('u');"));
    let inspector = lab.inspect();
    let scalar = |sql: &str| inspector.scalar(sql, &|| None);
    assert_eq!(scalar("SELECT count(*) FROM users").unwrap(), Value::Integer(1));
    assert_eq!(scalar("SELECT id FROM users; -- all").unwrap(), Value::Text("u".into()));
    assert_eq!(scalar("SELECT id FROM users WHERE 0").unwrap(), Value::Null);
    let other = lab.dir.path().join("other.db");
    for bad in [
        "SELECT nothing",
        "DELETE FROM users",
        &format!("ATTACH '{}' AS o", other.display()),
        "",
        "SELECT load_extension('x')",
        "SELECT 1, 2",
        "VALUES (1), (2)",
        "SELECT count(*) FROM users; SELECT 1",
        "SELECT count(*) FROM users; DROP TABLE users",
        "WITH a AS (SELECT 1) DELETE FROM users",
        "PRAGMA writable_schema = ON",
    ] {
        let result = scalar(bad);
        assert!(matches!(result, Err(Error::Refused(_))), "{bad}: {result:?}");
    }
    assert!(!other.exists());
}

#[test]
fn a_wal_copy_under_an_odd_name_opens_and_leaves_nothing() {
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    for name in [
        &b"a?b#c%41 d&immutable=0.sqlite"[..],
        b"caf\xe9.sqlite",
        "été.sqlite".as_bytes(),
        b":memory:",
        b"file:x?mode=rwc",
    ] {
        let dir = lab.dir.path().join("copies");
        fs::create_dir(&dir).unwrap();
        let path = dir.join(OsStr::from_bytes(name));
        fs::copy(lab.db(), &path).unwrap();
        let inspector = Inspector::open(&path, &Silent).unwrap();
        assert_eq!(inspector.tables().unwrap().names, ["a", "b", "counter", "log"]);
        assert!(inspector.integrity_check(5).unwrap() == Integrity::default());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        drop(inspector);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn what_is_no_database_is_an_error_with_its_path() {
    let lab = Lab::new();
    assert!(matches!(Inspector::open(&lab.db(), &Silent), Err(Error::Io { .. })));
    fs::write(lab.db(), vec![7; 10_000]).unwrap();
    let error = Inspector::open(&lab.db(), &Silent).err().unwrap();
    assert!(matches!(&error, Error::Corrupt { object, .. } if object.ends_with("lrl.db")), "{error}");
    fs::write(lab.db(), b"").unwrap();
    assert!(lab.inspect().tables().unwrap().names.is_empty());
}

#[test]
fn hostile_schemas_are_contained() {
    let lab = Lab::new();
    // A view in place of the table, an index that would take gigabytes, more objects than anyone has.
    lab.sql("CREATE VIEW assets AS SELECT 1 AS id, 2 AS storage_path, 3 AS size_bytes, 4 AS sha256");
    assert_eq!(lab.rows().0, AssetRows::NotApplicable("there is no table assets".into()));
    lab.sql("CREATE TABLE t(x); INSERT INTO t VALUES(1); CREATE INDEX i ON t(length(zeroblob(900000000 + x)))");
    assert!(!lab.inspect().integrity_check(10).unwrap().findings.is_empty());
    lab.sql(
        "PRAGMA writable_schema=ON; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) \
         INSERT INTO sqlite_master SELECT 'table', 't' || i, 't' || i, 2, 'CREATE TABLE t' || i || '(x)' FROM n;",
    );
    assert!(matches!(Inspector::open(&lab.db(), &Silent), Err(Error::Corrupt { .. })));
}

#[test]
fn a_long_check_can_be_interrupted() {
    struct Stop(Instant);
    impl Observer for Stop {
        fn interrupted(&self) -> bool {
            self.0.elapsed() > Duration::from_millis(100)
        }
    }
    let lab = Lab::new();
    lab.sql("CREATE TABLE t(x)");
    let stop = Stop(Instant::now());
    let inspector = Inspector::open(&lab.db(), &stop).unwrap();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    assert!(matches!(inspector.scalar(endless, &|| None), Err(Error::Interrupted)));
    assert!(stop.0.elapsed() < Duration::from_secs(5));
    let inspector = lab.inspect();
    let result = inspector.scalar(endless, &|| Some("enough".into()));
    assert!(matches!(&result, Err(Error::Refused(why)) if why.text() == "enough"), "{result:?}");
    // What is done before it is asked stands, and the next query is not touched by what stopped the last.
    assert_eq!(inspector.scalar("SELECT 7", &|| None).unwrap(), Value::Integer(7));
}

#[test]
fn patience_with_a_hostile_schema_ends() {
    let lab = Lab::new();
    lab.sql("CREATE TABLE t(x)");
    let mut inspector = lab.inspect();
    inspector.set_patience(Duration::from_millis(100));
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    let error = inspector.scalar(endless, &|| None).unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.text().contains("any honest database")), "{error:?}");
    assert_eq!(inspector.tables().unwrap().names, ["t"], "the next statement has its own time");
}

#[test]
fn what_only_the_application_registers_is_not_checkable_and_the_rest_is() {
    let lab = Lab::new();
    let code = "
c = sqlite3.connect(db, isolation_level=None)
c.create_collation('unicase', lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()))
c.create_function('fold', 1, lambda text: text.lower(), deterministic=True)
c.executescript(\"\"\"
CREATE TABLE decks(id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE unicase UNIQUE);
CREATE TABLE tags(tag TEXT NOT NULL PRIMARY KEY COLLATE unicase, usn INTEGER) WITHOUT ROWID;
CREATE TABLE notes(id INTEGER PRIMARY KEY, sfld TEXT);
CREATE INDEX folded ON notes(fold(sfld));
CREATE TABLE cards(id INTEGER PRIMARY KEY, deck INTEGER REFERENCES decks(id), n TEXT UNIQUE);
CREATE TABLE named(deck TEXT REFERENCES decks(name));
CREATE VIRTUAL TABLE words USING fts5(word);
INSERT INTO decks(name) VALUES ('b'), ('A'), ('C'), ('d');
INSERT INTO tags VALUES ('b', 1), ('A', 1), ('C', 1), ('d', 1);
INSERT INTO notes(sfld) VALUES ('b'), ('A'), ('C');
INSERT INTO cards(deck, n) VALUES (1, 'x'), (2, 'y'), (9, 'z');
INSERT INTO words VALUES ('one');
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE words USING fts5(word, tokenize=theirs)' WHERE name = 'words';
\"\"\")
c.close()";
    assert!(super::python(&lab.db(), code).status().unwrap().success());
    let inspector = lab.inspect();
    let found = inspector.integrity_check(20).unwrap();
    assert_eq!(found.findings, Vec::<String>::new());
    for (table, why) in [("decks", "unicase"), ("tags", "unicase"), ("notes", "fold"), ("words", "")] {
        let said = found.not_checkable.iter().any(|line| line.starts_with(&format!("{table}: ")) && line.contains(why));
        assert!(said, "{table}: {:?}", found.not_checkable);
    }
    assert!(found.not_checkable.iter().all(|line| !line.starts_with("cards")), "{:?}", found.not_checkable);
    let orphans = inspector.foreign_key_check(20).unwrap();
    assert_eq!((orphans.rows, orphans.error), ([("cards".to_string(), 1)].into(), None));
    assert_eq!(orphans.not_checkable.len(), 1, "{:?}", orphans.not_checkable);
    let counts = inspector.rows_per_table().unwrap();
    let rows = |table: &str| counts.iter().find(|count| count.table == table).unwrap().rows.clone();
    assert_eq!((rows("decks"), rows("cards"), rows("notes")), (Ok(4), Ok(3), Ok(3)));
    drop(inspector);
    // Damage in a table that has nothing of the application's is found.
    let code = "
c = sqlite3.connect(db, isolation_level=None)
c.create_collation('unicase', lambda a, b: 0)
c.execute('PRAGMA writable_schema = ON')
root = c.execute(\"SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_cards_1'\").fetchone()[0]
size = c.execute('PRAGMA page_size').fetchone()[0]
c.close()
file = open(db, 'r+b'); file.seek((root - 1) * size); page = file.read(size)
file.seek((root - 1) * size); file.write(page.replace(b'y', b'q'))";
    assert!(super::python(&lab.db(), code).status().unwrap().success());
    let found = lab.inspect().integrity_check(20).unwrap();
    assert!(found.findings.iter().any(|line| line.contains("sqlite_autoindex_cards_1")), "{found:?}");
}

#[test]
fn names_beyond_the_bound_are_counted() {
    let lab = Lab::new();
    let long = "n".repeat(600);
    lab.sql(&format!("CREATE TABLE users(id); CREATE TABLE \"{long}\"(id); CREATE TABLE zz(id);"));
    let tables = lab.inspect().tables().unwrap();
    assert_eq!((tables.names, tables.more), (vec!["users".to_string(), "zz".into()], 1));
    assert!(lab.inspect().has_table(&long.to_uppercase()).unwrap() && !lab.inspect().has_table("none").unwrap());
    let many: String = (0..1000).map(|n| format!("CREATE TABLE \"{n:0100}\"(id);")).collect();
    lab.sql(&many);
    let tables = lab.inspect().tables().unwrap();
    assert_eq!((tables.names.len(), tables.more), (655, 348));
    assert!(lab.inspect().rows_per_table().unwrap().len() <= 656);
}

#[test]
fn long_values_of_asset_rows_are_never_read() {
    let lab = Lab::new();
    lab.sql(&format!(
        "{SCHEMA} INSERT INTO assets(id, storage_path, size_bytes, sha256) VALUES
            ('a', printf('%.*c', 100000, 'p'), 1, 'd'), (printf('%.*c', 900, 'i'), 'a', 1, printf('%.*c', 900, 'd'))"
    ));
    let (_, rows) = lab.rows();
    let [long, other] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((long.storage_path.as_slice(), long.long_path), (&b""[..], Some(100_000)));
    let text = "(a value of 900 bytes)";
    assert_eq!((other.id.as_str(), other.sha256.as_deref(), other.long_path), (text, Some(text), None));
}
