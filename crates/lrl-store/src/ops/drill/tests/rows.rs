//! Rows that name files: what is found, what is refused, and what stays bounded.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Options, Report, RowsCheck, Site, check, of, rows_check};
use crate::units::hex;

const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const HELLO_MD5: &str = "5d41402abc4b2a76b9719d911017c592";
const HELLO_BASE64: &str = "XUFAKrxLKna5cZ2REBfFkg==";

/// A site with `data.db` and a few files that say "hello".
fn site() -> Site {
    let site = Site::new();
    for path in ["files/ab/one", "files/ab/two", "files/three", "other/four"] {
        site.file(path, b"hello");
    }
    site.sql("data.db", "CREATE TABLE blobs(path, size, checksum); CREATE TABLE users(id)");
    site
}

fn with(site: &Site, second: u64, checks: &[RowsCheck]) -> Report {
    site.both(second, &Options { checks, ..site.options() })
}

#[track_caller]
fn fact(report: &Report, key: &str) -> Value {
    check(of(report, "data.db"), "rows").facts.get(key).cloned().unwrap_or_default()
}

#[test]
fn rows_lead_to_files_by_every_kind_of_digest() {
    let site = site();
    let blob = HELLO_SHA256;
    site.sql(
        "data.db",
        "INSERT INTO blobs VALUES ('ab/one', 5, NULL), ('./ab//two', '5', ''), ('ab/../three', 5.0, NULL), (NULL, 1, 'x'), ('', 1, 'x')",
    );
    let queries = [
        format!("SELECT 'files/'||path AS path, size, '{HELLO_SHA256}' AS sha256 FROM blobs"),
        format!("SELECT upper('{HELLO_MD5}') AS MD5, size, 'files/'||path AS path FROM blobs;"),
        format!("SELECT '{HELLO_BASE64}' AS md5_base64, 'files/'||path AS path FROM blobs"),
        format!("WITH f AS (SELECT 'files/'||path path, x'{blob}' sha256 FROM blobs) SELECT * FROM f -- all"),
        "SELECT 'files/'||path AS path FROM blobs".into(),
    ];
    for (second, query) in queries.iter().enumerate() {
        let report = with(&site, second as u64 + 1, &[rows_check(query)]);
        let found = check(of(&report, "data.db"), "rows");
        // '' makes the directory itself, which is no file.
        assert_eq!(found.facts["missing"], json!(1), "{query}: {found:#?}");
        assert_eq!((&found.facts["rows"], &found.facts["empty_paths"]), (&json!(5), &json!(1)), "{query}");
        assert_eq!((&found.facts["wrong_size"], &found.facts["wrong_digest"]), (&json!(0), &json!(0)), "{query}");
    }
    site.sql("data.db", "DELETE FROM blobs WHERE path = ''");
    let report = with(&site, 10, &[rows_check(&queries[2])]);
    assert!(report.success, "{report:#?}");
    let note = check(of(&report, "data.db"), "rows").note.clone().unwrap();
    assert_eq!(note, "files: 4 rows; 1 without a path");
    assert_eq!(fact(&report, "orphans"), json!(0));
}

#[test]
fn what_is_missing_or_wrong_is_counted_and_the_first_are_named() {
    let site = site();
    let rows = (0..30).map(|n| format!("('gone/{n:02}', NULL, NULL)")).collect::<Vec<_>>().join(",");
    site.sql(
        "data.db",
        &format!("INSERT INTO blobs VALUES {rows}, ('ab/one', 6, NULL), ('ab/two', 'big', NULL), ('three', 5, 'AAAA')"),
    );
    site.sql("data.db", "INSERT INTO blobs VALUES ('../../etc/passwd', 1, NULL)");
    let query = "SELECT 'files/'||path AS path, size, checksum AS md5_base64 FROM blobs
                 UNION ALL SELECT '/etc/passwd', 1, NULL UNION ALL SELECT printf('%.*c', 70000, 'x'), 1, NULL";
    let report = with(&site, 1, &[rows_check(query)]);
    let found = check(of(&report, "data.db"), "rows");
    assert_eq!(
        found.error.as_deref(),
        Some(
            "36 of 36 rows lead to no stored file of their size and digest: 30 missing, 2 of another size, 1 of another digest, 3 outside the root"
        )
    );
    let findings = found.facts["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 20 + 2 + 1 + 3);
    let said = |text: &str| assert!(findings.iter().any(|line| line == text), "{text}: {findings:#?}");
    said("files/gone/00: no such file");
    said("files/ab/one: the file has 5 bytes, the row says 6");
    said("files/ab/two: the row's size is no number of bytes: \"big\"");
    said(&format!("files/three: the file's MD5 is {HELLO_BASE64}, the row says AAAA"));
    said("files/../../etc/passwd: its path leads out of the root");
    said("/etc/passwd: its path is absolute and not below the root");
    said("a row: its path has 70000 bytes, which no file's has");
    assert!(!report.success);
}

#[test]
fn files_without_a_row_are_counted_below_the_common_directory_and_are_no_failure() {
    let site = site();
    for n in 0..25 {
        site.file(format!("files/more/{n:02}"), b"x");
    }
    site.sql("data.db", "INSERT INTO blobs VALUES ('ab/one', 5, NULL), ('three', 5, NULL)");
    let report = with(&site, 1, &[rows_check("SELECT 'files/'||path AS path FROM blobs")]);
    assert!(report.success, "{report:#?}");
    assert_eq!((fact(&report, "orphans"), fact(&report, "orphans_below")), (json!(26), json!("files")));
    let orphans = fact(&report, "orphan_files");
    assert_eq!((orphans.as_array().unwrap().len(), &orphans[0]), (20, &json!("files/ab/two")));
    let note = check(of(&report, "data.db"), "rows").note.clone().unwrap();
    assert_eq!(note, "files: 2 rows; 26 files without a row below files, as files/ab/two");
    // A row in another directory makes the root the common one; databases are no files without a row.
    let checks = [rows_check("SELECT 'files/'||path AS path FROM blobs UNION SELECT 'other/four'")];
    let report = with(&site, 2, &checks);
    assert_eq!((fact(&report, "orphans"), fact(&report, "orphans_below")), (json!(26), json!("")));
    // Each check counts for itself.
    let both = [checks[0].clone(), rows_check("SELECT 'files/ab/two' AS path")];
    let report = with(&site, 3, &both);
    let counts: Vec<&Value> =
        of(&report, "data.db").checks.iter().filter_map(|check| check.facts.get("orphans_below")).collect();
    assert_eq!(counts, [&json!(""), &json!("files/ab")]);
    // Without rows there is no directory.
    let report = with(&site, 4, &[rows_check("SELECT path FROM blobs WHERE 0")]);
    assert!(report.success && fact(&report, "orphans") == json!(0) && fact(&report, "orphans_below").is_null());
}

#[test]
fn absolute_paths_links_and_databases_are_followed() {
    let site = site();
    let root = site.root();
    symlink("ab", root.join("files/link")).unwrap();
    site.sql("uploads/shared.sqlite", "CREATE TABLE t(x)");
    let size = fs::metadata(root.join("uploads/shared.sqlite")).unwrap().len();
    let digest = hex(&<sha2::Sha256 as sha2::Digest>::digest(fs::read(root.join("uploads/shared.sqlite")).unwrap()));
    let query = format!(
        "SELECT '{}/files/ab/one' AS path, 5 AS size, NULL AS sha256 UNION ALL SELECT '/app/data/files/ab/two', 5, NULL
         UNION ALL SELECT 'files/link/one', 5, '{HELLO_SHA256}' UNION ALL SELECT 'uploads/shared.sqlite', {size}, '{digest}'",
        root.display()
    );
    let checks = [RowsCheck { database: Some(b"data.db".to_vec()), ..rows_check(&query) }];
    let options = Options { checks: &checks, root: Some("/app/data/".into()), ..site.options() };
    let report = site.both(1, &options);
    assert!(report.success, "{report:#?}");
    let report = site.both(2, &Options { checks: &checks, ..site.options() });
    assert_eq!(fact(&report, "outside"), json!(1));
}

#[test]
fn queries_that_are_no_such_query_are_refused_by_name() {
    let site = site();
    site.sql("data.db", "INSERT INTO blobs VALUES ('files/three', 5, NULL)");
    for (second, (query, why)) in [
        ("SELECT path, size AS bytes, checksum FROM blobs", "it gives \"bytes\", \"checksum\" too"),
        ("SELECT size FROM blobs", "it gives no path"),
        ("SELECT path, path FROM blobs", "it gives the column path twice"),
        ("SELECT path FROM nowhere", "no such table: nowhere"),
        ("SELECT path FROM blobs; DELETE FROM blobs", "it must be one query"),
        ("DELETE FROM blobs RETURNING path", "does not read"),
        ("ATTACH 'x' AS path", "does not read"),
        ("PRAGMA user_version", "does not read"),
        ("WITH RECURSIVE n(path) AS (VALUES(1) UNION ALL SELECT path+1 FROM n) SELECT path FROM n", "it was stopped"),
        ("SELECT printf('%.*c', 900000000, 'x') AS path", "too big"),
    ]
    .into_iter()
    .enumerate()
    {
        let checks = [rows_check(query)];
        let options = Options { checks: &checks, assertion_limit: Duration::from_millis(300), ..site.options() };
        let report = site.both(second as u64 + 1, &options);
        let found = check(of(&report, "data.db"), "rows");
        assert!(found.error.as_deref().is_some_and(|error| error.contains(why)), "{query}: {found:#?}");
        assert!(!report.success && found.note.as_deref() == Some("files"), "{query}");
    }
    assert!(fs::read_dir(site.scratch()).unwrap().next().is_none(), "nothing stays");
}

#[test]
fn many_rows_are_sorted_on_disk() {
    let site = Site::new();
    site.file("files/7", b"x");
    site.sql("data.db", "CREATE TABLE t(x)");
    let query = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 100000)
                 SELECT 'files/'||(i * 7919 % 100003) AS path FROM n";
    let checks = [rows_check(query)];
    let (name, snapshot, _) = site.back_up(1);
    let report = site.drill((&name, &snapshot), &Options { checks: &checks, ..site.options() });
    assert_eq!((fact(&report, "rows"), fact(&report, "missing")), (json!(100_000), json!(99_999)));
    assert_eq!(fact(&report, "orphans"), json!(0));
}

#[test]
fn without_files_the_check_does_not_apply_and_skipped_it_is_not_made() {
    let site = site();
    let checks = [rows_check("SELECT 'files/none' AS path")];
    let (name, mut snapshot, _) = site.back_up(1);
    let skip = vec!["rows".to_string()];
    let report = site.drill((&name, &snapshot), &Options { checks: &checks, skip, ..site.options() });
    assert!(report.success && check(of(&report, "data.db"), "rows").skipped);
    snapshot.files = None;
    let report = site.drill((&name, &snapshot), &Options { checks: &checks, ..site.options() });
    let found = check(of(&report, "data.db"), "rows");
    assert_eq!(
        (found.passed, found.note.as_deref()),
        (true, Some("files: not applicable: the snapshot holds no files"))
    );
}
