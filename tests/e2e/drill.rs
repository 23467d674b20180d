//! `lrl drill`: the manual's output, every kind of damage, and that it changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::{Lab, Run, sha256};
use crate::python_sets::{change, drill_with_python, manifests, state, write_with_python};

const STAMP: &str = "20260114_120000";

/// A lab with one set written by Python in `old/`.
fn python_set() -> Lab {
    let lab = Lab::small();
    write_with_python(&lab, "./old", STAMP);
    lab
}

/// Returns a check of one verification.
#[track_caller]
fn check<'a>(document: &'a Value, file: usize, name: &str) -> &'a Value {
    let checks = document["verifications"][file]["checks"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {document:#}"))
}

fn drill(lab: &Lab, code: i32) -> Value {
    let document = lab.lrl("drill --backup ./old --json").expect(code).json();
    assert_eq!(document["success"], code == 0, "{document:#}");
    document
}

#[test]
fn a_set_written_to_the_manual_passes_line_for_line() {
    let lab = python_set();
    let run = lab.lrl("drill --backup ./old").expect(0);
    let rule = "=".repeat(60);
    let expected = format!(
        "{rule}\nLittle Research Lab: Restore Drill\n{rule}\n\n\
         Using manifest: ./old/backup_manifest_{STAMP}.json\nBackup timestamp: {STAMP}\nBackups to verify: 2\n\n\
         Verifying database: lrl_db_{STAMP}.sqlite\n  [PASS] hash_verification\n  [PASS] sqlite_open\n  [PASS] schema_valid\n  \
         [PASS] integrity_check\n  [PASS] foreign_keys\n  [PASS] asset_rows\n  \
         [PASS] matches_snapshot (not applicable: the set names no snapshot)\n\n\
         Verifying assets: lrl_assets_{STAMP}.tar.gz\n  [PASS] hash_verification\n  [PASS] extract_archive\n  \
         [PASS] files_extracted\n  [PASS] matches_snapshot (not applicable: the set names no snapshot)\n\n\
         {rule}\nRESTORE DRILL PASSED: All backups verified successfully!\n"
    );
    let more = run.stdout.strip_prefix(&expected).unwrap_or_else(|| panic!("{}\n{expected}", run.stdout));
    assert!(
        more.starts_with(&format!("{STAMP}: passed; the data came back in ")) && more.lines().count() == 1,
        "{more}"
    );
}

#[test]
fn the_json_has_the_documented_shape_and_nothing_beside_it() {
    let lab = python_set();
    let document = drill(&lab, 0);
    assert_eq!(document["errors"], json!([]));
    assert_eq!(document["verifications"][0]["file"], format!("./old/lrl_db_{STAMP}.sqlite"));
    let hash = check(&document, 0, "hash_verification");
    assert_eq!(hash["expected"], hash["actual"]);
    assert_eq!(check(&document, 0, "sqlite_open")["tables_found"], 3);
    assert_eq!(check(&document, 0, "sqlite_open")["tables"], json!(["assets", "content_items", "users"]));
    assert_eq!(check(&document, 0, "schema_valid")["expected_tables"], json!(["users", "content_items", "assets"]));
    assert!(check(&document, 0, "schema_valid")["found_tables"].is_array());
    assert_eq!(check(&document, 0, "asset_rows")["rows"], 3);
    assert_eq!(document["verifications"][0]["rows"]["content_items"], 20);
    assert_eq!(check(&document, 1, "extract_archive")["file_count"], 3);
    assert_eq!(check(&document, 1, "files_extracted")["expected"], 3);
    assert_eq!(check(&document, 1, "files_extracted")["actual"], 3);
    let failed = lab.lrl("drill --json --backup none").expect(10);
    assert_eq!(failed.json()["verifications"], json!([]));
}

#[test]
fn what_lrl_writes_passes_both_drills_and_is_compared_with_its_snapshot() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let manifest = manifests(&lab, "backups").remove(0);
    assert_eq!(drill_with_python(&lab, &manifest), Ok(()));
    let document = lab.lrl("drill --json").expect(0).json();
    for file in [0, 1] {
        let matches = check(&document, file, "matches_snapshot");
        assert!(matches["snapshot"].is_string() && matches["note"].is_null(), "{matches:#}");
    }
    let records: Vec<_> = fs::read_dir(lab.path("backups/store/drills/lab")).unwrap().collect();
    assert_eq!(records.len(), 1);
    // Another database under the same manifest, its digest changed with it: only the snapshot tells.
    let database = manifest.to_str().unwrap().replace("backup_manifest_", "lrl_db_").replace(".json", ".sqlite");
    Connection::open(lab.path(&database)).unwrap().execute("DELETE FROM content_items WHERE id = 3", []).unwrap();
    let digest = sha256(&fs::read(lab.path(&database)).unwrap());
    change(&lab, &manifest, |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        value["backups"][0]["sha256"] = json!(digest);
        *bytes = value.to_string().into_bytes();
    });
    let document = lab.lrl("drill --json").expect(4).json();
    assert_eq!(check(&document, 0, "hash_verification")["passed"], true);
    assert_eq!(check(&document, 0, "matches_snapshot")["passed"], false);
}

#[test]
fn a_set_from_a_clock_that_was_ahead_hides_no_newer_one() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let first = manifests(&lab, "backups").remove(0);
    fs::rename(lab.path(&first), lab.path("backups/backup_manifest_20990101_000000.json")).unwrap();
    let live = Connection::open(lab.path("data/lrl.db")).unwrap();
    live.execute("DELETE FROM content_items WHERE id = 3", []).unwrap();
    lab.lrl("backup").expect(0);
    let second = manifests(&lab, "backups").remove(0);
    let run = lab.lrl("drill").expect(0);
    assert!(run.stdout.contains(&format!("Using manifest: ./{}", second.display())), "{}", run.stdout);
}

#[test]
fn a_set_is_drilled_wherever_it_was_moved_to_and_nothing_is_touched() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    fs::rename(lab.path("backups"), lab.path("moved")).unwrap();
    fs::remove_dir_all(lab.path("moved/store")).unwrap();
    let before = state(&lab.path(""));
    let run = lab.lrl("drill --backup moved/").expect(0);
    assert!(run.stdout.contains("matches_snapshot (not applicable"), "{}", run.stdout);
    assert!(run.stderr.contains("not recorded"), "{}", run.stderr);
    assert_eq!(state(&lab.path("")), before);
}

#[test]
fn several_manifests_are_drilled_one_after_another() {
    let lab = python_set();
    write_with_python(&lab, "./old", "20260115_120000");
    change(&lab, format!("old/lrl_db_{STAMP}.sqlite"), |bytes| bytes[5000] ^= 1);
    // The newest alone is good; a shell's glob names both.
    lab.lrl("drill --backup old").expect(0);
    let line = format!("drill --manifest old/backup_manifest_{STAMP}.json old/backup_manifest_20260115_120000.json");
    let run = lab.lrl(&line).expect(4);
    assert_eq!(run.stdout.matches("Using manifest: ").count(), 2);
    assert_eq!(run.stdout.matches("RESTORE DRILL").count(), 1);
    let document = lab.lrl(&format!("{line} --json")).expect(4).json();
    assert_eq!(document["verifications"].as_array().unwrap().len(), 4);
    assert_eq!(document["sets"][1]["success"], true);
    let quiet = lab.lrl(&format!("{line} -q")).expect(4);
    assert!(quiet.stdout.is_empty() && quiet.stderr.contains("SHA-256"), "{}", quiet.stderr);
}

#[test]
fn each_damage_fails_its_check() {
    let database = format!("old/lrl_db_{STAMP}.sqlite");
    let archive = format!("old/lrl_assets_{STAMP}.tar.gz");
    let failed = |lab: &Lab, file: usize, names: &[&str]| {
        let document = drill(lab, 4);
        for name in names {
            let check = check(&document, file, name);
            assert!(check["passed"] == false && check["error"].is_string(), "{check:#}");
        }
        document
    };
    let lab = python_set();
    change(&lab, &database, |bytes| bytes[5000] ^= 1);
    failed(&lab, 0, &["hash_verification"]);
    let lab = python_set();
    change(&lab, &database, |bytes| bytes[0..16].fill(b'x'));
    failed(&lab, 0, &["hash_verification", "sqlite_open"]);
    let lab = python_set();
    change(&lab, &archive, |bytes| bytes.truncate(bytes.len() / 2));
    let document = failed(&lab, 1, &["hash_verification", "extract_archive"]);
    assert_eq!(check(&document, 0, "asset_rows")["passed"], false);
    let lab = python_set();
    change(&lab, &archive, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
    });
    failed(&lab, 1, &["hash_verification", "extract_archive"]);
    let lab = python_set();
    fs::remove_file(lab.path(&archive)).unwrap();
    let document = drill(&lab, 4);
    assert_eq!(document["verifications"][1]["error"], "File not found");
    assert_eq!(document["verifications"][1]["success"], false);
    let lab = python_set();
    fs::remove_file(lab.path(&database)).unwrap();
    assert!(Command::new("mkfifo").arg(lab.path(&database)).status().unwrap().success());
    assert_eq!(drill(&lab, 4)["verifications"][0]["error"], "File not found");
}

#[test]
fn rows_must_lead_to_files_of_their_size_and_digest() {
    let with = |sql: &str| {
        let lab = Lab::small();
        lab.database().execute_batch(sql).unwrap();
        write_with_python(&lab, "./old", STAMP);
        lab
    };
    for (sql, word) in [
        ("UPDATE assets SET size_bytes = 1 WHERE id = 'ab12/v1.txt'", "12 bytes"),
        ("UPDATE assets SET sha256 = '00' WHERE id = 'ab12/v1.txt'", "SHA-256"),
        ("UPDATE assets SET storage_path = 'nowhere' WHERE id = 'ab12/v1.txt'", "no such file"),
        ("UPDATE assets SET storage_path = '../lrl.db' WHERE id = 'ab12/v1.txt'", "leads out"),
        ("UPDATE assets SET storage_path = '/etc/passwd' WHERE id = 'ab12/v1.txt'", "leads out"),
    ] {
        let document = drill(&with(sql), 4);
        let rows = check(&document, 0, "asset_rows");
        assert_eq!(rows["bad_rows"], 1, "{sql}");
        assert!(rows["findings"][0].as_str().unwrap().contains(word), "{rows:#}");
        let run = with(sql).lrl("drill --backup old").expect(4);
        assert!(run.stdout.contains("  [FAIL] asset_rows\n") && run.stdout.contains(word), "{}", run.stdout);
        assert!(run.stdout.contains("\nRESTORE DRILL FAILED: Some verifications failed.\n20260114_120000: FAILED"));
    }
    let empty = drill(&with("UPDATE assets SET storage_path = '' WHERE id = 'ab12/v1.txt'"), 0);
    assert_eq!(check(&empty, 0, "asset_rows")["empty_paths"], 1);
    let other = drill(&with("DROP TABLE assets; CREATE TABLE assets (id TEXT, filename TEXT)"), 0);
    assert!(check(&other, 0, "asset_rows")["note"].as_str().unwrap().contains("not applicable"));
}

#[test]
fn files_of_the_second_root_are_found_with_and_without_bin() {
    let mut lab = Lab::small();
    lab.set("STORAGE_PATH", "./keys");
    for (name, row) in [("k1.bin", "k1"), ("k2", "k2")] {
        lab.upload(row, b"key");
        fs::remove_file(lab.path("data/assets").join(row)).unwrap();
        lab.write(Path::new("keys").join(name), b"key");
    }
    lab.lrl("backup").expect(0);
    let document = lab.lrl("drill --json").expect(0).json();
    assert_eq!(check(&document, 0, "asset_rows")["rows"], 5);
    let document = lab.lrl("drill --json --snapshot latest").expect(0).json();
    assert_eq!(check(&document, 0, "asset_rows")["rows"], 5);
}

#[test]
fn foreign_keys_and_tables_are_checked() {
    let lab = Lab::small();
    let broken = "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p INTEGER REFERENCES parent(id));
                  INSERT INTO child VALUES (7);";
    lab.database().execute_batch(&format!("PRAGMA foreign_keys = OFF; {broken}")).unwrap();
    write_with_python(&lab, "./old", STAMP);
    let document = drill(&lab, 0);
    let keys = check(&document, 0, "foreign_keys");
    assert_eq!((&keys["passed"], &keys["orphans"]), (&json!(true), &json!({"child": 1})));
    assert!(keys["note"].as_str().unwrap().starts_with("child: 1 row without its parent row"), "{keys:#}");
    assert_eq!(check(&document, 0, "integrity_check")["passed"], true);
    let lab = python_set();
    lab.lrl("drill --backup old --require-table users --require-table assets").expect(0);
    let run = lab.lrl("drill --backup old --require-table plans").expect(4);
    assert!(run.stdout.contains("missing tables: plans"), "{}", run.stdout);
    let lab = Lab::small();
    lab.database().execute_batch("DROP TABLE content_items").unwrap();
    write_with_python(&lab, "./old", STAMP);
    assert_eq!(check(&drill(&lab, 4), 0, "schema_valid")["passed"], false);
}

#[test]
fn an_assertion_may_name_its_database() {
    let lab = python_set();
    let count = "SELECT count(*) FROM content_items";
    lab.run(["drill", "--backup", "old", "--assert", &format!("lrl.db: {count}"), "= 20"]).expect(0);
    let run = lab.run(["drill", "--backup", "old", "--assert", &format!("data/b.db: {count}"), "= 20"]).expect(4);
    assert!(run.stdout.contains("is about the database data/b.db, which is not there"), "{}", run.stdout);
    lab.run(["drill", "--backup", "old", "--assert", &format!("../b.db: {count}"), "= 20"]).expect(2);
}

#[test]
fn rows_of_a_site_lead_to_its_files() {
    let lab = Lab::small();
    let site = lab.path("site");
    fs::create_dir_all(site.join("files")).unwrap();
    fs::write(site.join("files/a"), b"hello").unwrap();
    let db = Connection::open(site.join("data.db")).unwrap();
    db.execute_batch("CREATE TABLE blobs(name, size); INSERT INTO blobs VALUES ('a', 5)").unwrap();
    Connection::open(site.join("other.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let toml = "root = \"site\"\n[[database]]\npath = \"data.db\"\nrequire-tables = [\"blobs\"]\n\
                [[check]]\nname = \"blobs\"\nrows = \"SELECT 'files/'||name AS path, size FROM blobs\"\n";
    lab.write("lrl.toml", toml);
    lab.lrl("backup").expect(0);
    for how in ["drill", "drill --snapshot latest"] {
        let run = lab.lrl(how).expect(0);
        assert!(run.stdout.contains("  [PASS] rows (blobs: 1 row)\n"), "{}", run.stdout);
        assert_eq!(run.stdout.matches("Verifying database: ").count(), 2, "{}", run.stdout);
        assert_eq!(run.stdout.matches("[PASS] schema_valid").count(), 1, "{}", run.stdout);
    }
    db.execute_batch("INSERT INTO blobs VALUES ('gone', 1); UPDATE blobs SET size = 6 WHERE name = 'a'").unwrap();
    lab.lrl("backup").expect(0);
    let run = lab.lrl("drill").expect(4);
    for line in ["  [FAIL] rows (blobs: 2 rows)\n", "1 missing, 1 of another size\n", "files/gone: no such file\n"] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
}

#[test]
fn hostile_manifests_give_a_failed_drill_and_never_more() {
    let lab = python_set();
    lab.write("secret", b"not a backup");
    let entry = |path: &str| json!({"type": "database", "backup": path, "sha256": "00"});
    let manifest = |entries: Value| json!({"timestamp_utc": STAMP, "version": "1.0", "backups": entries}).to_string();
    let good = format!("lrl_db_{STAMP}.sqlite");
    let long = "x".repeat(5000);
    let mut hostile: Vec<String> = ["../secret", "/etc/passwd", "", ".", "..", "a\0b", &long, "/", "old", "\u{1b}[2J"]
        .iter()
        .map(|path| manifest(json!([entry(path)])))
        .collect();
    hostile.push(manifest(json!([{"type": "database", "backup": good}, {"type": "database", "backup": good}])));
    hostile.push(manifest(json!([{"type": "keys", "backup": good}])));
    hostile.push(manifest(json!([{"backup": good}, 7, null, [], {"type": ["x"], "backup": {"a": 1}}])));
    hostile.push(manifest(json!([{"type": "database", "backup": good, "sha256": 7}])));
    hostile.push(manifest(json!([{"type": "assets", "backup": good, "total_source_size_bytes": u64::MAX}])));
    hostile.push(manifest(json!([])));
    hostile.push(
        json!({"timestamp_utc": STAMP, "version": "9.0", "backups": [{"type": "database", "backup": good}]})
            .to_string(),
    );
    hostile.extend(["[".repeat(1 << 20), String::new(), "null".into(), "{}".into(), "\u{0}".into()]);
    for text in hostile {
        lab.write("old/backup_manifest_99999999_000000.json", &text);
        let run = lab.lrl("drill --backup old --json").expect(4);
        let document = run.json();
        let shown: String = text.chars().take(200).collect();
        assert_eq!(document["success"], false, "{shown}");
        let said = document["errors"].as_array().unwrap().len()
            + document["verifications"].as_array().unwrap().iter().filter(|found| found["success"] == false).count();
        assert!(said > 0, "{shown}");
        let run = lab.lrl("drill --backup old").expect(4);
        assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains("internal error"), "{shown}\n{}", run.stderr);
    }
}

#[test]
fn exit_codes_tell_what_is_missing() {
    let lab = Lab::small();
    lab.lrl("drill").expect(10);
    fs::create_dir(lab.path("backups")).unwrap();
    let document = lab.lrl("drill --json").expect(1).json();
    assert_eq!(document["errors"], json!(["No manifest found in ./backups"]));
    let run = lab.lrl("drill").expect(1);
    assert!(run.stdout.contains("RESTORE DRILL FAILED") && run.stdout.contains("No manifest found in ./backups"));
    lab.lrl("drill --manifest backups/none.json --json").expect(1);
    lab.lrl("drill --snapshot latest").expect(10);
    lab.lrl("backup").expect(0);
    lab.lrl("drill --snapshot 00000000").expect(1);
    lab.lrl("drill --snapshot latest --manifest x").expect(2);
}

#[test]
fn a_copy_in_wal_mode_gets_no_side_files() {
    let lab = Lab::small();
    lab.database().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    lab.lrl("backup").expect(0);
    let database = fs::read_dir(lab.path("backups")).unwrap().map(|e| e.unwrap().path());
    let database = database.into_iter().find(|path| path.extension().is_some_and(|e| e == "sqlite")).unwrap();
    assert_eq!(&fs::read(&database).unwrap()[18..20], [2, 2], "the copy is in WAL mode");
    lab.lrl("drill").expect(0);
    let names = fs::read_dir(lab.path("backups")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("-shm") && !name.contains("-wal")));
}

#[test]
fn the_archive_is_unpacked_where_tmpdir_says_and_removed() {
    let mut lab = python_set();
    fs::create_dir(lab.path("tmp")).unwrap();
    lab.set("TMPDIR", lab.path("tmp").to_str().unwrap());
    let document = drill(&lab, 0);
    assert_eq!(check(&document, 1, "extract_archive")["extracted"], true);
    assert_eq!(fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
    change(&lab, format!("old/lrl_assets_{STAMP}.tar.gz"), |bytes| bytes.truncate(bytes.len() - 20));
    drill(&lab, 4);
    assert_eq!(fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
    lab.set("TMPDIR", lab.path("not there").to_str().unwrap());
    let lab = {
        write_with_python(&lab, "./old", STAMP);
        lab
    };
    assert_eq!(check(&drill(&lab, 0), 1, "extract_archive")["extracted"], false);
}

/// A file system that is unmounted with its owner.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn without_room_the_archive_is_verified_without_writing() {
    let mut lab = Lab::small();
    lab.upload("big/noise.bin", &crate::common::noise(3 << 20, 5));
    write_with_python(&lab, "./old", STAMP);
    fs::create_dir(lab.path("small")).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(lab.path("small")).status();
    if !mount.is_ok_and(|status| status.success()) {
        return;
    }
    let _mount = Mount(lab.path("small"));
    lab.set("TMPDIR", lab.path("small").to_str().unwrap());
    let document = drill(&lab, 0);
    let extract = check(&document, 1, "extract_archive");
    assert!(extract["extracted"] == false && extract["note"].as_str().unwrap().contains("no room"), "{extract:#}");
    assert_eq!(check(&document, 0, "asset_rows")["rows"], 4);
    // A manifest that understates its archive does not fill the disk either.
    change(&lab, format!("old/backup_manifest_{STAMP}.json"), |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        value["backups"][1]["total_source_size_bytes"] = json!(1);
        *bytes = value.to_string().into_bytes();
    });
    assert_eq!(check(&drill(&lab, 0), 1, "extract_archive")["extracted"], false);
    assert_eq!(fs::read_dir(lab.path("small")).unwrap().count(), 0);
    change(&lab, format!("old/lrl_assets_{STAMP}.tar.gz"), |bytes| bytes.truncate(bytes.len() / 2));
    drill(&lab, 4);
}

#[test]
fn a_snapshot_is_drilled_straight_from_the_store() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("drill --snapshot latest").expect(0);
    assert!(run.stdout.contains("Verifying database: snapshot ") && run.stdout.contains("[PASS] asset_rows\n"));
    let document = lab.lrl("drill --snapshot latest --json").expect(0).json();
    assert!(document["verifications"][1]["file"].as_str().unwrap().ends_with(" uploads"), "{document:#}");
    assert_eq!(check(&document, 1, "files_extracted")["actual"], 3);
    // A flipped byte in the pack that holds everything.
    let pack = fs::read_dir(lab.path("backups/store/packs")).unwrap().next().unwrap().unwrap().path();
    let pack = fs::read_dir(pack).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    let len = bytes.len();
    bytes[len / 4..len / 2].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&pack, bytes).unwrap();
    let damaged: Run = lab.lrl("drill --snapshot latest --json").expect(4);
    assert_eq!(damaged.json()["success"], false);
}

#[test]
fn rows_without_their_parent_fail_once_there_are_more_than_in_the_drill_before() {
    let lab = Lab::small();
    let orphans = |rows: &str| {
        let broken = "CREATE TABLE IF NOT EXISTS posts (u INTEGER REFERENCES parents(id)); DELETE FROM posts;
                      CREATE TABLE IF NOT EXISTS parents (id INTEGER PRIMARY KEY);";
        lab.database()
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {broken} INSERT INTO posts VALUES {rows}"))
            .unwrap();
        lab.lrl("backup").expect(0);
    };
    orphans("(7), (8)");
    let run = lab.lrl("drill").expect(0);
    assert!(
        run.stdout.contains("  [PASS] foreign_keys (posts: 2 rows without their parent row, as in"),
        "{}",
        run.stdout
    );
    orphans("(7)");
    lab.lrl("drill --snapshot latest").expect(0);
    orphans("(7), (8), (9)");
    let run = lab.lrl("drill").expect(4);
    assert!(run.stdout.contains("posts: 3 rows without their parent row; in 20"), "{}", run.stdout);
    assert!(run.stdout.contains("         - posts: row 1 refers to a row of parents"), "{}", run.stdout);
    // With --quiet the finding is told as well.
    let run = lab.lrl("drill -q").expect(4);
    assert!(run.stdout.is_empty() && run.stderr.contains("posts: row 1 refers to a row of parents"), "{}", run.stderr);
    let run = lab.lrl("drill --skip-check foreign_keys").expect(0);
    assert!(run.stdout.contains("  [SKIP] foreign_keys\n"), "{}", run.stdout);
    let last = lab.lrl("drill --json --skip-check foreign_keys --skip-check integrity_check").expect(0).json();
    assert_eq!(check(&last, 0, "integrity_check")["skipped"], true);
    lab.write("lrl.toml", "skip-check = ['foreign_keys']");
    lab.lrl("drill").expect(0);
    lab.lrl("drill --skip-check hash_verification").expect(2);
}

#[test]
fn what_the_application_registers_itself_is_named_and_the_rest_is_checked() {
    let lab = Lab::small();
    let script = "
import sqlite3
c = sqlite3.connect('data/lrl.db')
c.create_collation('unicase', lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()))
c.executescript('CREATE TABLE decks(id INTEGER PRIMARY KEY, n TEXT COLLATE unicase UNIQUE)')
c.executemany('INSERT INTO decks(n) VALUES (?)', [('b',), ('A',)])
c.commit()";
    crate::helpers::python(&lab, script, &[]);
    lab.lrl("backup").expect(0);
    for line in ["drill", "drill --snapshot latest"] {
        let run = lab.lrl(line).expect(0);
        let said = "  [PASS] integrity_check (not checkable here: decks: no such collation sequence: unicase";
        assert!(run.stdout.contains(said), "{}", run.stdout);
    }
    lab.database().execute_batch("CREATE INDEX more ON content_items(body)").unwrap();
    lab.lrl("backup").expect(0);
    lab.lrl("drill").expect(0);
}

#[test]
fn a_manifest_without_a_part_of_its_snapshot_proves_nothing() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let manifest = manifests(&lab, "backups").remove(0);
    let whole = fs::read(lab.path(&manifest)).unwrap();
    for (left, part) in [("database", "files"), ("assets", "database")] {
        change(&lab, &manifest, |bytes| {
            let mut value: Value = serde_json::from_slice(&whole).unwrap();
            value["backups"].as_array_mut().unwrap().retain(|entry| entry["type"] == left);
            *bytes = value.to_string().into_bytes();
        });
        let run = lab.lrl("drill").expect(4);
        let at = run.stdout.find(&format!("  [FAIL] Manifest ./{}: its snapshot", manifest.display()));
        assert!(at < run.stdout.find("Verifying"), "the cause stands first: {}", run.stdout);
        assert!(run.stdout.contains(&format!("holds the {part}, and it has no entry")), "{}", run.stdout);
        let listed = lab.lrl("snapshots --json").expect(0).json();
        assert_eq!(listed["snapshots"][0]["proven"], false);
    }
    fs::write(lab.path(&manifest), whole).unwrap();
    lab.lrl("drill").expect(0);
    assert_eq!(lab.lrl("snapshots --json").expect(0).json()["snapshots"][0]["proven"], true);
    let last = fs::read_dir(lab.path("backups/store/drills/lab")).unwrap().map(|entry| fs::read(entry.unwrap().path()));
    let records: Vec<Value> = last.map(|bytes| serde_json::from_slice(&bytes.unwrap()).unwrap()).collect();
    assert!(
        records.iter().all(|record| (record["passed"] == true) == (record["parts"] == json!(["database", "files"])))
    );
    // A backup of one part is whole without the other.
    lab.lrl("backup --db-only").expect(0);
    lab.lrl("drill").expect(0);
}

#[test]
fn sets_of_two_sources_in_one_directory_are_told_apart() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("backup --source other").expect(0);
    let run = lab.lrl("drill").expect(2);
    assert!(run.stderr.contains("several sources (lab, other)") && run.stderr.contains("--source"), "{}", run.stderr);
    let of = |line: &str| lab.lrl(line).expect(0).json()["sets"][0]["manifest"].as_str().unwrap().to_string();
    let (first, second) = (of("drill --json --source lab"), of("drill --json --source other"));
    assert!(first < second, "{first} {second}");
    let run = lab.lrl("drill --source third").expect(1);
    assert!(run.stdout.contains("No manifest found in ./backups of the source third"), "{}", run.stdout);
}

#[test]
fn a_manifest_that_is_not_there_is_told_where_it_is_drilled() {
    let lab = python_set();
    let run = lab.lrl("drill --manifest old/nosuch.json").expect(1);
    let at = |text: &str| run.stdout.find(text).unwrap_or_else(|| panic!("{}", run.stdout));
    let cause = at("  [FAIL] Failed to load manifest: cannot read old/nosuch.json");
    assert!(at("Using manifest: old/nosuch.json") < cause && cause < at("RESTORE DRILL FAILED"), "{}", run.stdout);
}

#[test]
fn findings_of_a_malformed_file_are_lines_of_their_own() {
    let lab = Lab::small();
    lab.database().execute_batch("CREATE TABLE posts (u INTEGER REFERENCES users(id))").unwrap();
    write_with_python(&lab, "./old", STAMP);
    let database = format!("old/lrl_db_{STAMP}.sqlite");
    change(&lab, &database, |bytes| bytes[4096..].fill(0xa5));
    let run = lab.lrl("drill --backup old").expect(4);
    assert!(run.stdout.contains("cannot be checked: ") && !run.stdout.contains("row without"), "{}", run.stdout);
    assert!(!run.stdout.contains("\\n") && !run.stdout.contains("***"), "{}", run.stdout);
}

#[test]
fn a_table_that_cannot_be_counted_is_not_told_to_be_empty() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("drill").expect(0);
    change(&lab, "data/lrl.db", |bytes| bytes[8192..].fill(0xa5));
    lab.lrl("backup");
    let run = lab.lrl("drill -q").expect(4);
    assert!(run.stderr.contains("integrity_check: ") && !run.stderr.contains("has 0 rows"), "{}", run.stderr);
}
