//! One run of a program: wall time, processor time, peak memory; and what a directory takes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use wait4::Wait4;
use walkdir::WalkDir;

use crate::error::{At, Result};

/// Time and memory of one run.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of processor time, of the program and all that it started.
    pub cpu: f64,
    /// The largest process's resident memory, in MiB.
    pub peak: f64,
}

/// Runs a program to its end, its output appended to `log`; with `sync` until the file system of that path is on disk. An exit code
/// other than 0 is an error that ends with the last lines of the log.
pub fn run(command: &mut Command, log: &Path, sync: Option<&Path>) -> Result<Usage> {
    run_up_to(0, command, log, sync)
}

/// The same, where exit codes up to `warning` are no failure.
pub fn run_up_to(warning: i32, command: &mut Command, log: &Path, sync: Option<&Path>) -> Result<Usage> {
    let mut output = File::options().create(true).append(true).read(true).open(log).at(log)?;
    let before = output.seek(SeekFrom::End(0)).at(log)?;
    let same = || output.try_clone().at(log);
    command.stdin(Stdio::null()).stdout(same()?).stderr(same()?);
    // A child's peak begins with what this process holds when it starts it: so let that not be an old peak of our own.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let start = Instant::now();
    let child = command.spawn().at(Path::new(command.get_program()))?;
    let ended = child.wait4()?;
    if let Some(path) = sync.filter(|path| path.exists()) {
        settle(path)?;
    }
    let wall = start.elapsed().as_secs_f64();
    if ended.status.code().is_none_or(|code| code > warning) {
        output.seek(SeekFrom::Start(before)).at(log)?;
        let mut said = Vec::new();
        output.read_to_end(&mut said).at(log)?;
        let said = String::from_utf8_lossy(&said);
        let last: Vec<_> = said.lines().rev().take(3).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
        return Err(format!("{} ended with {}: {last}", command.get_program().display(), ended.status).into());
    }
    let usage = ended.rusage;
    Ok(Usage { wall, cpu: (usage.utime + usage.stime).as_secs_f64(), peak: usage.maxrss as f64 / (1 << 20) as f64 })
}

/// Writes the file system of `path` to disk, so that nobody pays for what was written before.
pub fn settle(path: &Path) -> Result<()> {
    let directory = File::open(path).at(path)?;
    rustix::fs::syncfs(&directory).at(path)
}

/// Sums up the bytes of all files below `path`, hard links once, directories marked as caches not at all; 0 if nothing is there.
pub fn bytes_below(path: &Path) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut sum = 0;
    let all = WalkDir::new(path).into_iter().filter_entry(|found| !found.path().join("CACHEDIR.TAG").exists());
    for found in all {
        let found = match found {
            Err(error) if error.depth() == 0 => return Ok(0),
            found => found?,
        };
        let meta = found.metadata()?;
        if meta.is_file() && seen.insert((meta.dev(), meta.ino())) {
            sum += meta.len();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::{bytes_below, run};

    #[test]
    fn a_run_is_measured_and_a_failing_one_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = |script: &str| run(Command::new("sh").args(["-c", script]), &log, Some(dir.path()));
        let usage = script("x=0; while [ $x -lt 20000 ]; do x=$((x + 1)); done").unwrap();
        assert!(usage.cpu > 0.0 && usage.wall > 0.0 && usage.peak > 0.5, "{usage:?}");
        let failed = script("echo first; echo the reason >&2; exit 3").unwrap_err().to_string();
        assert!(failed.contains("exit status: 3: first / the reason"), "{failed}");
        assert!(run(&mut Command::new("/nowhere/at/all"), &log, None).is_err());
    }

    #[test]
    fn caches_and_further_names_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("store/cache")).unwrap();
        fs::write(path("store/pack"), [0; 100]).unwrap();
        fs::hard_link(path("store/pack"), path("again")).unwrap();
        fs::write(path("store/cache/CACHEDIR.TAG"), "x").unwrap();
        fs::write(path("store/cache/cache.db"), [0; 1000]).unwrap();
        assert_eq!(bytes_below(dir.path()).unwrap(), 100);
        assert_eq!(bytes_below(&path("nothing")).unwrap(), 0);
    }
}
