//! Sets made and drilled by a Python script that was written from the manual, for tests of programs that read and write sets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use crate::common::{Lab, sha256};

/// Writes the set of a data directory: `WRITER data out stamp`.
const WRITER: &str = r#"
import hashlib, json, pathlib, sqlite3, sys, tarfile
data, out, stamp = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
out.mkdir(parents=True, exist_ok=True)
digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
copy, archive = out / f"lrl_db_{stamp}.sqlite", out / f"lrl_assets_{stamp}.tar.gz"
live, twin = sqlite3.connect(data / "lrl.db"), sqlite3.connect(copy)
live.backup(twin)
live.close(); twin.close()
files = [path for path in (data / "assets").rglob("*") if path.is_file()]
with tarfile.open(archive, "w:gz") as tar:
    for path in files:
        tar.add(path, arcname=str(path.relative_to(data)))
day, time = stamp.split("_")
iso = f"{day[:4]}-{day[4:6]}-{day[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}.250000+00:00"
manifest = {"timestamp_utc": stamp, "created_at": iso, "version": "1.0", "backups": [
    {"type": "database", "source": str(data / "lrl.db"), "backup": str(copy),
     "size_bytes": copy.stat().st_size, "sha256": digest(copy)},
    {"type": "assets", "source": str(data / "assets"), "backup": str(archive), "file_count": len(files),
     "total_source_size_bytes": sum(path.stat().st_size for path in files),
     "archive_size_bytes": archive.stat().st_size, "sha256": digest(archive)}]}
(out / f"backup_manifest_{stamp}.json").write_text(json.dumps(manifest, indent=2))
"#;

/// Drills a set as the manual describes it: `DRILL manifest`; the files are where the manifest says. Exit code 1 if anything is wrong.
const DRILL: &str = r#"
import hashlib, json, pathlib, sqlite3, sys, tarfile, tempfile
manifest = json.loads(pathlib.Path(sys.argv[1]).read_text())
assert list(manifest)[:4] == ["timestamp_utc", "created_at", "version", "backups"], list(manifest)
for entry in manifest["backups"]:
    path = pathlib.Path(entry["backup"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"], path
    if entry["type"] == "database":
        assert path.stat().st_size == entry["size_bytes"]
        tables = {row[0] for row in sqlite3.connect(path).execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"users", "assets"} <= tables and tables & {"content", "content_items"}, tables
    else:
        assert path.stat().st_size == entry["archive_size_bytes"]
        with tempfile.TemporaryDirectory() as place, tarfile.open(path, "r:gz") as tar:
            count = sum(member.isfile() for member in tar.getmembers())
            tar.extractall(place)
            found = [path for path in pathlib.Path(place).rglob("*") if path.is_file() and not path.is_symlink()]
            assert count == len(found) == entry["file_count"], (count, len(found), entry)
            assert sum(path.stat().st_size for path in found) == entry["total_source_size_bytes"]
        with tarfile.open(path, "r|gz") as tar:
            assert sum(member.isfile() for member in tar) == count
"#;

fn python(script: &str, arguments: &[&Path], directory: &Path) -> Output {
    Command::new("python3").arg("-c").arg(script).args(arguments).current_dir(directory).output().unwrap()
}

/// Writes the lab's set under `out` with Python; returns the manifest's path relative to the lab.
#[track_caller]
pub fn write_with_python(lab: &Lab, out: &str, stamp: &str) -> PathBuf {
    let output = python(WRITER, &[Path::new("./data"), Path::new(out), Path::new(stamp)], &lab.path(""));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Path::new(out).join(format!("backup_manifest_{stamp}.json"))
}

/// Drills a set with Python; returns what it complains about.
pub fn drill_with_python(lab: &Lab, manifest: &Path) -> Result<(), String> {
    let output = python(DRILL, &[manifest], &lab.path(""));
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Finds the manifests in a directory of the lab, oldest first, relative to the lab.
pub fn manifests(lab: &Lab, directory: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(lab.path(directory)).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "json"));
    found.sort();
    found.iter().map(|path| path.strip_prefix(lab.path("")).unwrap().to_path_buf()).collect()
}

/// Changes a file of the lab in place.
pub fn change(lab: &Lab, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(lab.path(&path)).unwrap();
    change(&mut bytes);
    fs::write(lab.path(&path), bytes).unwrap();
}

/// Returns every file below a directory with its bytes and time.
pub fn state(directory: &Path) -> BTreeMap<String, (String, SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(state(&path));
        } else {
            let time = path.metadata().unwrap().modified().unwrap();
            files.insert(path.display().to_string(), (sha256(&fs::read(&path).unwrap()), time));
        }
    }
    files
}

#[test]
fn a_set_whose_manifest_was_mended_is_compared_with_its_snapshot() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let manifest = lab.path(manifests(&lab, "backups").remove(0));
    let archive = crate::helpers::outputs(&lab, "backups", ".tar.gz").remove(0);
    let good = [fs::read(&manifest).unwrap(), fs::read(&archive).unwrap()];
    // Another archive, and a manifest that fits it.
    lab.upload("evil/v1.txt", b"evil");
    lab.lrl("backup --source other --out other").expect(0);
    let other = fs::read(crate::helpers::outputs(&lab, "other", ".tar.gz").remove(0)).unwrap();
    fs::write(&archive, &other).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&good[0]).unwrap();
    document["backups"][1]["sha256"] = crate::common::sha256(&other).into();
    document["backups"][1]["archive_size_bytes"] = other.len().into();
    fs::write(&manifest, document.to_string()).unwrap();
    let restore = |flags: &[&str]| {
        let line =
            ["restore".as_ref(), "--data-dir".as_ref(), "to".as_ref(), "--manifest".as_ref(), manifest.as_os_str()];
        lab.run(line.into_iter().chain(flags.iter().map(|flag| flag.as_ref())))
    };
    let run = restore(&[]).expect(4);
    assert!(run.stderr.contains("is not what its snapshot says") && !lab.path("to").exists(), "{}", run.stderr);
    assert!(restore(&["--force"]).expect(0).stderr.contains("is not what its snapshot says"));
    assert!(lab.path("to/assets/evil").exists());
    // A part that was removed from it; with the store elsewhere, and with none.
    document["backups"].as_array_mut().unwrap().remove(1);
    fs::write(&manifest, document.to_string()).unwrap();
    restore(&["--db-only"]).expect(4);
    fs::rename(lab.path("backups/store"), lab.path("store")).unwrap();
    let store = lab.path("store");
    let run = restore(&["--store", store.to_str().unwrap()]).expect(4);
    assert!(run.stderr.contains("the uploads are not there"), "{}", run.stderr);
    restore(&[]).expect(0);
    fs::write(&manifest, &good[0]).unwrap();
    fs::write(&archive, &good[1]).unwrap();
    restore(&["--store", store.to_str().unwrap()]).expect(0);
}
