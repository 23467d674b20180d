//! lrl and its peers: which are here, and the command that each needs for each task.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{At, Result};

/// What a tool is asked to do. The first five are a repository's, the last three a set's (`.sqlite` and `.tar.gz`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Makes an empty repository.
    Init,
    /// Stores the data directory.
    Snapshot,
    /// Writes the newest snapshot to a new directory.
    Restore,
    /// Writes only its database there.
    RestoreDatabase,
    /// Reads and verifies everything that is stored.
    Verify,
    /// Writes a set.
    Set,
    /// Unpacks the newest set to a new directory.
    RestoreSet,
    /// Verifies the newest set.
    Drill,
}

/// Where a tool works.
pub struct Place {
    /// The data directory.
    pub data: PathBuf,
    /// The repository, or the directory of sets.
    pub repository: PathBuf,
    /// Where restores go.
    pub target: PathBuf,
    /// Caches and settings of the tool alone, and its current directory.
    pub home: PathBuf,
    /// Snapshots and sets so far.
    pub runs: u32,
}

/// Every tool there is, in the order of tables and plots.
pub const NAMES: [&str; 7] = ["lrl", "restic", "borg", "rustic", "python", "tar+gzip", "tar+pigz"];

/// One program to measure.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name in results.
    pub name: &'static str,
    /// What it says it is.
    pub version: String,
    program: PathBuf,
}

/// A tool that is not measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub tool: String,
    /// Why.
    pub reason: String,
}

/// Where to find what is not on the path.
pub struct Programs<'a> {
    /// The binary `lrl`.
    pub lrl: &'a Path,
    /// The binary `rustic`.
    pub rustic: Option<&'a Path>,
    /// The directory of the operations manual's `backup.py` and `restore_drill.py`.
    pub python_scripts: Option<&'a Path>,
}

/// Finds out which tools can be measured; lrl has to be there.
pub fn find(programs: &Programs<'_>) -> Result<(Vec<Tool>, Vec<LeftOut>)> {
    let (mut tools, mut left_out) = (Vec::new(), Vec::new());
    let lrl = fs::canonicalize(programs.lrl).at(programs.lrl)?;
    let given = |path: Option<&Path>| path.map(|path| fs::canonicalize(path).at(path)).transpose();
    let (rustic, python) = (given(programs.rustic)?, given(programs.python_scripts)?);
    for name in NAMES {
        let program = match name {
            "lrl" => Ok(lrl.clone()),
            "rustic" => rustic.clone().ok_or("was not given (--rustic PATH)"),
            "python" => python.clone().ok_or("was not given (--python-scripts DIR)"),
            _ => Ok(name.trim_start_matches("tar+").into()),
        };
        let found = program.map_err(String::from).and_then(|program| Ok((versions(name, &program)?, program)));
        match found {
            Ok((version, program)) => tools.push(Tool { name, version, program }),
            Err(reason) => left_out.push(LeftOut { tool: name.into(), reason }),
        }
    }
    match left_out.iter().find(|left| left.tool == "lrl") {
        Some(left) => Err(format!("{}: {}", programs.lrl.display(), left.reason).into()),
        None => Ok((tools, left_out)),
    }
}

/// Says what a tool and the programs that it needs call themselves.
fn versions(name: &str, program: &Path) -> std::result::Result<String, String> {
    let text = program.to_string_lossy();
    match name {
        "restic" => says(&[&text, "version"]),
        "python" => match ["backup.py", "restore_drill.py"].iter().find(|script| !program.join(script).is_file()) {
            Some(script) => Err(format!("was given without {script}")),
            None => says(&["python3", "--version"]),
        },
        "tar+gzip" | "tar+pigz" => {
            let all = [says(&["sqlite3", "--version"])?, says(&["tar", "--version"])?, says(&[&text, "--version"])?];
            Ok(all.join("; "))
        }
        _ => says(&[&text, "--version"]),
    }
}

/// Returns the first line that a program prints.
fn says(arguments: &[&str]) -> std::result::Result<String, String> {
    let output = Command::new(arguments[0]).args(&arguments[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{} cannot be run: {error}", arguments[0]))?;
    let text =
        String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout }).into_owned();
    let line = text.lines().next().unwrap_or_default();
    match output.status.success() {
        // sqlite3 adds a digest of its source, restic its compiler.
        true => Ok(match arguments[0] {
            "sqlite3" => format!("sqlite3 {}", line.split(' ').next().unwrap_or_default()),
            _ => line.split(" compiled with").next().unwrap_or_default().trim().to_owned(),
        }),
        false => Err(format!("{} fails: {line}", arguments[0])),
    }
}

/// Returns a tool's version; for lrl with the commit of the source beside it.
pub fn described(tool: &Tool) -> String {
    let commit = || {
        let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
        let commit = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        Some(format!("{} ({})", tool.version, commit.trim()))
    };
    if tool.name == "lrl" { commit().unwrap_or_else(|| tool.version.clone()) } else { tool.version.clone() }
}

impl Tool {
    /// Returns whether every run writes everything again: then it is slow, and leaves older sets unused.
    pub fn rewrites(&self) -> bool {
        matches!(self.name, "python" | "tar+gzip" | "tar+pigz")
    }

    /// Returns the command for a task; `None` if it is not this tool's.
    pub fn command(&self, task: Task, at: &Place) -> Option<Command> {
        let mut command = match self.name {
            "lrl" => self.lrl(task, at),
            "restic" => self.restic(task, at),
            "borg" => self.borg(task, at),
            "rustic" => self.rustic(task, at),
            "python" => self.python(task, at),
            _ => self.tar(task, at),
        }?;
        let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let own: Vec<_> = command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
        command.env_clear().envs(own).env("PATH", search).env("HOME", &at.home).env("LC_ALL", "C.UTF-8");
        if command.get_current_dir().is_none() {
            command.current_dir(&at.home);
        }
        Some(command)
    }

    fn start(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    fn lrl(&self, task: Task, at: &Place) -> Option<Command> {
        let mut command = match task {
            Task::Init => self.start(&["init"]),
            Task::Snapshot => self.start(&["backup", "--snapshot-only"]),
            Task::Set => self.start(&["backup"]),
            Task::Restore | Task::RestoreSet => self.start(&["restore"]),
            Task::RestoreDatabase => self.start(&["restore", "--db-only"]),
            Task::Verify => self.start(&["check", "--read-data"]),
            Task::Drill => self.start(&["drill"]),
        };
        command.arg("--quiet").arg("--backup").arg(&at.repository);
        match task {
            Task::Snapshot | Task::Set => command.arg("--data-dir").arg(&at.data),
            Task::Restore | Task::RestoreDatabase | Task::RestoreSet => command.arg("--data-dir").arg(&at.target),
            Task::Init | Task::Verify | Task::Drill => &mut command,
        };
        if task == Task::RestoreSet {
            command.arg("--manifest").arg(newest(&at.repository, ".json")?);
        }
        Some(command)
    }

    fn restic(&self, task: Task, at: &Place) -> Option<Command> {
        let mut command = match task {
            Task::Init => self.start(&["init"]),
            Task::Snapshot => self.start(&["backup"]),
            Task::Restore | Task::RestoreDatabase => self.start(&["restore", "latest"]),
            Task::Verify => self.start(&["check", "--read-data"]),
            Task::Set | Task::RestoreSet | Task::Drill => return None,
        };
        command.arg("--quiet").arg("--repo").arg(&at.repository);
        command.env("RESTIC_PASSWORD", "benchmark").env("RESTIC_CACHE_DIR", at.home.join("cache"));
        match task {
            Task::Snapshot => command.arg(&at.data),
            Task::Restore => command.arg("--target").arg(&at.target),
            Task::RestoreDatabase => {
                command.arg("--target").arg(&at.target).arg("--include").arg(at.data.join("lrl.db"))
            }
            _ => &mut command,
        };
        Some(command)
    }

    fn borg(&self, task: Task, at: &Place) -> Option<Command> {
        let archive = |number: u32| {
            let mut name = at.repository.clone().into_os_string();
            name.push(format!("::{number}"));
            name
        };
        let mut command = match task {
            Task::Init => self.start(&["init", "--encryption", "repokey-blake2"]),
            Task::Snapshot => self.start(&["create", "--compression", "zstd,3"]),
            Task::Restore | Task::RestoreDatabase => self.start(&["extract"]),
            Task::Verify => self.start(&["check", "--verify-data"]),
            Task::Set | Task::RestoreSet | Task::Drill => return None,
        };
        command.env("BORG_PASSPHRASE", "benchmark").env("BORG_BASE_DIR", at.home.join("borg"));
        match task {
            Task::Snapshot => command.arg(archive(at.runs)).arg(".").current_dir(&at.data),
            Task::Restore => command.arg(archive(at.runs)).current_dir(&at.target),
            Task::RestoreDatabase => command.arg(archive(at.runs)).arg("lrl.db").current_dir(&at.target),
            _ => command.arg(&at.repository),
        };
        Some(command)
    }

    fn rustic(&self, task: Task, at: &Place) -> Option<Command> {
        let mut command = match task {
            Task::Init => self.start(&["init"]),
            Task::Snapshot => self.start(&["backup"]),
            Task::Restore | Task::RestoreDatabase => self.start(&["restore"]),
            Task::Verify => self.start(&["check", "--read-data"]),
            Task::Set | Task::RestoreSet | Task::Drill => return None,
        };
        command.env("RUSTIC_REPOSITORY", &at.repository).env("RUSTIC_PASSWORD", "benchmark");
        command.env("RUSTIC_NO_CACHE", "true").env("RUSTIC_LOG_LEVEL", "warn").env("RUSTIC_NO_PROGRESS", "true");
        match task {
            Task::Snapshot => command.arg(&at.data),
            Task::Restore => command.arg("latest").arg(&at.target),
            Task::RestoreDatabase => {
                let file = format!("latest:{}", at.data.join("lrl.db").display());
                command.arg(file).arg(at.target.join("lrl.db"))
            }
            _ => &mut command,
        };
        Some(command)
    }

    fn python(&self, task: Task, at: &Place) -> Option<Command> {
        let script = |name: &str| {
            let mut command = Command::new("python3");
            command.arg(self.program.join(name));
            command
        };
        match task {
            Task::Set => {
                let mut command = script("backup.py");
                command.arg("--data-dir").arg(&at.data).arg("--out").arg(&at.repository);
                Some(command)
            }
            Task::Drill => {
                let mut command = script("restore_drill.py");
                command.arg("--backup").arg(&at.repository);
                Some(command)
            }
            Task::RestoreSet => unpack(at),
            _ => None,
        }
    }

    /// `sqlite3 .backup`, and `tar` piped through a compressor.
    fn tar(&self, task: Task, at: &Place) -> Option<Command> {
        let squeeze = "sqlite3 \"$1/lrl.db\" \".backup '$2/$3.sqlite'\" && tar -C \"$1\" -cf - assets | \"$4\" -6 > \"$2/$3.tar.gz\"";
        match task {
            Task::Set => Some(shell(squeeze, &[&at.data, &at.repository, &at.runs.to_string(), &self.program])),
            Task::RestoreSet => unpack(at),
            _ => None,
        }
    }
}

/// The manual's way to restore a set: `cp` and `tar`.
fn unpack(at: &Place) -> Option<Command> {
    let (database, archive) = (newest(&at.repository, ".sqlite")?, newest(&at.repository, ".tar.gz")?);
    Some(shell("cp \"$1\" \"$3/lrl.db\" && tar -xzf \"$2\" -C \"$3\"", &[&database, &archive, &at.target]))
}

fn shell(script: &str, arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(arguments.iter().map(|argument| argument.as_ref()));
    command
}

/// Returns the file with this ending whose name, which begins with a time or a number, comes last.
pub fn newest(directory: &Path, ending: &str) -> Option<PathBuf> {
    let names = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    names
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .max_by_key(|path| (path.as_os_str().len(), path.clone()))
}

/// Finds the data directory in what was restored: some tools repeat its whole path.
pub fn restored(target: &Path) -> Option<PathBuf> {
    let found = walkdir::WalkDir::new(target).into_iter().filter_map(std::result::Result::ok);
    found.filter(|found| found.file_name() == "lrl.db").map(|found| found.path().with_file_name("")).next()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{newest, restored};

    #[test]
    fn the_newest_of_numbers_and_of_times_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["9.tar.gz", "10.tar.gz", "10.sqlite", "lrl_db_20260101_000000.sqlite", "lrl_db_20260101_000001.sqlite"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(newest(dir.path(), ".tar.gz").unwrap(), dir.path().join("10.tar.gz"));
        assert_eq!(newest(dir.path(), ".sqlite").unwrap(), dir.path().join("lrl_db_20260101_000001.sqlite"));
        assert_eq!(newest(dir.path(), ".json"), None);
    }

    #[test]
    fn what_was_restored_is_found_however_deep() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(restored(dir.path()), None);
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/lrl.db"), "").unwrap();
        assert_eq!(restored(dir.path()).unwrap(), dir.path().join("a/b/"));
    }
}
