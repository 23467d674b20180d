//! The application that a watch runs: started, told of signals, and waited for.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lrl_store::error::Error;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, waitid};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::{SIGHUP, SIGINT};

use super::service;
use crate::exit::Result;
use crate::signal::Attendant;
use crate::umask;

/// A program that runs as a child.
#[derive(Debug)]
pub struct Application {
    pid: Option<Pid>,
    ended: Arc<Mutex<Option<u8>>>,
}

impl Application {
    /// Starts a program: the first word, with the others as its arguments. `attendant` is woken when it ends.
    pub fn start(words: &[OsString], attendant: &'static Attendant) -> Result<Option<Self>> {
        let Some((program, arguments)) = words.split_first() else { return Ok(None) };
        let mut command = Command::new(program);
        command.args(arguments);
        service::VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
        let failed = |error: io::Error| Error::io("run", program)(error);
        let child = umask::with_callers(|| command.spawn()).map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let ended = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&ended);
        let wait = move || {
            wait_for(child, pid, &slot);
            attendant.wake();
        };
        thread::Builder::new().name("application".into()).spawn(wait).map_err(failed)?;
        Ok(Some(Self { pid, ended }))
    }

    /// Returns the exit code that the application ended with, if it has: 128 and the signal's number if one ended it.
    pub fn ended(&self) -> Option<u8> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a signal on, unless it ended or the terminal sent it the signal as well.
    pub fn signal(&self, number: i32) {
        if matches!(number, SIGINT | SIGHUP) && is_in_foreground() {
            return;
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(pid), Some(signal)) = (*ended, self.pid, Signal::from_named_raw(number)) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Waits for the end, and keeps the exit code in `slot`. Only while `slot` is locked is the process reaped: until then nobody else has its number.
fn wait_for(mut child: Child, pid: Option<Pid>, slot: &Mutex<Option<u8>>) {
    if let Some(pid) = pid {
        while matches!(
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT),
            Err(rustix::io::Errno::INTR)
        ) {}
    }
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    *slot = Some(child.wait().map_or(1, code_of));
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Returns whether Ctrl-C in the terminal goes to this process and its children.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}
