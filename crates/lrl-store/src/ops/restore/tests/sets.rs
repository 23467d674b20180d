//! Sets: those that Python wrote as the manual says, damaged ones, hostile ones.

use std::process::Command;

use super::*;
use crate::hint::Hint;
use crate::ops::restore::restore_set;

// Written to the manual: sqlite3's backup, tarfile with files only, json.dump.
const SCRIPT: &str = r#"
import hashlib, json, os, sqlite3, sys, tarfile
source, out = sys.argv[1:3]
digest = lambda p: hashlib.sha256(open(p, 'rb').read()).hexdigest()
backups = []
db = os.path.join(out, 'lrl_db_20260114_120000.sqlite')
a, b = sqlite3.connect(source + '/lrl.db'), sqlite3.connect(db)
a.backup(b); a.close(); b.close()
backups.append({'type': 'database', 'source': './data/lrl.db', 'backup': '../elsewhere/' + os.path.basename(db),
                'size_bytes': os.path.getsize(db), 'sha256': digest(db)})
archive = os.path.join(out, 'lrl_assets_20260114_120000.tar.gz')
count = size = 0
with tarfile.open(archive, 'w:gz') as tar:
    for root, dirs, files in os.walk(source + '/assets'):
        for f in sorted(files):
            p = os.path.join(root, f)
            tar.add(p, arcname=os.path.relpath(p, source)); count += 1; size += os.path.getsize(p)
    if os.path.isdir(source + '/storage'):
        tar.add(source + '/storage', arcname='storage'); count += 1
backups.append({'type': 'assets', 'source': './data/assets', 'backup': archive, 'file_count': count,
                'total_source_size_bytes': size, 'archive_size_bytes': os.path.getsize(archive), 'sha256': digest(archive)})
json.dump({'timestamp_utc': '20260114_120000', 'created_at': '2026-01-14T12:00:00+00:00', 'version': '1.0',
           'backups': backups}, open(out + '/backup_manifest_20260114_120000.json', 'w'), indent=2)
"#;

const MAKE: &str = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('create table users(n)')\n\
                    c.executemany('insert into users values(?)',[(n,) for n in range(500)])\nc.commit()\nc.close()";

fn python(script: &str, args: &[&Path]) -> String {
    let output = Command::new("python3").arg("-c").arg(script).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A set of a small lab; returns its manifest.
fn set(lab: &Lab) -> PathBuf {
    python(MAKE, &[&lab.source().join("lrl.db")]);
    set_mtime(&lab.write("assets/ab/x.txt", b"x"), 1_700_000_000, 0);
    lab.write("assets/cd/y.bin", &[9; 100_000]);
    let out = lab.dir.path().join("backups");
    fs::create_dir(&out).unwrap();
    python(SCRIPT, &[&lab.source(), &out]);
    out.join("backup_manifest_20260114_120000.json")
}

fn run(lab: &Lab, manifest: &Path, what: What) -> Result<Report> {
    restore_set(manifest, &lab.options(what), &Silent)
}

#[test]
fn a_set_that_python_wrote_is_restored() {
    let lab = Lab::new();
    lab.write("storage/key.bin", b"key");
    let manifest = set(&lab);
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("assets/later"), b"later").unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    fs::write(lab.data().join("lrl.db-wal"), b"old wal").unwrap();
    set_mode(&lab.data().join("lrl.db"), 0o640);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(lab.data().join("assets"), Some(1234), Some(2345)).unwrap();
    }
    let before = look(&lab.dir.path().join("backups"));
    let dry = restore_set(&manifest, &Options { dry_run: true, ..lab.options(What::Whole) }, &Silent).unwrap();
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"old");
    let report = run(&lab, &manifest, What::Whole).unwrap();
    assert_eq!((dry.files, dry.restored.len()), (report.files, report.restored.len()));
    assert_eq!((report.files, report.restored.len()), (4, 3));
    let database = fs::metadata(lab.data().join("lrl.db")).unwrap().len();
    assert_eq!((dry.bytes, report.bytes), (report.bytes, database + 1 + 100_000 + 3));
    let parts: Vec<(u64, u64)> = report.restored.iter().map(|one| (one.files, one.bytes)).collect();
    assert_eq!(parts, [(1, database), (2, 100_001), (1, 3)]);
    assert_eq!((&*report.timestamp, report.restored[0].kept.len()), ("20260114_120000", 2));
    assert_eq!(look(&lab.dir.path().join("backups")), before, "the set was touched");
    let count =
        "import sqlite3,sys\nprint(sqlite3.connect(sys.argv[1]).execute('select count(*) from users').fetchone()[0])";
    assert_eq!(python(count, &[&lab.data().join("lrl.db")]).trim(), "500");
    assert_eq!(fs::metadata(lab.data().join("lrl.db")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read(lab.data().join("assets/ab/x.txt")).unwrap(), b"x");
    let x = fs::metadata(lab.data().join("assets/ab/x.txt")).unwrap();
    assert_eq!(x.mtime(), 1_700_000_000);
    assert_eq!(fs::read(lab.dir.path().join("kept/storage/key.bin")).unwrap(), b"key");
    assert_eq!(
        names_in(&lab.data()),
        ["assets", "assets.pre-restore", "lrl.db", "lrl.db.pre-restore", "lrl.db.pre-restore-wal"]
    );
    if is_root {
        // No directory is in such an archive: the application must still be able to write into them.
        assert_eq!(fs::metadata(lab.data().join("assets/ab")).unwrap().uid(), 1234);
        assert_eq!(x.uid(), 0);
    }
}

#[test]
fn links_that_a_script_counts_as_files_are_no_discrepancy() {
    let lab = Lab::new();
    lab.write("assets/ab/z.txt", b"z");
    fs::hard_link(lab.source().join("assets/ab/z.txt"), lab.source().join("assets/ab/again.txt")).unwrap();
    std::os::unix::fs::symlink("z.txt", lab.source().join("assets/ab/link.txt")).unwrap();
    let manifest = set(&lab);
    for dry_run in [true, false] {
        let options = Options { dry_run, ..lab.options(What::AssetsOnly) };
        let report = restore_set(&manifest, &options, &Silent).unwrap();
        assert!(report.notes.iter().all(|note| !note.text().contains("its manifest says")), "{:?}", report.notes);
    }
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    text["backups"][1]["file_count"] = 99.into();
    fs::write(&manifest, text.to_string()).unwrap();
    let report = run(&lab, &manifest, What::AssetsOnly).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("its manifest says 99")), "{:?}", report.notes);
}

#[test]
fn halves_of_a_set_and_sets_without_one() {
    let lab = Lab::new();
    let manifest = set(&lab);
    let _ = run(&lab, &manifest, What::AssetsOnly).unwrap();
    assert_eq!(names_in(&lab.data()), ["assets"]);
    let _ = run(&lab, &manifest, What::DbOnly).unwrap();
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
    assert_eq!(fs::metadata(lab.data().join("lrl.db")).unwrap().mode() & 0o777, 0o600);
    let only = |path: &str| run(&lab, &manifest, What::Paths(vec![path.as_bytes().to_vec()]));
    assert!(matches!(only("assets/nothing"), Err(Error::NotFound(_))));
    assert!(matches!(only("storage/x"), Err(Error::Refused(_))), "it has a place of its own");
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    text["backups"].as_array_mut().unwrap().remove(0);
    fs::write(&manifest, text.to_string()).unwrap();
    let report = run(&lab, &manifest, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("no database")));
    assert!(matches!(run(&lab, &manifest, What::DbOnly), Err(Error::NotFound(_))));
}

#[test]
fn a_set_of_uploads_that_all_lie_elsewhere_comes_back_where_there_is_no_data_directory_yet() {
    let lab = Lab::new();
    python(MAKE, &[&lab.source().join("lrl.db")]);
    lab.write("storage/x", b"x");
    let out = lab.dir.path().join("backups");
    fs::create_dir(&out).unwrap();
    python(SCRIPT, &[&lab.source(), &out]);
    let _ = run(&lab, &out.join("backup_manifest_20260114_120000.json"), What::AssetsOnly).unwrap();
    assert_eq!(fs::read(lab.dir.path().join("kept/storage/x")).unwrap(), b"x");
    // The way back is noted there.
    assert!(lab.data().is_dir());
}

#[test]
fn directories_that_are_made_for_a_set_belong_to_the_owner_that_was_asked_for() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    let manifest = set(&lab);
    let options = Options { owner: Some((1234, 2345)), ..lab.options(What::Whole) };
    let _ = restore_set(&manifest, &options, &Silent).unwrap();
    for path in ["", "lrl.db", "assets", "assets/ab/x.txt"] {
        let meta = fs::metadata(lab.data().join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1234, 2345), "{path}");
    }
}

#[test]
fn a_damaged_or_hostile_set_changes_nothing() {
    let lab = Lab::new();
    let manifest = set(&lab);
    let good = fs::read_to_string(&manifest).unwrap();
    let out = manifest.parent().unwrap();
    let (database, archive) =
        (out.join("lrl_db_20260114_120000.sqlite"), out.join("lrl_assets_20260114_120000.tar.gz"));
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let before = look_inside(&lab.data());
    let refused = |what: &str| {
        let result = run(&lab, &manifest, What::Whole);
        let expected = matches!(result, Err(Error::Corrupt { .. } | Error::Missing { .. } | Error::Refused(_)));
        assert!(expected, "{what}: {result:?}");
        assert_eq!(look_inside(&lab.data()), before, "{what}");
    };
    for path in [&database, &archive] {
        let bytes = fs::read(path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        for (what, damaged) in [("flipped", &flipped[..]), ("cut", &bytes[..bytes.len() - 1]), ("empty", &[])] {
            fs::write(path, damaged).unwrap();
            refused(what);
        }
        fs::remove_file(path).unwrap();
        refused("gone");
        symlink("/etc/passwd", path).unwrap();
        refused("a link");
        fs::remove_file(path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        refused("a FIFO");
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    // Without a digest in the manifest the archive's own checks are left, and its members' names.
    let mut text: serde_json::Value = serde_json::from_str(&good).unwrap();
    text["backups"][1].as_object_mut().unwrap().retain(|key, _| matches!(&**key, "type" | "backup"));
    fs::write(&manifest, text.to_string()).unwrap();
    let hostile = "import tarfile,sys,io\nt=tarfile.open(sys.argv[1],'w:gz')\nfor n in ['assets/ok','../evil']:\n\
                   \x20i=tarfile.TarInfo(n); i.size=1; t.addfile(i, io.BytesIO(b'x'))\nt.close()";
    python(hostile, &[&archive]);
    refused("a member that climbs");
    let file = "import tarfile,sys,io\nt=tarfile.open(sys.argv[1],'w:gz')\ni=tarfile.TarInfo('assets')\ni.size=1\n\
                t.addfile(i, io.BytesIO(b'x'))\nt.close()";
    python(file, &[&archive]);
    refused("a root that is a file");
    let link = "import tarfile,sys\nt=tarfile.open(sys.argv[1],'w:gz')\ni=tarfile.TarInfo('assets')\ni.type=b'2'\n\
                i.linkname='/etc'\nt.addfile(i)\nt.close()";
    python(link, &[&archive]);
    refused("a root that is a link");
    let empty = "import tarfile,sys\ntarfile.open(sys.argv[1],'w:gz').close()";
    python(empty, &[&archive]);
    let report = run(&lab, &manifest, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("no SHA-256")), "{:?}", report.notes);
    assert!(names_in(&lab.data().join("assets")).is_empty());
    assert_eq!(names_in(lab.dir.path()), ["backups", "data", "source"]);
}

#[test]
fn an_interrupted_restore_of_a_set_changes_nothing() {
    let lab = Lab::new();
    let manifest = set(&lab);
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let before = look_inside(&lab.data());
    let restore = |after: i32| restore_set(&manifest, &lab.options(What::Whole), &Impatient(after.into())).map(drop);
    let mut after = 0;
    while let Err(error) = restore(after) {
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert_eq!(look_inside(&lab.data()), before, "after {after}");
        after += 1;
    }
}

#[test]
fn a_set_inside_the_uploads_is_not_carried_away() {
    let lab = Lab::new();
    let manifest = set(&lab);
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    let inside = lab.data().join("assets/backups");
    fs::rename(manifest.parent().unwrap(), &inside).unwrap();
    let result = run(&lab, &inside.join(manifest.file_name().unwrap()), What::Whole);
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
}

#[test]
fn who_has_open_what_a_set_would_replace_is_named() {
    let lab = Lab::new();
    let manifest = set(&lab);
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    for path in ["lrl.db", "assets/x"] {
        let file = lab.data().join(path);
        fs::write(&file, b"old").unwrap();
        let mut holder = Command::new("sleep").arg("60").stdin(File::open(&file).unwrap()).spawn().unwrap();
        let refused = run(&lab, &manifest, What::Whole);
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Err(Error::Refused(text)) = refused else { panic!("{path}: {refused:?}") };
        assert!(text.text().contains("sleep") && text.text().contains(path), "{text}");
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }
    let _ = run(&lab, &manifest, What::Whole).unwrap();
}

#[test]
fn a_set_that_does_not_fit_is_not_begun() {
    let lab = Lab::new();
    let manifest = set(&lab);
    let sound = fs::read_to_string(&manifest).unwrap();
    for (key, large) in [("total_source_size_bytes", 1u64 << 60), ("file_count", 1 << 50)] {
        let at = sound.find(key).unwrap() + key.len() + 3;
        let end = at + sound[at..].find(',').unwrap();
        fs::write(&manifest, format!("{}{large}{}", &sound[..at], &sound[end..])).unwrap();
        for dry_run in [true, false] {
            let options = Options { dry_run, ..lab.options(What::Whole) };
            let Err(Error::Refused(text)) = restore_set(&manifest, &options, &Silent) else { panic!("{key}") };
            assert!(text.text().contains("nothing was changed") && text.hints() == [Hint::MakeSpace], "{text:?}");
            assert!(!lab.data().exists());
        }
    }
}

#[test]
fn each_disk_takes_what_of_a_set_is_restored_to_it() {
    let Some(disk) = Disk::new("8m") else { return };
    let lab = Lab::new();
    let big = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('create table big as select zeroblob(6000000)')\nc.commit()";
    lab.write("assets/four", &[4; 4 << 20]);
    python(big, &[&lab.source().join("lrl.db")]);
    let manifest = set(&lab);
    let uploads = disk.0.path().join("uploads");
    fs::create_dir(&uploads).unwrap();
    fs::create_dir(lab.data()).unwrap();
    std::os::unix::fs::symlink(&uploads, lab.data().join("assets")).unwrap();
    // Together they are longer than the smaller disk.
    let _ = run(&lab, &manifest, What::Whole).unwrap();
    assert_eq!(fs::read(uploads.join("four")).unwrap(), [4; 4 << 20]);
    assert!(fs::metadata(lab.data().join("lrl.db")).unwrap().len() > 6_000_000);

    lab.write("assets/five", &[5; 5 << 20]);
    fs::remove_dir_all(lab.dir.path().join("backups")).unwrap();
    fs::remove_file(lab.source().join("lrl.db")).unwrap();
    let Err(Error::Refused(text)) = run(&lab, &set(&lab), What::Whole) else { panic!() };
    assert!(text.text().contains(&format!("the disk of {} ", disk.0.path().display())), "{text}");
    assert!(!uploads.join("five").exists());
}
