//! Input that an attacker, a bad disk or bad luck wrote: a clear end with the documented exit code, nothing outside touched, and never
//! more memory than for honest input.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lrl_store::id::SnapshotId;

use crate::common::{Lab, Run};
use crate::sets::write_with_python;
use crate::tools::{as_nobody, assert_same, assert_whole, files_with, look, outputs, python};

const STAMP: &str = "20260114_120000";
/// What every command stays below, in MiB.
const MOST: u64 = 64;

/// Runs a command and holds it to its memory.
#[track_caller]
fn lean(lab: &Lab, line: &str) -> Run {
    let script = "
import resource, subprocess, sys
run = subprocess.run(sys.argv[2:])
open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10))
sys.exit(run.returncode if run.returncode >= 0 else 99)";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(lab.path("peak")).arg(env!("CARGO_BIN_EXE_lrl")).args(line.split_whitespace());
    command.current_dir(lab.path("")).env_clear().env("HOME", lab.path("home"));
    let run: Run = command.env("PATH", std::env::var_os("PATH").unwrap()).output().unwrap().into();
    let peak: u64 = fs::read_to_string(lab.path("peak")).unwrap().parse().unwrap();
    assert!(peak < MOST, "lrl {line} took {peak} MiB: {}", run.stderr);
    run
}

/// Writes the archive that a Python script makes (`tar` is open for writing, `add(name, data, type, link)` adds a member) into the set of
/// the old scripts in `old/`, its manifest's digest and counts right.
fn put_archive(lab: &Lab, script: &str) {
    let script = format!(
        "
import hashlib, io, json, sys, tarfile
archive, manifest = sys.argv[1], sys.argv[2]
tar = tarfile.open(archive, 'w:gz', compresslevel=1)
def add(name, data=b'', type=tarfile.REGTYPE, link=''):
    info = tarfile.TarInfo(name); info.type = type; info.linkname = link; info.size = len(data); info.mtime = 1
    tar.addfile(info, io.BytesIO(data))
{script}
tar.close()
document = json.load(open(manifest))
entry = document['backups'][1]
entry['sha256'] = hashlib.sha256(open(archive, 'rb').read()).hexdigest()
json.dump(document, open(manifest, 'w'))"
    );
    let (archive, manifest) = (format!("old/lrl_assets_{STAMP}.tar.gz"), format!("old/backup_manifest_{STAMP}.json"));
    python(lab, &script, &[Path::new(&archive), Path::new(&manifest)]);
}

#[test]
fn hostile_archives_are_refused_by_every_reader() {
    let lab = Lab::small();
    write_with_python(&lab, "old", STAMP);
    lab.write("victim", b"untouched");
    let before = look(&lab.path("data"));
    for (what, script) in [
        ("a name that climbs", "add('assets/../../victim', b'x')"),
        ("an absolute name", "add('/tmp/lrl-hostile-victim', b'x')"),
        ("no name", "add('', b'x')"),
        ("two of one name", "add('assets/a', b'1'); add('assets/b', b'2'); add('assets/a', b'3')"),
        (
            "a link, then a file through it",
            "add('assets/l', type=tarfile.SYMTYPE, link='../..'); add('assets/l/victim', b'x')",
        ),
        (
            "a link out, then a directory of its name",
            "add('assets/l', type=tarfile.SYMTYPE, link='/'); add('assets/l', type=tarfile.DIRTYPE)",
        ),
        ("a further name of what is outside", "add('assets/h', type=tarfile.LNKTYPE, link='../victim')"),
        ("a device", "add('assets/null', type=tarfile.CHRTYPE)"),
        ("a FIFO", "add('assets/fifo', type=tarfile.FIFOTYPE)"),
        ("a name of 5,000 bytes in one component", "add('assets/' + 'n' * 5000, b'x')"),
        ("a sparse member", "add('assets/s', b'x', type=tarfile.GNUTYPE_SPARSE)"),
    ] {
        put_archive(&lab, script);
        let run = lean(&lab, "drill --backup old");
        assert_eq!(run.code, 4, "{what}: {}{}", run.stdout, run.stderr);
        let run = lean(&lab, &format!("restore --manifest old/backup_manifest_{STAMP}.json"));
        assert!(run.code == 1 && run.stderr.contains(".tar.gz"), "{what}: {} {}", run.code, run.stderr);
        let run = lean(&lab, "import old --backup imported");
        // It was the only set.
        assert!([1, 3].contains(&run.code) && run.stderr.contains(".tar.gz"), "{what}: {} {}", run.code, run.stderr);
        assert_same(&look(&lab.path("data")), &before, what);
        assert_eq!(fs::read(lab.path("victim")).unwrap(), b"untouched");
        assert!(!Path::new("/tmp/lrl-hostile-victim").exists());
    }
}

#[test]
fn a_compression_bomb_fills_neither_memory_nor_disk() {
    let lab = Lab::small();
    write_with_python(&lab, "old", STAMP);
    // A gibibyte of zeros, in a megabyte or so.
    let zeros = "
info = tarfile.TarInfo('assets/zeros'); info.size = 1 << 30
class Zeros:
    def read(self, n): return bytes(n)
tar.addfile(info, Zeros())";
    put_archive(&lab, zeros);
    let run = lean(&lab, "drill --backup old");
    assert_eq!(run.code, 4, "its counts are not the manifest's: {}", run.stdout);
    // Headers and nothing else.
    put_archive(&lab, "[add(f'assets/{n:06}', type=tarfile.DIRTYPE) for n in range(60000)]");
    assert_eq!(lean(&lab, "drill --backup old").code, 4);
    // A chunk is no larger than it says: the store has no bombs.
    lab.write("data/assets/zeros", vec![0; 40 << 20]);
    lab.lrl("backup").expect(0);
    assert_eq!(lean(&lab, "check --read-data").code, 0);
    assert_eq!(lean(&lab, "drill").code, 0);
}

/// What stands in place of an object's bytes.
fn hostile_documents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a megabyte of brackets", vec![b'['; 1 << 20]),
        ("nothing", Vec::new()),
        ("null", b"null".to_vec()),
        ("duplicate keys", br#"{"format":1,"format":1,"source":"lab","source":"x"}"#.to_vec()),
        ("a future version", br#"{"format":2,"all":"is different"}"#.to_vec()),
        ("zeros", vec![0; 70_000]),
    ]
}

#[test]
fn hostile_documents_in_the_store_are_named_whatever_their_name_says() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let store = lab.path("backups/store");
    for kind in ["snapshots/lab/0000000000000002-", "index/", "packs/", "drills/lab/0000000000000002-"] {
        for (what, bytes) in hostile_documents() {
            // Under the very name that its bytes give it.
            let id = SnapshotId::of(&bytes).to_string();
            let dir = if kind == "packs/" { format!("{kind}{}/", &id[..2]) } else { kind.to_string() };
            let path = store.join(format!("{dir}{id}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
            let run = lean(&lab, "check --read-data");
            let named = format!("{}{}", run.stdout, run.stderr).contains(kind);
            assert!(
                named && (run.code == 4 || kind.starts_with("packs")),
                "{kind} {what}: {} {}",
                run.code,
                run.stdout
            );
            assert!([0, 1].contains(&lean(&lab, "restore --data-dir new").code), "{kind} {what}");
            let _ = fs::remove_dir_all(lab.path("new"));
            assert_eq!(lean(&lab, &format!("restore {} --data-dir new", first_stamp(&lab))).code, 0, "{kind} {what}");
            fs::remove_dir_all(lab.path("new")).unwrap();
            fs::remove_file(&path).unwrap();
        }
    }
    for (what, bytes) in hostile_documents() {
        let good = fs::read(store.join("config")).unwrap();
        fs::write(store.join("config"), &bytes).unwrap();
        for line in ["snapshots", "restore --data-dir new", "backup", "prune"] {
            let run = lean(&lab, line);
            assert!(run.code == 1 && run.stderr.contains("config"), "{what}, {line}: {} {}", run.code, run.stderr);
        }
        fs::write(store.join("config"), good).unwrap();
    }
    assert_whole(&lab, "backups");
}

fn first_stamp(lab: &Lab) -> String {
    let manifest = outputs(lab, "backups", ".json").remove(0);
    let name = manifest.file_stem().unwrap().to_str().unwrap();
    name.strip_prefix("backup_manifest_").unwrap().to_string()
}

#[test]
fn objects_of_a_tebibyte_are_refused_without_reading_them() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
    let store = lab.path("backups/store");
    for kind in ["config", "snapshots/", "drills/", "index/"] {
        let path = files_with(&store, kind).remove(0);
        let good = fs::read(&path).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        // An index is not a whole small object: its end is looked at, and says that it is none.
        let run = lean(&lab, "check");
        assert_eq!(run.code, 4, "{kind}: {}{}", run.stdout, run.stderr);
        assert!(format!("{}{}", run.stdout, run.stderr).contains(kind), "{kind}: {}", run.stdout);
        for line in ["snapshots", "restore --data-dir new", "forget --keep-last 1", "status"] {
            let run = lean(&lab, line);
            assert!([0, 1, 3, 4].contains(&run.code), "{kind}, {line}: {} {}", run.code, run.stderr);
        }
        let _ = fs::remove_dir_all(lab.path("new"));
        fs::write(&path, good).unwrap();
    }
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    fs::File::options().write(true).open(&manifest).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(lean(&lab, "drill").code, 4);
    assert_eq!(lean(&lab, &format!("restore --data-dir new --manifest {}", manifest.display())).code, 1);
}

/// Writes a database by a Python script (`db` is open) in place of the copy in the old scripts' set, its digest right.
fn put_database(lab: &Lab, script: &str) {
    let script = format!(
        "
import hashlib, json, os, sqlite3, sys
copy, manifest = sys.argv[1], sys.argv[2]
os.remove(copy)
db = sqlite3.connect(copy, isolation_level=None)
db.executescript('CREATE TABLE users(id); CREATE TABLE content_items(id);')
{script}
db.close()
document = json.load(open(manifest))
document['backups'][0]['sha256'] = hashlib.sha256(open(copy, 'rb').read()).hexdigest()
document['backups'][0]['size_bytes'] = os.path.getsize(copy)
json.dump(document, open(manifest, 'w'))"
    );
    let (copy, manifest) = (format!("old/lrl_db_{STAMP}.sqlite"), format!("old/backup_manifest_{STAMP}.json"));
    python(lab, &script, &[Path::new(&copy), Path::new(&manifest)]);
}

#[test]
fn the_drill_of_an_attackers_database_ends_and_changes_nothing() {
    let lab = Lab::small();
    write_with_python(&lab, "old", STAMP);
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id, x AS storage_path, x AS size_bytes, x AS sha256 FROM c";
    let raw = |sql: &str| format!("db.execute('PRAGMA writable_schema = ON'); db.executescript(\"{sql}\")");
    let assets = "db.execute('CREATE TABLE assets(id, storage_path, size_bytes, sha256)')";
    for (what, script, passes) in [
        ("a view in place of the table", format!("db.execute('CREATE VIEW assets AS {endless}')"), false),
        (
            "an endless view that says it is a table",
            format!("db.execute('CREATE VIEW assets AS {endless}'); {}", raw("UPDATE sqlite_master SET type = 'table', rootpage = 2 WHERE name = 'assets'")),
            false,
        ),
        (
            "triggers on everything",
            format!("{assets}; db.execute(\"CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM content_items; END\")"),
            true,
        ),
        ("a virtual table", format!("{assets}; db.execute('CREATE VIRTUAL TABLE f USING fts5(x)')"), true),
        (
            "a virtual table of a module that nobody has",
            format!("{assets}; {}", raw("INSERT INTO sqlite_master VALUES('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING evil(x)')")),
            true,
        ),
        (
            "columns that are computed at great cost",
            "db.execute('CREATE TABLE assets(id, storage_path AS (hex(zeroblob(30000000))), size_bytes, sha256)'); db.execute(\"INSERT INTO assets(id) VALUES (1), (2), (3)\")".into(),
            false,
        ),
        ("a default that calls an extension", format!("{assets}; db.execute(\"CREATE TABLE d(x DEFAULT (load_extension('/tmp/evil.so')))\")"), true),
        ("a schema that does not parse", format!("{assets}; {}", raw("UPDATE sqlite_master SET sql = 'CREATE TABLE users(' WHERE name = 'users'")), false),
        ("a table whose root is the schema's", format!("{assets}; {}", raw("UPDATE sqlite_master SET rootpage = 1 WHERE name = 'users'")), false),
        ("a table beyond the end", format!("{assets}; {}", raw("UPDATE sqlite_master SET rootpage = 4000000 WHERE name = 'users'")), false),
        ("rows that lead outside", format!("{assets}; db.execute(\"INSERT INTO assets VALUES (1, '../../../etc/passwd', 1, 'x')\")"), false),
    ] {
        put_database(&lab, &script);
        let before = look(&lab.path("old"));
        let run = lean(&lab, "drill --backup old --json");
        // The uploads' archive is sound: what fails is the database.
        assert_eq!(run.code, if passes { 0 } else { 4 }, "{what}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.json()["success"], passes, "{what}");
        assert_same(&look(&lab.path("old")), &before, what);
    }
}

#[test]
fn devices_among_the_uploads_are_skipped_and_named() {
    let lab = Lab::small();
    let device = lab.path("data/assets/device");
    if !Command::new("mknod").arg(&device).args(["c", "1", "5"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    // Reading this one would never end.
    let run = lean(&lab, "backup --json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("data/assets/device"), "{}", run.stderr);
    assert!(!lab.lrl("ls latest").expect(0).stdout.contains("device"));
    assert_whole(&lab, "backups");
}

#[test]
fn a_tree_deeper_than_any_path_goes_there_and_back() {
    let lab = Lab::small();
    let script = "
import os, sys
os.chdir(sys.argv[1])
for n in range(1500):
    os.mkdir('deep'); os.chdir('deep')
open('bottom', 'w').write('reached')";
    python(&lab, script, &[&lab.path("data/assets")]);
    assert_eq!(lean(&lab, "backup").code, 0);
    assert_eq!(lean(&lab, "drill").code, 0);
    assert_eq!(lean(&lab, "check --read-data").code, 0);
    let run = lean(&lab, "restore --data-dir new");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let read = "
import os, sys
os.chdir(sys.argv[1])
for n in range(1500): os.chdir('deep')
print(open('bottom').read())";
    assert_eq!(python(&lab, read, &[&lab.path("new/assets")]).trim(), "reached");
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    let run = lean(&lab, &format!("restore --data-dir set --manifest {}", manifest.display()));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(python(&lab, read, &[&lab.path("set/assets")]).trim(), "reached");
    // tempfile's own removal is recursive.
    for top in ["data", "new", "set"] {
        assert!(Command::new("rm").arg("-rf").arg(lab.path(top)).status().unwrap().success());
    }
}

#[test]
fn a_umask_that_forbids_everything_forbids_lrl_nothing() {
    let lab = Lab::small();
    let Some(_) = as_nobody(&lab) else { return };
    let run = |line: &str| {
        let script = "umask 0777; exec \"$@\"";
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script, "sh"])
            .arg(lab.path("lrl"));
        command.args(line.split_whitespace()).current_dir(lab.path("")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", lab.path("home"));
        let run: Run = command.output().unwrap().into();
        run.expect(0)
    };
    for line in [
        "backup",
        "backup",
        "drill",
        "drill --snapshot latest",
        "export latest --out copy",
        "restore",
        "restore --undo",
        "restore --data-dir new",
        "forget --keep-last 1 --prune --max-unused 0",
        "check --read-data",
    ] {
        run(line);
    }
    for place in ["backups", "copy"] {
        for (name, seen) in look(&lab.path(place)) {
            let right = if lab.path(place).join(Path::new(std::str::from_utf8(&name).unwrap())).is_dir() {
                0o700
            } else {
                0o600
            };
            assert_eq!(seen.mode & 0o777, right, "{place}/{}", String::from_utf8_lossy(&name));
        }
    }
    let mode = |path: &str| fs::metadata(lab.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("new/lrl.db"), mode("new/assets")), (mode("data/lrl.db"), mode("data/assets")));
}
