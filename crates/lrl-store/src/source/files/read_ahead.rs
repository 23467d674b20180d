//! The walk in a thread of its own, a little ahead of its user: the system looks for files while the user compares those before.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::exclude::Excludes;
use super::walk::{Found, Root, walk};
use crate::budget::{DELIVERIES, DELIVERY_ENTRIES, DELIVERY_NAMES_BYTES};
use crate::error::{Error, Result};
use crate::progress::{Observer, Problem};

/// Does what [`walk`] does; `visit` is called in the caller's thread.
pub(crate) fn walk_ahead(
    roots: &[Root],
    excludes: &Excludes,
    skip: &[PathBuf],
    observer: &dyn Observer,
    visit: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<Vec<Problem>> {
    std::thread::scope(|scope| {
        let (queue, deliveries) = sync_channel(DELIVERIES);
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
        if self.found.len() < DELIVERY_ENTRIES && self.names < DELIVERY_NAMES_BYTES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        self.names = 0;
        self.queue.send(std::mem::take(&mut self.found)).map_err(|_| Error::Interrupted)
    }
}
