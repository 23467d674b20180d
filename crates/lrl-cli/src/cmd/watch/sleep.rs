//! Sleeps until a time has come, an event is there, a signal came, or the application ended.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::signal::Attendant;

/// Sleeps for up to this long; `events` wakes it too, if it is given. Returns whether it did.
pub fn sleep(attendant: &Attendant, events: Option<BorrowedFd<'_>>, time: Duration) -> bool {
    let mut wanted = vec![PollFd::from_borrowed_fd(attendant.as_fd(), PollFlags::IN)];
    wanted.extend(events.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let timeout =
        Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() };
    // Whatever wakes it early, the caller looks what is due.
    let _ = poll(&mut wanted, Some(&timeout));
    if wanted[0].revents().contains(PollFlags::IN) {
        attendant.rest();
    }
    wanted.get(1).is_some_and(|events| !events.revents().is_empty())
}
