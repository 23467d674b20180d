//! Sets of which the manifest or a file is not what it should be: restore, drill and import say the same of them.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Lab, Run, sha256};

/// A lab with one set; returns the path of its manifest below the lab.
fn with_set() -> (Lab, String) {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let names =
        fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let manifest = names.into_iter().find(|name| name.starts_with("backup_manifest_")).unwrap();
    (lab, format!("backups/{manifest}"))
}

fn read(lab: &Lab, manifest: &str) -> Value {
    serde_json::from_slice(&fs::read(lab.path(manifest)).unwrap()).unwrap()
}

fn write(lab: &Lab, manifest: &str, document: &Value) {
    fs::write(lab.path(manifest), document.to_string()).unwrap();
}

/// The entry of one type.
fn entry<'a>(document: &'a mut Value, kind: &str) -> &'a mut Value {
    document["backups"].as_array_mut().unwrap().iter_mut().find(|one| one["type"] == kind).unwrap()
}

/// Makes the database of the set one of these bytes, with a manifest that says so, as another program might write it.
fn garbage(lab: &Lab, manifest: &str, bytes: &[u8]) {
    let mut document = read(lab, manifest);
    document.as_object_mut().unwrap().remove("lrl");
    let database = entry(&mut document, "database");
    let stated = database["backup"].as_str().unwrap();
    let file = lab.path("backups").join(stated.rsplit('/').next().unwrap());
    fs::remove_file(&file).unwrap();
    fs::write(file, bytes).unwrap();
    database["size_bytes"] = bytes.len().into();
    database["sha256"] = sha256(bytes).into();
    write(lab, manifest, &document);
}

#[test]
fn a_file_that_is_no_database_does_not_replace_one() {
    let (lab, manifest) = with_set();
    let whole = fs::read(lab.path("data/lrl.db")).unwrap();
    let mut odd = whole.clone();
    odd[100..4000].fill(0xee);
    for (bytes, path) in [(b"no database\n".repeat(1000), ""), (whole[..4096].to_vec(), ""), (odd, " --only lrl.db")] {
        garbage(&lab, &manifest, &bytes);
        for line in ["--dry-run", "", "--db-only"] {
            let run = lab
                .lrl(&format!("restore --manifest {manifest} {line}{}", if line == "--db-only" { "" } else { path }))
                .expect(4);
            assert!(
                run.stderr.contains("no database that can be read") && run.stderr.contains("--force"),
                "{}",
                run.stderr
            );
            assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), whole);
            assert!(!lab.path("data/lrl.db.pre-restore").exists());
        }
        lab.lrl(&format!("restore --manifest {manifest} --assets-only --dry-run")).expect(0);
    }
    lab.lrl(&format!("restore --manifest {manifest} --force")).expect(0);
    assert_ne!(fs::read(lab.path("data/lrl.db")).unwrap(), whole);
    lab.lrl("restore --undo").expect(0);
    assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), whole);
}

#[test]
fn a_file_of_a_site_that_is_no_database_does_not_replace_one() {
    let lab = Lab::small();
    fs::create_dir_all(lab.path("site/inside")).unwrap();
    for name in ["app.db", "inside/more.db"] {
        fs::copy(lab.path("data/lrl.db"), lab.path("site").join(name)).unwrap();
    }
    lab.lrl("backup --root site").expect(0);
    let names =
        fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let manifest = format!("backups/{}", names.into_iter().find(|name| name.starts_with("backup_manifest_")).unwrap());
    let before = read(&lab, &manifest);
    for number in 0..2 {
        let mut document = before.clone();
        document.as_object_mut().unwrap().remove("lrl");
        let databases = document["backups"].as_array_mut().unwrap().iter_mut().filter(|one| one["type"] == "database");
        let database = databases.into_iter().nth(number).unwrap();
        let stated = database["backup"].as_str().unwrap().to_string();
        let file = lab.path("backups").join(stated.rsplit('/').next().unwrap());
        let whole = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, b"garbage").unwrap();
        (database["size_bytes"], database["sha256"]) = (7.into(), sha256(b"garbage").into());
        write(&lab, &manifest, &document);
        for line in ["--dry-run", ""] {
            let run = lab.lrl(&format!("restore --manifest {manifest} --root site {line}")).expect(4);
            assert!(run.stderr.contains("no database that can be read"), "{}", run.stderr);
        }
        fs::write(&file, whole).unwrap();
    }
    let entries = fs::read_dir(lab.path("site")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(
        entries.filter(|name| !name.to_string_lossy().starts_with(".lrl")).count(),
        2,
        "nothing was put in place"
    );
}

#[test]
fn what_restore_refuses_in_a_manifest_drill_and_import_refuse_as_well() {
    let (lab, manifest) = with_set();
    let good = read(&lab, &manifest);
    let verbs = |lab: &Lab| -> [Run; 3] {
        [
            format!("restore --manifest {manifest} --dry-run"),
            format!("drill --manifest {manifest}"),
            "import backups --store other --source other".into(),
        ]
        .map(|line| lab.lrl(&line))
    };
    for (kind, key, value) in [
        ("database", "size_bytes", json!(1e30)),
        ("database", "size_bytes", json!(7)),
        ("database", "size_bytes", json!("many")),
        ("assets", "archive_size_bytes", json!(7)),
        ("assets", "file_count", json!(-1)),
        ("assets", "total_source_size_bytes", json!(-1)),
        ("assets", "layout", json!("odd")),
        ("database", "path", json!("../x")),
        ("database", "sha256", json!(5)),
        ("", "timestamp_utc", json!("../../x")),
        ("", "timestamp_utc", json!("20269999_999999")),
        ("", "timestamp_utc", json!(5)),
        ("", "version", json!("2.0")),
        ("", "version", json!(2)),
        ("", "created_at", json!(["x"])),
    ] {
        let mut document = good.clone();
        document.as_object_mut().unwrap().remove("lrl");
        let place = if kind.is_empty() { &mut document } else { entry(&mut document, kind) };
        place[key] = value.clone();
        write(&lab, &manifest, &document);
        let [restored, drilled, imported] = verbs(&lab);
        assert_eq!(
            (restored.code, drilled.code),
            (1, 4),
            "{kind} {key} {value}: {}{}",
            restored.stderr,
            drilled.stdout
        );
        assert_ne!(imported.code, 0, "{kind} {key} {value}: {}", imported.stdout);
        assert!(
            !lab.path("other").exists() || lab.lrl("snapshots --store other --json").json()["snapshots"] == json!([]),
            "{kind} {key} {value}"
        );
    }
    write(&lab, &manifest, &good);
    for run in verbs(&lab) {
        run.expect(0);
    }
}
