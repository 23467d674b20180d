//! Runs a program that is told of a run: without a shell, in a minimal environment, with a time limit.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The variables that a program gets: none of them is a secret.
const VARIABLES: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"];
/// How soon the end of a program is noticed.
const TICK: Duration = Duration::from_millis(10);
/// How long a program that was killed may take to end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Runs a program with its arguments; `input` is its standard input, its standard output goes to standard error.
///
/// # Errors
/// Why it did not end with 0. One that takes longer than the limit is killed, with its process group.
pub fn run(words: &[String], input: String, limit: Duration) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let failed = |e: io::Error| format!("{program}: {e}");
    let error = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    let variables = VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(error))
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may read nothing; then this thread ends with it.
        let _ = thread::Builder::new().spawn(move || _ = stdin.write_all(input.as_bytes()));
    }
    match wait(&mut child, limit).map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{program} ended with {status}")),
        None => Err(format!("{program} was killed: it took longer than {} s", limit.as_secs_f64())),
    }
}

/// Waits for its end; `None` if it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = ended_within(child, limit)? {
        return Ok(Some(status));
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It has one of its own.
        let _ = kill_process_group(group, Signal::KILL);
    }
    // What even that does not end, as one that waits for a dead disk, is not waited for.
    ended_within(child, LAST_WAIT)?;
    Ok(None)
}

fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => thread::sleep(TICK),
            ended => return Ok(ended),
        }
    }
}
