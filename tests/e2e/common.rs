//! The harness: a lab in a temporary directory, and the binary run in it with an environment of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use sha2::{Digest, Sha256};

/// A temporary directory to run lrl in.
pub struct Lab {
    root: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// Exit code and output of one run of lrl.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub stdout_bytes: Vec<u8>,
}

impl Run {
    /// Fails the test unless the run ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Reads standard output as the one JSON document that it must be.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout_bytes).unwrap_or_else(|e| panic!("{e}\n{}", self.stdout))
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            stdout_bytes: output.stdout,
        }
    }
}

impl Lab {
    /// Makes an empty directory.
    pub fn empty() -> Self {
        Self { root: tempfile::tempdir().unwrap(), environment: BTreeMap::new() }
    }

    /// Makes a directory with `data/`: a small database, and uploads that match its rows.
    pub fn small() -> Self {
        let lab = Self::empty();
        fs::create_dir_all(lab.path("data/assets")).unwrap();
        let connection = lab.database();
        connection.execute_batch(SCHEMA).unwrap();
        connection.execute("INSERT INTO users VALUES ('u1', 'ada@example.org', 'Ada', 'x', 'active')", []).unwrap();
        for n in 0..20 {
            let body = format!("{{\"text\":\"block {n}\"}}").repeat(40);
            connection
                .execute("INSERT INTO content_items VALUES (?1, ?2, ?3, ?4)", (n, format!("slug-{n}"), "Title", body))
                .unwrap();
        }
        lab.upload("ab12/v1.txt", b"a few words\n");
        lab.upload("ab12/v2.txt", b"a few more words\n");
        lab.upload("cd34/v1.bin", &noise(70_000, 1));
        fs::create_dir(lab.path("data/assets/empty")).unwrap();
        lab
    }

    /// Returns a path in the lab.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(relative)
    }

    /// Opens the lab's database, as the application would.
    pub fn database(&self) -> Connection {
        Connection::open(self.path("data/lrl.db")).unwrap()
    }

    /// Writes an upload and its row.
    pub fn upload(&self, name: &str, bytes: &[u8]) {
        self.write(Path::new("data/assets").join(name), bytes);
        self.database()
            .execute(
                "INSERT OR REPLACE INTO assets VALUES (?1, ?1, 'application/octet-stream', ?2, ?3, ?1, 'public')",
                (name, bytes.len() as i64, sha256(bytes)),
            )
            .unwrap();
    }

    /// Writes a file, making its directory.
    pub fn write(&self, relative: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes a file that only its owner can read, as secrets are kept.
    pub fn secret(&self, relative: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        self.write(&relative, bytes);
        fs::set_permissions(self.path(relative), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Sets a variable for the runs that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    /// Returns the variables that were set for runs.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Prepares a run without starting it: nothing of this process's environment but `PATH`, a home of its own.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lrl"));
        command.args(arguments).current_dir(self.root.path()).env_clear().stdin(Stdio::null());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", self.path("home"));
        // Tests wait until a file counts as settled.
        command.env("LRL_SETTLE_TIME", "2s").env("LRL_STATE_DIR", self.path("state")).envs(&self.environment);
        command
    }

    /// Runs lrl with words split at blanks.
    pub fn lrl(&self, line: &str) -> Run {
        self.run(line.split_whitespace())
    }

    /// Runs lrl.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        self.command(arguments).output().unwrap().into()
    }
}

/// Returns bytes that do not compress, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Returns the SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const SCHEMA: &str = "
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT, display_name TEXT, password_hash TEXT, status TEXT);
CREATE TABLE content_items (id INTEGER PRIMARY KEY, slug TEXT UNIQUE, title TEXT, body TEXT);
CREATE TABLE assets (id TEXT PRIMARY KEY, filename_original TEXT, mime_type TEXT, size_bytes INTEGER, sha256 TEXT,
                     storage_path TEXT, visibility TEXT);
";

/// Returns what the document of a backup says of its database.
pub fn database(run: &serde_json::Value) -> &serde_json::Value {
    let backups = run["backups"].as_array().unwrap_or_else(|| panic!("{run:#}"));
    backups.iter().find(|one| one["type"] == "database").unwrap_or(&serde_json::Value::Null)
}
