//! A file on its way to a browser: read in a thread of its own, no faster than it is taken, and given up where nobody takes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lrl_store::backend::Backend;
use lrl_store::error::Error;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::fs::lock::LockMode;
use lrl_store::ops::dump;
use lrl_store::progress::Observer;
use lrl_store::store::Store;
use tokio::sync::mpsc::{self, Sender, error::TrySendError};

use super::answer::Answer;
use crate::signal;

/// Downloads at a time: each holds a few chunks in memory.
const MOST: usize = 2;
const PIECE: usize = 64 << 10;
const PIECES: usize = 8;
/// How long a browser may take nothing.
const STALLED: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(5);

/// Counts the downloads.
#[derive(Clone, Default)]
pub struct Downloads(Arc<AtomicUsize>);

/// One that is counted until it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Downloads {
    /// Returns whether any is on its way.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Begins to send a file of `len` bytes.
    pub fn start(
        &self,
        backend: Arc<dyn Backend>,
        snapshot: Snapshot,
        path: Vec<u8>,
        len: u64,
        wait: Duration,
    ) -> Answer {
        let counted = Counted(Arc::clone(&self.0));
        if counted.0.fetch_add(1, Ordering::SeqCst) >= MOST {
            return Answer::Text(503, "two downloads are on their way: wait for one of them".into());
        }
        let (sender, pieces) = mpsc::channel(PIECES);
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = String::from_utf8_lossy(last).into_owned();
        let started = thread::Builder::new().name("ui-download".into()).spawn(move || {
            let _counted = counted;
            let sent = send(&backend, &snapshot, &path, wait, &sender);
            if let Err(error) = sent {
                // The browser sees that bytes are missing.
                let _ = put(&sender, Err(io::Error::other(error.to_string())));
            }
        });
        match started {
            Ok(_) => Answer::Download { name, len, pieces },
            Err(error) => Answer::Text(503, format!("no thread for it: {error}")),
        }
    }
}

type Piece = io::Result<Vec<u8>>;

fn send(
    backend: &Arc<dyn Backend>,
    snapshot: &Snapshot,
    path: &[u8],
    wait: Duration,
    sender: &Sender<Piece>,
) -> Result<u64, Error> {
    let store = Store::open(Arc::clone(backend), LockMode::Shared, wait, &Watched)?;
    dump::dump(&store, snapshot, path, &Watched, &mut |bytes| {
        bytes.chunks(PIECE).try_for_each(|piece| put(sender, Ok(piece.to_vec())))
    })
}

fn put(sender: &Sender<Piece>, piece: Piece) -> Result<(), Error> {
    let (mut piece, until) = (piece, Instant::now() + STALLED);
    loop {
        match sender.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(again)) if Instant::now() < until && !signal::interrupted() => piece = again,
            Err(_) => return Err(Error::Interrupted),
        }
        thread::sleep(PAUSE);
    }
}

/// Ends what reads when a signal comes.
struct Watched;

impl Observer for Watched {
    fn interrupted(&self) -> bool {
        signal::interrupted()
    }
}
