//! Several databases: which checks are made of which, and what the record keeps of each.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::Connection;

use super::{Options, RowsCheck, Site, check, names, of, rows_check};
use crate::ops::drill::past_drills::Evidence;
use crate::ops::drill::{Assertion, RequiredTables, drill_set};
use crate::progress::Silent;
use crate::time::Time;

fn site() -> Site {
    let site = Site::new();
    site.sql("a.db", "CREATE TABLE notes(id); INSERT INTO notes VALUES (1), (2)");
    site.sql("users/ann/db.sqlite", "CREATE TABLE entries(id); INSERT INTO entries VALUES (1)");
    site.sql("users/bob/db.sqlite", "CREATE TABLE entries(id)");
    site.file("files/x", b"x");
    site
}

#[test]
fn each_database_gets_the_checks_that_are_meant_for_it() {
    let site = site();
    let required = [
        RequiredTables::new("users/*/db.sqlite", vec!["entries".into()]).unwrap(),
        RequiredTables::new("users/bob/db.sqlite", vec!["feeds".into()]).unwrap(),
    ];
    let assertions = [
        Assertion::parse("SELECT count(*) FROM notes", "= 2").unwrap(),
        Assertion::parse("users/ann/db.sqlite: SELECT count(*) FROM entries", "= 1").unwrap(),
    ];
    let checks = [
        rows_check("SELECT 'files/x' AS path FROM notes"),
        RowsCheck {
            database: Some(b"users/ann/db.sqlite".to_vec()),
            ..rows_check("SELECT 'files/x' AS path FROM entries")
        },
    ];
    let options = Options { required: &required, assertions: &assertions, checks: &checks, ..site.options() };
    let report = site.both(1, &options);
    let own = ["hash_verification", "sqlite_open", "integrity_check", "foreign_keys"];
    assert_eq!(names(of(&report, "a.db")), [&own[..], &["rows", "assertion"]].concat());
    let ann = of(&report, "users/ann/db.sqlite");
    assert_eq!(
        names(ann),
        ["hash_verification", "sqlite_open", "schema_valid", "integrity_check", "foreign_keys", "rows", "assertion"]
    );
    assert!(ann.success && of(&report, "a.db").success);
    let bob = of(&report, "users/bob/db.sqlite");
    assert_eq!(check(bob, "schema_valid").error.as_deref(), Some("missing tables: feeds"));
    assert!(!report.success);
    // `--require-table` is about the first database.
    let options = Options { required_tables: vec!["none".into()], ..site.options() };
    let report = site.both(2, &options);
    assert_eq!(check(of(&report, "a.db"), "schema_valid").error.as_deref(), Some("missing tables: none"));
    assert_eq!(names(of(&report, "users/bob/db.sqlite")), own);
    // What names a database that is not there fails, and says so.
    let assertions = [Assertion::parse("b.db: SELECT 1", "= 1").unwrap()];
    let checks = [RowsCheck { database: Some(b"c.db".to_vec()), ..rows_check("SELECT 1 AS path") }];
    let report = site.both(3, &Options { assertions: &assertions, checks: &checks, ..site.options() });
    assert_eq!(
        report.errors,
        [
            "the assertion \"b.db: SELECT 1 = 1\" is about the database b.db, which is not there",
            "the check \"files\" is about the database c.db, which is not there"
        ]
    );
}

#[test]
fn the_database_of_the_manual_alone_gets_the_checks_of_the_manual() {
    let site = Site::new();
    site.sql("lrl.db", "CREATE TABLE t(x)");
    let (name, snapshot, _) = site.back_up(1);
    let report = site.drill((&name, &snapshot), &site.options());
    assert!(names(of(&report, "lrl.db")).contains(&"asset_rows"));
    assert_eq!(
        check(of(&report, "lrl.db"), "schema_valid").error.as_deref(),
        Some("missing tables: users, content, assets")
    );
    site.sql("other.db", "CREATE TABLE t(x)");
    let report = site.both(2, &site.options());
    assert!(report.success, "{report:#?}");
    assert!(!names(of(&report, "lrl.db")).contains(&"asset_rows"));
}

#[test]
fn a_record_has_each_database_and_the_next_drill_compares_by_path() {
    let site = site();
    let rows = (1..=30).map(|n| format!("({n})")).collect::<Vec<_>>().join(",");
    let keys = "CREATE TABLE parents(id INTEGER PRIMARY KEY); CREATE TABLE children(p REFERENCES parents(id)); INSERT INTO children VALUES (1)";
    site.sql("users/bob/db.sqlite", &format!("INSERT INTO entries VALUES {rows}; PRAGMA foreign_keys = OFF; {keys}"));
    let report = site.both(1, &site.options());
    assert!(report.success, "{report:#?}");
    let record = site.record(&report, 100);
    let paths: Vec<&[u8]> = record.databases.iter().map(|one| one.path.as_slice()).collect();
    assert_eq!(paths, [&b"a.db"[..], b"users/ann/db.sqlite", b"users/bob/db.sqlite"]);
    let bob = record.database(b"users/bob/db.sqlite").unwrap();
    assert_eq!(bob.rows.as_ref().unwrap()["entries"], 30);
    assert_eq!(bob.orphans, Some(BTreeMap::from([("children".to_string(), 1)])));
    assert!(bob.root.is_some() && bob.sha256.is_some() && !bob.malformed);
    assert_eq!(record.parts, ["database", "files"]);
    assert!(record.checks.iter().any(|one| one.database.as_deref() == Some(b"a.db") && one.of == "database"));
    // Ann's table of the same name did not shrink; Bob's did, and has more rows without their parent.
    site.sql(
        "users/bob/db.sqlite",
        "DELETE FROM entries WHERE id > 3; PRAGMA foreign_keys = OFF; INSERT INTO children VALUES (2)",
    );
    let (name, snapshot, _) = site.back_up(2);
    let report = site.drill((&name, &snapshot), &site.options());
    let shrunk = report.shrunk();
    assert_eq!(shrunk.len(), 1);
    assert_eq!(
        (shrunk[0].database.as_deref(), shrunk[0].rows, shrunk[0].rows_before),
        (Some("users/bob/db.sqlite"), 3, 30)
    );
    let keys = check(of(&report, "users/bob/db.sqlite"), "foreign_keys");
    assert!(!keys.passed && of(&report, "users/ann/db.sqlite").success && !report.success, "{keys:#?}");
    let record = site.record(&report, 200);
    assert_eq!(record.failed_checks, ["database users/bob/db.sqlite: foreign_keys"]);
    assert_eq!((record.parts, record.unproven_parts), (vec!["files".to_string()], vec!["database".to_string()]));
    let before = record.before.unwrap();
    assert_eq!((before.databases.len(), before.databases[2].rows["entries"]), (3, 30));
}

#[test]
fn one_malformed_database_fails_the_snapshot_and_every_other_with_the_same_bytes() {
    let site = site();
    let path = site.root().join("users/ann/db.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0x55);
    fs::write(&path, bytes).unwrap();
    let report = site.both(1, &site.options());
    assert!(!of(&report, "users/ann/db.sqlite").success && of(&report, "a.db").success);
    let record = site.record(&report, 100);
    assert!(record.database(b"users/ann/db.sqlite").unwrap().malformed);
    assert_eq!(record.unproven_parts, ["database"]);
    site.file("files/y", b"y");
    let (name, mut snapshot, _) = site.back_up(2);
    let now = Time { secs: 1_800_000_000, nanos: 0 };
    let on = |snapshot: &_| Evidence::read(&site.store, &name.source, now, &Silent).unwrap().on(&name.id, snapshot);
    assert!(on(&snapshot).is_some_and(|proof| proof.is_of_same_database && proof.failed.database));
    // Where the SHA-256 of the image is not known, its tree tells.
    snapshot.databases.iter_mut().for_each(|part| part.sha256 = None);
    assert!(on(&snapshot).is_some_and(|proof| proof.is_of_same_database));
    snapshot.databases.retain(|part| part.path == b"a.db");
    assert_eq!(on(&snapshot), None);
}

#[test]
fn a_set_is_whole_with_every_database_of_its_snapshot() {
    let site = site();
    let (_, _, manifest) = site.back_up(1);
    let text = fs::read_to_string(&manifest).unwrap();
    let drill = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(document["backups"].as_array_mut().unwrap());
        fs::write(&manifest, document.to_string()).unwrap();
        drill_set(&manifest, &site.options(), &Silent).unwrap()
    };
    let report = drill(&|_| {});
    assert!(report.success, "{report:#?}");
    let bob = of(&report, "users/bob/db.sqlite");
    assert!(bob.name.ends_with(" (users/bob/db.sqlite)") && check(bob, "matches_snapshot").applies, "{bob:#?}");
    let report = drill(&|files| drop(files.remove(1)));
    assert!(
        !report.success && report.errors[0].contains("holds the database users/ann/db.sqlite, and it has no entry"),
        "{:?}",
        report.errors
    );
    assert_eq!(report.record("lab", Time { secs: 1, nanos: 0 }, "test").unproven_parts, ["database"]);
    // Files that were exchanged have the digests of their entries, and not those of the snapshot.
    let report = drill(&|files| {
        let (a, b) = (files[0]["path"].clone(), files[1]["path"].clone());
        (files[0]["path"], files[1]["path"]) = (b, a);
    });
    for path in ["a.db", "users/ann/db.sqlite"] {
        assert!(
            !check(of(&report, path), "matches_snapshot").passed
                && check(of(&report, path), "hash_verification").passed
        );
    }
    let report = drill(&|files| files[1]["path"] = files[0]["path"].clone());
    assert_eq!(report.verifications[1].error.as_deref(), Some("A set has only one database of each path"));
    let report = drill(&|files| files[1]["path"] = "../x".into());
    assert_eq!(report.verifications[1].error.as_deref(), Some("Its path leads out of the root"));
}

/// The shapes of real applications: an index in a collation of their own (Anki, Chromium), virtual tables of extensions (vec0), full text, STRICT,
/// WAL.
#[test]
fn what_only_an_application_knows_is_a_note() {
    let site = Site::new();
    let path = site.root().join("collection.anki2");
    let conn = Connection::open(&path).unwrap();
    conn.create_collation("unicase", |a, b| a.to_lowercase().cmp(&b.to_lowercase())).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE decks(id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE unicase);
         CREATE UNIQUE INDEX idx_decks_name ON decks(name);
         CREATE TABLE tags(tag TEXT NOT NULL PRIMARY KEY COLLATE unicase, usn INTEGER) WITHOUT ROWID;
         CREATE TABLE fields(ntid INTEGER NOT NULL, ord INTEGER NOT NULL, PRIMARY KEY (ntid, ord)) STRICT, WITHOUT ROWID;
         CREATE VIRTUAL TABLE search USING fts5(text);
         CREATE VIRTUAL TABLE tree USING rtree(id, a, b);
         INSERT INTO decks(name) VALUES ('b'), ('A'); INSERT INTO tags VALUES ('x', 1); INSERT INTO fields VALUES (1, 2);
         INSERT INTO search VALUES ('word'); INSERT INTO tree VALUES (1, 2, 3);
         PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql)
         VALUES ('table', 'vectors', 'vectors', 0, 'CREATE VIRTUAL TABLE vectors USING vec0(embedding float[384])');",
    )
    .unwrap();
    drop(conn);
    let report = site.both(1, &site.options());
    assert!(report.success, "{report:#?}");
    let found = of(&report, "collection.anki2");
    let note = check(found, "integrity_check").note.as_deref().unwrap();
    assert!(note.starts_with("not checkable here: ") && note.contains("unicase"), "{note}");
    let rows = found.rows.as_ref().unwrap();
    assert_eq!((rows.get("decks"), rows.get("fields")), (Some(&2), Some(&1)), "{rows:?}");
}
