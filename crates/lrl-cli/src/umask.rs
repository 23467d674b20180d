//! What is created is private by its own mode; the caller's umask may take from others, but never from the owner.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::Mode;
use rustix::process::umask;

/// As the process found it.
static ASKED: AtomicU32 = AtomicU32::new(0o022);

/// Takes the owner's bits out of the process's umask: a directory that its owner cannot enter would end the run half way. Called once,
/// before any thread is started.
pub fn own() {
    let asked = umask(Mode::RWXG | Mode::RWXO);
    ASKED.store(asked.bits(), Ordering::Relaxed);
    umask(asked & (Mode::RWXG | Mode::RWXO));
}

/// Runs `job` with the umask that the process was started with: what it starts is to find that.
pub fn with_callers<T>(job: impl FnOnce() -> T) -> T {
    let ours = umask(Mode::from_bits_truncate(ASKED.load(Ordering::Relaxed)));
    let done = job();
    umask(ours);
    done
}
