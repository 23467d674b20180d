//! The file that a collector of Prometheus reads: replaced as a whole, keeping what a run did not measure.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::families::About;
use super::text::{Sample, read, write};
use crate::replace::replace;

/// A file that was named by mistake must not fill the memory.
const MOST_BYTES: u64 = 4 << 20;
/// How long a run waits for another one that replaces the file.
const WAIT: Duration = Duration::from_secs(2);

/// Replaces the file's samples by new ones, and keeps the others: those of other stores, sources and commands, and what could not be measured this
/// time.
///
/// # Errors
/// If the file cannot be written in its directory.
pub fn update(path: &Path, new: Vec<Sample>) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Another run would read what this one is about to replace. A lock of the directory leaves no file there.
    let _lock = locked(dir)?;
    let old = match current(path) {
        Ok(text) => read(&text),
        // A device or a pipe was named by mistake, and a directory cannot be replaced.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Err(e),
        Err(_) => Vec::new(),
    };
    replace(path, write(&merged(old, new)).as_bytes(), 0o644)
}

fn locked(dir: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    let until = Instant::now() + WAIT;
    // A file system without locks is no reason to tell nothing.
    while flock(&dir, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
        && Instant::now() < until
    {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(dir)
}

/// Returns what the file has now.
///
/// # Errors
/// If it is no regular file: a pipe or a device may never end.
pub fn current(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Puts new samples before the old ones that they do not replace.
fn merged(old: Vec<Sample>, mut new: Vec<Sample>) -> Vec<Sample> {
    let kept: Vec<Sample> = old.into_iter().filter(|old| !new.iter().any(|new| replaces(new, old))).collect();
    new.extend(kept);
    new
}

/// Labels beyond these, such as a state, are those of one measurement: it replaces the earlier one as a whole.
fn replaces(new: &Sample, old: &Sample) -> bool {
    let same = |names: &[&str]| names.iter().all(|name| new.label(name) == old.label(name));
    new.family.name == old.family.name
        && match new.family.about {
            About::Program => true,
            About::Run => same(&["source", "store", "verb"]),
            About::Source => same(&["source", "store"]),
            About::Store => same(&["store"]),
        }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::families::{ADDED, EXIT_CODE, FREE, SNAPSHOTS};
    use super::super::text::{Sample, read};
    use super::update;

    #[test]
    fn what_was_not_measured_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lrl.prom");
        let sample = |name, labels: &[(&str, &str)], value| Sample::new(name, labels, value).unwrap();
        let a = [("source", "a"), ("store", "/s")];
        let of_run = |command, value| sample(EXIT_CODE, &[a[0], a[1], ("verb", command)], value);
        let state = |state, value| sample(SNAPSHOTS, &[a[0], a[1], ("state", state)], value);
        let of_b = sample(ADDED, &[("source", "b"), ("store", "/s")], 7.0);
        let first = vec![of_run("backup", 0.0), of_run("drill", 4.0), state("good", 1.0), state("failed", 1.0), of_b];
        update(&path, first).unwrap();
        update(&path, vec![of_run("backup", 1.0), state("good", 2.0), sample(FREE, &[a[1]], 5.0)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let values: Vec<(&str, f64)> = read(&text).iter().map(|found| (found.family.name, found.value)).collect();
        let expected = [(EXIT_CODE, 1.0), (EXIT_CODE, 4.0), (SNAPSHOTS, 2.0), (ADDED, 7.0), (FREE, 5.0)];
        assert_eq!(values, expected, "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        // What somebody else wrote there is no reason to fail.
        std::fs::write(&path, b"\xff{}\nother 1\n").unwrap();
        update(&path, vec![of_run("backup", 0.0)]).unwrap();
        assert_eq!(read(&std::fs::read_to_string(&path).unwrap()).len(), 1);
    }
}
