//! Input written by an attacker or a bad disk: lrl ends with the documented exit code, changes nothing outside, and uses no more memory
//! than for valid input.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lrl_store::id::SnapshotId;

use crate::common::{Lab, Run};
use crate::helpers::{as_nobody, assert_same, assert_whole, files_with, look, outputs, python};
use crate::python_sets::write_with_python;

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
        ("a hard link to a file outside", "add('assets/h', type=tarfile.LNKTYPE, link='../victim')"),
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
        // Below the limit of one value, so that they would be read, sorted and kept.
        (
            "columns that are computed, each within the limit",
            "db.execute(\"CREATE TABLE assets(id, storage_path AS (hex(zeroblob(4000000)) || id), size_bytes, sha256 AS (hex(zeroblob(4000000))))\"); db.executemany('INSERT INTO assets(id) VALUES (?)', [(n,) for n in range(40)])".into(),
            false,
        ),
        (
            "40 rows with long digests and ids",
            format!("{assets}; db.executemany(\"INSERT INTO assets VALUES (?, 'ab12/v1.txt', 12, ?)\", [(str(n) + 'i' * 3000000, 'd' * 25000000) for n in range(40)])"),
            false,
        ),
        (
            "long ids that are a key",
            "db.execute('CREATE TABLE assets(id TEXT PRIMARY KEY, storage_path, size_bytes, sha256)'); db.executemany(\"INSERT INTO assets VALUES (?, 'ab12/v1.txt', 12, NULL)\", [(str(n) + 'i' * 7000000,) for n in range(12)])".into(),
            true,
        ),
        (
            "an index on an expression",
            format!("{assets}; db.execute('CREATE INDEX i ON users(zeroblob(255000000 + id))'); db.execute('INSERT INTO users VALUES (1)')"),
            false,
        ),
        (
            "an index on many long expressions",
            format!("{assets}; db.execute('CREATE TABLE w(x); '); db.execute('CREATE INDEX i ON w(' + ', '.join('hex(zeroblob(2000000 + %d))' % n for n in range(60)) + ')')\ntry: db.execute('INSERT INTO w VALUES (1)')\nexcept Exception: pass"),
            false,
        ),
        (
            "long names of tables",
            format!("{assets}; [db.execute('CREATE TABLE \"%d%s\"(x)' % (n, 'n' * 900000)) for n in range(22)]"),
            true,
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

#[test]
fn a_hostile_schema_costs_a_backup_no_memory_and_a_snapshot_no_room() {
    let lab = Lab::small();
    python(
        &lab,
        "
import sqlite3
db = sqlite3.connect('data/lrl.db', isolation_level=None)
db.execute('BEGIN')
# Each statement reads the schema again: the long names come last.
for n in range(4000): db.execute('CREATE TABLE \"%s\"(x)' % ('t%05d' % n * 40))
for n in range(22): db.execute('CREATE TABLE \"%d%s\"(x)' % (n, 'n' * 900000))
db.commit()",
        &[],
    );
    for line in ["backup", "backup --rescan"] {
        let run = lean(&lab, line);
        assert!([0, 3].contains(&run.code), "{}", run.stderr);
        lab.database().execute("INSERT INTO users VALUES (?1, 'x', 'x', 'x', 'x')", [line]).unwrap();
    }
    let snapshots = files_with(&lab.path("backups/store/snapshots"), "lab");
    assert!(snapshots.iter().all(|path| fs::metadata(path).unwrap().len() < 128 << 10));
    assert!([0, 4].contains(&lean(&lab, "drill --snapshot latest").code));
}

#[test]
fn nobody_else_reads_what_a_drill_unpacks() {
    let mut lab = Lab::small();
    for n in 0..3000 {
        lab.write(format!("data/assets/f/{n:05}"), "x".repeat(100));
    }
    lab.write("data/assets/private.txt", "private");
    lab.lrl("backup").expect(0);
    fs::create_dir(lab.path("tmp")).unwrap();
    for (dir, mode) in [("tmp", 0o1777), ("", 0o755)] {
        fs::set_permissions(lab.path(dir), fs::Permissions::from_mode(mode)).unwrap();
    }
    let tmp = lab.path("tmp").to_str().unwrap().to_string();
    lab.set("TMPDIR", &tmp);
    // Another user looks all the time; what it sees of modes, and what it can read, is told at the end.
    let script = "
import os, sys, time
os.setgid(65534) if os.getuid() == 0 else None; os.setuid(65534) if os.getuid() == 0 else None
top, other = sys.argv[1], os.getuid() == 65534
modes, read = set(), 0
print('ready', flush=True)
while not os.path.exists(top + '/done'):
    for name in os.listdir(top):
        if not name.startswith('lrl-drill-'): continue
        try: modes.add('%o' % (os.lstat(top + '/' + name).st_mode & 0o7777))
        except FileNotFoundError: continue
        try: read += other and len(os.listdir(top + '/' + name)) >= 0
        except (PermissionError, FileNotFoundError): pass
print(sorted(modes), read)";
    for umask in ["022", "000", "0777"] {
        let _ = fs::remove_file(lab.path("tmp/done"));
        let mut watcher = Command::new("python3");
        watcher.args(["-c", script, &tmp]).stdout(std::process::Stdio::piped());
        let mut watcher = watcher.spawn().unwrap();
        let mut out = std::io::BufReader::new(watcher.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let mut drill = Command::new("sh");
        drill.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_lrl"), "drill"]);
        drill.current_dir(lab.path("")).env("TMPDIR", &tmp).env("HOME", lab.path("home"));
        let run: Run = drill.output().unwrap().into();
        run.expect(0);
        fs::write(lab.path("tmp/done"), "").unwrap();
        line.clear();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        watcher.wait().unwrap();
        assert_eq!(line, "['700'] 0\n", "umask {umask}");
    }
}

#[test]
fn what_a_killed_drill_unpacked_is_removed_by_the_next_verb_and_traps_are_not() {
    let mut lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.write("precious/file", "x");
    lab.set("TMPDIR", lab.path("tmp").to_str().unwrap());
    fs::create_dir(lab.path("tmp")).unwrap();
    std::os::unix::fs::symlink(lab.path("precious"), lab.path("tmp/lrl-drill-trap")).unwrap();
    for line in ["status", "snapshots", "backup", "check", "drill"] {
        lab.write("tmp/lrl-drill-dead/assets/private.txt", "private");
        lab.lrl(line).expect(0);
        assert_eq!(crate::helpers::names(lab.path("tmp")), ["lrl-drill-trap"], "{line}");
        assert!(lab.path("precious/file").exists());
    }
    // A drill that lives keeps what is its own.
    lab.write("tmp/lrl-drill-alive/file", "x");
    let held = fs::File::open(lab.path("tmp/lrl-drill-alive")).unwrap();
    held.lock().unwrap();
    lab.lrl("snapshots").expect(0);
    assert!(lab.path("tmp/lrl-drill-alive/file").exists());
}

#[test]
fn a_snapshot_that_holds_more_than_it_states_is_damaged() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let store = lab.path("backups/store/snapshots/lab");
    let good = fs::read_to_string(files_with(&store, "-").remove(0)).unwrap();
    for (member, number) in [("entries", 2), ("bytes", 70_000)] {
        let start = good.find("\"files\":{").unwrap();
        let at = start + good[start..].find(&format!("\"{member}\":")).unwrap() + member.len() + 3;
        let end = at + good[at..].find([',', '}']).unwrap();
        let bytes = format!("{}{number}{}", &good[..at], &good[end..]);
        let id = SnapshotId::of(bytes.as_bytes()).to_string();
        fs::write(store.join(format!("{:016x}-{id}", 1)), bytes).unwrap();
        let run = lean(&lab, &format!("drill --snapshot {id}"));
        assert_eq!(run.code, 4, "{member}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("holds more than the "), "{member}: {}", run.stdout);
        fs::remove_file(store.join(format!("{:016x}-{id}", 1))).unwrap();
    }
}

#[test]
fn a_tebibyte_of_hole_is_drilled_without_hashing_it() {
    let lab = Lab::small();
    lab.write("data/assets/sparse", "begin");
    let file = fs::File::options().write(true).open(lab.path("data/assets/sparse")).unwrap();
    if file.set_len(1 << 40).is_err() {
        return;
    }
    lean(&lab, "backup --snapshot-only");
    let run = lean(&lab, "drill --snapshot latest");
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.contains("files with holes of 1 GiB and more, of which no SHA-256 was computed: 1"),
        "{}",
        run.stdout
    );
}
