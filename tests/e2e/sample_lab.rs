//! The sample lab in `examples/lab` is a real database whose rows fit its uploads.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::common::{Lab, repository, sha256};

#[test]
fn the_tests_own_lab_is_sound() {
    let lab = Lab::small();
    assert_rows_fit(&lab.database(), &lab.path("data"), 3);
}

#[test]
fn the_sample_lab_is_sound() {
    let lab = repository().join("examples/lab");
    assert!(fs::metadata(lab.join("lrl.db")).unwrap().len() < 200_000);
    let uri = format!("file:{}?immutable=1", lab.join("lrl.db").display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).unwrap();
    let ok: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
    let mut broken = connection.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!broken.exists([]).unwrap());
    for table in ["users", "role_assignments", "sessions", "content_items", "content_blocks", "link_items", "assets"] {
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert!(rows > 0, "{table} is empty");
    }
    assert_rows_fit(&connection, &lab, 5);
}

fn assert_rows_fit(connection: &Connection, data_dir: &Path, at_least: usize) {
    let mut statement = connection.prepare("SELECT storage_path, size_bytes, sha256 FROM assets").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(String, i64, String)> = rows.map(Result::unwrap).collect();
    assert!(rows.len() >= at_least);
    for (path, size, digest) in rows {
        let bytes = fs::read(data_dir.join("assets").join(&path)).unwrap();
        assert_eq!((bytes.len() as i64, sha256(&bytes)), (size, digest), "{path}");
    }
}
