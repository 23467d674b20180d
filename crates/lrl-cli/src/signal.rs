//! Ctrl-C, SIGTERM and SIGHUP. The first asks the engine to stop cleanly, the second ends the process at once. A watch saves what is unsaved
//! after the first; there the second asks the engine to stop, and the third ends the process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

static ASKED: AtomicBool = AtomicBool::new(false);
static ATTENDANT: OnceLock<Attendant> = OnceLock::new();
static HEARTBEAT: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Who attends to signals in place of the engine.
#[derive(Debug)]
pub struct Attendant {
    wake: OwnedFd,
    /// The first signal and the last one; 0: none.
    first: AtomicI32,
    last: AtomicI32,
}

/// Begins to listen. Without a handler (it cannot be set), signals end the process as usual, which the store survives.
pub fn install() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let listen = move || signals.forever().for_each(received);
    let _ = thread::Builder::new().name("signals".into()).spawn(listen);
}

fn received(signal: i32) {
    if let Some(attendant) = ATTENDANT.get() {
        attendant.last.store(signal, Ordering::SeqCst);
        let is_first = attendant.first.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if is_first || !ASKED.swap(true, Ordering::SeqCst) {
            attendant.wake();
            return;
        }
    } else if !ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    std::process::exit(i32::from(Exit::Interrupted.code()));
}

/// Returns whether a signal asked lrl to stop.
pub fn interrupted() -> bool {
    if let Some(beat) = HEARTBEAT.get() {
        beat();
    }
    ASKED.load(Ordering::Relaxed)
}

/// Calls `beat` each time work asks whether to stop: a supervisor is to know that it goes on. Only the first call has an effect.
pub fn set_heartbeat(beat: impl Fn() + Send + Sync + 'static) {
    let _ = HEARTBEAT.set(Box::new(beat));
}

/// Attends to signals from now on: the first one does not stop the engine.
///
/// # Errors
/// If the system has no handle to wait for left.
pub fn attend() -> io::Result<&'static Attendant> {
    if ATTENDANT.get().is_none() {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let _ = ATTENDANT.set(Attendant { wake, first: AtomicI32::new(0), last: AtomicI32::new(0) });
    }
    ATTENDANT.get().ok_or_else(|| io::Error::other("nobody attends to signals"))
}

impl Attendant {
    /// Returns the first signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.first.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// Returns the last signal that came and was not yet asked for.
    pub fn take(&self) -> Option<i32> {
        Some(self.last.swap(0, Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// Wakes who waits for [`Attendant::as_fd`].
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Forgets that it was woken.
    pub fn rest(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

impl AsFd for Attendant {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
