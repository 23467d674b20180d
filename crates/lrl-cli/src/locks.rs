//! Asks who holds SQLite's locks from a child process, this program itself: to look at a lock a file has to be opened, and closing
//! it drops the locks that the own process may have on it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use lrl_store::ops::restore::{LockHolder, lock_holder};

use crate::exit::Exit;

/// The first argument of the child. No flag: nobody is to use it.
const WORD: &str = "__lock-holder";

/// Starts a child that looks.
pub fn ask(database: &Path) -> io::Result<Option<LockHolder>> {
    let mut child = Command::new("/proc/self/exe");
    child.arg(WORD).arg(database).stdin(Stdio::null()).stderr(Stdio::null());
    let output = child.output()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "none" => Ok(None),
        "unseen" => Ok(Some(LockHolder::Unseen)),
        pid => pid.parse().map(|pid| Some(LockHolder::Process(pid))).map_err(io::Error::other),
    }
}

/// Is that child, if the arguments say so.
pub fn answer(arguments: &[OsString]) -> Option<Exit> {
    let [_, word, database] = arguments else { return None };
    if word != OsStr::new(WORD) {
        return None;
    }
    let answer = match lock_holder(Path::new(database)) {
        Ok(None) => "none".to_string(),
        Ok(Some(LockHolder::Unseen)) => "unseen".to_string(),
        Ok(Some(LockHolder::Process(pid))) => pid.to_string(),
        Err(_) => return Some(Exit::Failed),
    };
    let written = io::Write::write_all(&mut io::stdout(), answer.as_bytes());
    Some(if written.is_ok() { Exit::Done } else { Exit::Failed })
}
