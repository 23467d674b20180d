//! `lrl export --skip-damaged`: all that a damaged store still has, as a set that no program takes for whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Lab, noise, sha256};
use crate::helpers::{assert_same, look};
use crate::python_sets::drill_with_python;

/// Damages the stored bytes of a content that does not compress.
fn damage(lab: &Lab, content: &[u8]) {
    let find = |bytes: &[u8]| bytes.windows(64).position(|window| *window == content[..64]);
    let mut packs = vec![lab.path("backups/store/packs")];
    while let Some(path) = packs.pop() {
        if path.is_dir() {
            packs.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = find(&bytes) {
            bytes[at + 1000] ^= 0x40;
            return fs::write(path, bytes).unwrap();
        }
    }
    panic!("no pack has the content");
}

fn only(dir: &Path, part: &str) -> PathBuf {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = names.filter(|path| path.to_str().unwrap().contains(part)).collect();
    assert_eq!(found.len(), 1, "{part} in {}", dir.display());
    found.remove(0)
}

/// A lab with two uploads, one of which the store has lost, and a database with noise in it.
fn lab() -> (Lab, Vec<u8>) {
    let lab = Lab::small();
    lab.upload("ef56/v1.bin", &noise(90_000, 3));
    lab.upload("ef56/v2.bin", &noise(90_000, 4));
    let body = noise(600_000, 9);
    lab.database().execute_batch("CREATE TABLE big(x)").unwrap();
    lab.database().execute("INSERT INTO big VALUES (?1)", [&body]).unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    (lab, body[200_000..].to_vec())
}

/// Runs a real copy of what the documented drill does with entries: a file that is not there, and a type that it does not know, fail.
fn documented_drill(lab: &Lab, manifest: &Path) -> bool {
    let script = "import json, pathlib, sys\n\
                  entries = json.loads(pathlib.Path(sys.argv[1]).read_text())['backups']\n\
                  good = [pathlib.Path(e['backup']).exists() and e['type'] in ('database', 'assets') for e in entries]\n\
                  sys.exit(0 if all(good) else 1)";
    let run = Command::new("python3").arg("-c").arg(script).arg(manifest).current_dir(lab.path("")).status();
    run.unwrap().success()
}

#[test]
fn everything_but_a_damaged_upload_is_exported_and_the_set_never_looks_whole() {
    let (lab, _) = lab();
    damage(&lab, &noise(90_000, 3));
    let run = lab.lrl("export --out whole").expect(1);
    assert!(run.stderr.contains("lrl export --skip-damaged"), "{}", run.stderr);
    assert!(!lab.path("whole").exists());
    let run = lab.lrl("export -q --out rest --skip-damaged").expect(3);
    assert!(run.stderr.contains("not exported: assets/ef56/v1.bin"), "{}", run.stderr);
    assert!(run.stderr.contains("not whole") && run.stderr.contains("lrl_missing_"), "{}", run.stderr);
    let document = lab.lrl("export --out again --skip-damaged --json").expect(3).json();
    assert_eq!(document["skipped"][0]["path"], "assets/ef56/v1.bin", "{document:#}");
    assert_eq!((&document["success"], &document["assets"]["compared"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(
        document["missing"].as_str().unwrap(),
        only(&lab.path("again"), "missing").strip_prefix(lab.path("")).unwrap().to_str().unwrap()
    );

    // The list, the manifest and the archive say what is there.
    let list = fs::read(only(&lab.path("rest"), "missing")).unwrap();
    let text = String::from_utf8(list.clone()).unwrap();
    assert!(text.lines().any(|line| line.starts_with("assets/ef56/v1.bin\t1\t")), "{text}");
    let manifest = only(&lab.path("rest"), "manifest").strip_prefix(lab.path("")).unwrap().to_path_buf();
    let said: serde_json::Value = serde_json::from_slice(&fs::read(lab.path(&manifest)).unwrap()).unwrap();
    let lacked = &said["backups"][2];
    assert_eq!(
        (&lacked["type"], &lacked["entries"], &lacked["databases"]),
        (&"missing".into(), &1.into(), &serde_json::json!([]))
    );
    assert_eq!(lacked["sha256"].as_str().unwrap(), sha256(&list));
    fs::create_dir(lab.path("by-tar")).unwrap();
    let archive = only(&lab.path("rest"), "assets");
    assert!(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(lab.path("by-tar")).status().unwrap().success());
    let mut live = look(&lab.path("data/assets"));
    live.retain(|path, _| path != b"ef56/v1.bin");
    assert_same(&look(&lab.path("by-tar/assets")), &live, "all but the damaged one");
    let count = live.values().filter(|seen| seen.mode & 0o170_000 == 0o100_000).count();
    assert_eq!(said["backups"][1]["file_count"], count, "{said:#}");
    let guide = fs::read_to_string(lab.path("rest/RESTORE.md")).unwrap();
    assert!(guide.contains("not whole") && guide.contains("--skip-damaged"), "{guide}");

    // No drill passes.
    let drill = lab.lrl(&format!("drill --manifest {}", manifest.display())).expect(4);
    assert!(drill.stdout.contains("not whole") && drill.stdout.contains("assets/ef56/v1.bin"), "{}", drill.stdout);
    let away = lab.lrl("drill --backup rest").expect(4).stdout;
    assert!(away.contains("not whole"), "{away}");
    assert!(!documented_drill(&lab, &manifest) && drill_with_python(&lab, &manifest).is_err());

    // A restore has to be asked for what there is.
    let run = lab.lrl(&format!("restore --manifest {} --data-dir new", manifest.display())).expect(1);
    assert!(run.stderr.contains("not whole") && run.stderr.contains("--skip-damaged"), "{}", run.stderr);
    assert!(!lab.path("new").exists());
    lab.lrl(&format!("restore --manifest {} --data-dir new --db-only", manifest.display())).expect(0);
    let run = lab.lrl(&format!("restore --manifest {} --data-dir new --skip-damaged", manifest.display())).expect(3);
    assert!(run.stderr.contains("not restored: assets/ef56/v1.bin"), "{}", run.stderr);
    assert_same(&look(&lab.path("new/assets")), &live, "all but the damaged one");

    // As a snapshot it is not good either.
    lab.lrl("--store imported init").expect(0);
    lab.lrl("--store imported import rest").expect(0);
    let run = lab.lrl("--store imported restore --data-dir third").expect(1);
    assert!(run.stderr.contains("no good snapshot") || run.stderr.contains("incomplete"), "{}", run.stderr);
}

#[test]
fn a_damaged_database_is_left_out_of_the_set() {
    let (lab, body) = lab();
    damage(&lab, &body);
    lab.lrl("export --out whole").expect(1);
    let run = lab.lrl("export --out rest --skip-damaged").expect(3);
    assert!(run.stderr.contains("not exported: lrl.db"), "{}", run.stderr);
    assert!(run.stdout.contains("files,") && !run.stdout.contains("lrl_db_"), "{}", run.stdout);
    let manifest = only(&lab.path("rest"), "manifest").strip_prefix(lab.path("")).unwrap().to_path_buf();
    assert!(!documented_drill(&lab, &manifest));
    lab.lrl("drill --backup rest").expect(4);
    lab.lrl(&format!("restore --manifest {} --data-dir new --db-only --skip-damaged", manifest.display())).expect(1);
    lab.lrl(&format!("restore --manifest {} --data-dir new --assets-only", manifest.display())).expect(0);
    lab.write("new/lrl.db", b"kept as it is");
    let line = format!("restore --manifest {} --data-dir new --skip-damaged", manifest.display());
    let run = lab.lrl(&line).expect(3);
    assert!(run.stderr.contains("not restored: lrl.db") && run.stderr.contains("was left alone"), "{}", run.stderr);
    assert_eq!(fs::read(lab.path("new/lrl.db")).unwrap(), b"kept as it is");
    assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), "the uploads");
}

#[test]
fn a_snapshot_that_is_known_to_be_damaged_wants_force_and_a_whole_one_is_exported_as_ever() {
    let (lab, _) = lab();
    lab.lrl("export --out plain").expect(0);
    lab.lrl("export --out same --skip-damaged").expect(0);
    for part in ["lrl_assets_", "lrl_db_"] {
        assert!(fs::read(only(&lab.path("plain"), part)).unwrap() == fs::read(only(&lab.path("same"), part)).unwrap());
    }
    assert!(
        fs::read_dir(lab.path("same")).unwrap().all(|entry| !entry
            .unwrap()
            .path()
            .to_str()
            .unwrap()
            .contains("missing"))
    );
    damage(&lab, &noise(90_000, 3));
    lab.lrl("check --read-data").expect(4);
    lab.lrl("export latest --out rest --skip-damaged").expect(4);
    lab.lrl("export latest --out rest --skip-damaged --force").expect(3);
}

#[test]
fn other_databases_of_a_site_keep_their_names_when_the_first_is_lost() {
    let lab = Lab::empty();
    let body = noise(600_000, 9);
    for (path, body) in [("site/a.db", body.as_slice()), ("site/d/b.db", b"x"), ("site/d/c.db", b"y")] {
        fs::create_dir_all(lab.path(path).parent().unwrap()).unwrap();
        let database = rusqlite::Connection::open(lab.path(path)).unwrap();
        database.execute_batch("CREATE TABLE t(x)").unwrap();
        database.execute("INSERT INTO t VALUES (?1)", [body]).unwrap();
    }
    lab.write("site/files/one", b"one");
    lab.lrl("backup --root site --snapshot-only").expect(0);
    damage(&lab, &body[200_000..]);
    let run = lab.lrl("export --source site --out rest --skip-damaged").expect(3);
    assert!(run.stderr.contains("not exported: a.db"), "{}", run.stderr);
    let mut names: Vec<_> =
        fs::read_dir(lab.path("rest")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("lrl_db"));
    names.sort();
    assert!(
        names.len() == 2 && names[0].starts_with("lrl_db-d-b.db_") && names[1].starts_with("lrl_db-d-c.db_"),
        "{names:?}"
    );
    let manifest = only(&lab.path("rest"), "manifest");
    lab.lrl(&format!("restore --manifest {} --target new", manifest.display())).expect(1);
    let run = lab.lrl(&format!("restore --manifest {} --target new --skip-damaged", manifest.display())).expect(3);
    assert!(run.stderr.contains("not restored: a.db"), "{}", run.stderr);
    assert!(!lab.path("new/a.db").exists() && lab.path("new/d/b.db").exists() && lab.path("new/files/one").exists());
}
