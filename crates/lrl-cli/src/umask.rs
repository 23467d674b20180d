//! What is created is private by its own mode; the caller's umask may take from others, but never from the owner.

use rustix::fs::Mode;
use rustix::process::umask;

/// Takes the owner's bits out of the process's umask: a directory that its owner cannot enter would end the run half way. Called once,
/// before any thread is started.
pub fn own() {
    let asked = umask(Mode::RWXG | Mode::RWXO);
    umask(asked & (Mode::RWXG | Mode::RWXO));
}
