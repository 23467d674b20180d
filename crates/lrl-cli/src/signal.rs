//! Ctrl-C, SIGTERM and SIGHUP. The first asks the engine to stop cleanly, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Begins to listen. Without a handler (it cannot be set), signals end the process as usual, which the store survives.
pub fn install() {
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
}

/// Returns whether a signal asked lrl to stop.
pub fn interrupted() -> bool {
    ASKED.load(Ordering::Relaxed)
}
