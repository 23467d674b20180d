//! What systemd is told: that the watch is ready, how it goes, and that it lives. The protocol of sd_notify(3): datagrams to the socket that
//! NOTIFY_SOCKET names. Without one nobody is told.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The variables, which are not for the application.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The supervisor of this process, if it has one.
#[derive(Debug)]
pub struct Service {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// It wants to hear at least this often that the watch lives.
    watchdog: Option<Duration>,
    last: Mutex<Instant>,
}

impl Service {
    /// Looks at the environment.
    pub fn of_environment() -> Self {
        let [socket, usec, pid] = VARIABLES.map(std::env::var_os);
        let socket = socket.and_then(|name| connect(&name));
        let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
        let is_ours = pid.is_none_or(|pid| number(&pid) == Some(std::process::id().into()));
        let usec = usec.filter(|_| is_ours).and_then(|usec| number(&usec)).filter(|usec| *usec > 0);
        // As sd_watchdog_enabled(3) advises: twice as often.
        let watchdog = usec.map(|usec| Duration::from_micros(usec) / 2).filter(|_| socket.is_some());
        Self { socket, watchdog, last: Mutex::new(Instant::now()) }
    }

    /// Tells that the watch is ready.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Tells that the watch ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Tells in one line how it goes.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// Returns how often [`Service::beat`] is to be called, if at all.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Returns in how long it is due again.
    pub fn next_beat(&self) -> Duration {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.watchdog.unwrap_or_default().saturating_sub(last.elapsed())
    }

    /// Tells that the watch lives, if that is due.
    pub fn beat(&self) {
        let Some(every) = self.watchdog else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= every / 2 {
            *last = Instant::now();
            self.tell("WATCHDOG=1");
        }
    }

    /// Nothing depends on the supervisor's hearing it.
    fn tell(&self, text: &str) {
        if let Some((socket, to)) = &self.socket {
            let _ = socket.send_to_addr(text.as_bytes(), to);
        }
    }
}

fn connect(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok()?,
        [b'/', ..] => SocketAddr::from_pathname(name).ok()?,
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, to))
}
