//! The walk in a thread of its own, a little ahead of its user: the system looks for files while the user compares those before.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::exclude::Excludes;
use super::walk::{Found, Root, walk};
use crate::error::{Error, Result};
use crate::progress::{Observer, Problem};

/// Entries and bytes of names after which a batch is sent; at most four batches exist at once.
const ENTRIES: usize = 256;
const NAMES: usize = 1 << 20;

/// Does what [`walk`] does; `visit` is called in the caller's thread.
pub(crate) fn walk_ahead(
    roots: &[Root],
    excludes: &Excludes,
    skip: &[PathBuf],
    observer: &dyn Observer,
    visit: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<Vec<Problem>> {
    std::thread::scope(|scope| {
        let (queue, deliveries) = sync_channel(2);
        let walker = scope.spawn(move || {
            let mut delivery = Delivery { queue, found: Vec::new(), names: 0 };
            let problems = walk(roots, excludes, skip, observer, &mut |found| delivery.add(found))?;
            delivery.send()?;
            Ok(problems)
        });
        // What makes the user stop also stops the walk, by closing the queue: the user's error is the one that counts.
        let visited = deliveries.into_iter().flatten().try_for_each(visit);
        let walked = walker.join().unwrap_or_else(|_| Err(Error::Refused("the thread that walks died".into())));
        visited.and(walked)
    })
}

struct Delivery {
    queue: SyncSender<Vec<Found>>,
    found: Vec<Found>,
    names: usize,
}

impl Delivery {
    fn add(&mut self, found: Found) -> Result<()> {
        self.names += found.held_bytes();
        self.found.push(found);
        if self.found.len() < ENTRIES && self.names < NAMES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        self.names = 0;
        self.queue.send(std::mem::take(&mut self.found)).map_err(|_| Error::Interrupted)
    }
}
