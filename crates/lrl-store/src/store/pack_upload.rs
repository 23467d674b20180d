//! The threads that make finished packs durable, so that the compressing threads need not wait: one for a disk, where order costs nothing and two
//! would only fight for its head; several where each pack is a few round trips to another machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::names::pack_name;
use crate::backend::{Backend, Payload, TempObject};
use crate::budget::{PACK_QUEUE, UPLOADERS};
use crate::error::{Error, Result};
use crate::id::PackId;

type Pack = (PackId, TempObject);

/// Packs on their way.
pub(crate) struct PackUploader {
    queue: SyncSender<Pack>,
    threads: Vec<JoinHandle<Result<()>>>,
    failed: Arc<AtomicBool>,
}

impl PackUploader {
    pub(crate) fn start(backend: &Arc<dyn Backend>) -> Self {
        let (queue, packs) = sync_channel(PACK_QUEUE);
        let (packs, failed) = (Arc::new(Mutex::new(packs)), Arc::new(AtomicBool::new(false)));
        let threads = if backend.capabilities().cost_per_request { UPLOADERS } else { 1 };
        let thread = |_| {
            let (backend, packs, failed) = (Arc::clone(backend), Arc::clone(&packs), Arc::clone(&failed));
            std::thread::spawn(move || write(&*backend, &packs, &failed))
        };
        Self { queue, threads: (0..threads).map(thread).collect(), failed }
    }

    /// Hands a pack over, waiting for a free thread; returns whether it will be written if nothing fails.
    pub(crate) fn send(&self, id: PackId, temp: TempObject) -> bool {
        !self.failed.load(Ordering::Relaxed) && self.queue.send((id, temp)).is_ok()
    }

    /// Waits for all packs; the first error of any thread ends them all.
    pub(crate) fn finish(self) -> Result<()> {
        drop(self.queue);
        let died = || Err(Error::Refused("the thread that writes packs died".into()));
        let ended: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died())).collect();
        ended.into_iter().collect()
    }
}

fn write(backend: &dyn Backend, packs: &Mutex<Receiver<Pack>>, failed: &AtomicBool) -> Result<()> {
    loop {
        let next = packs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // What waits after an error is not written: nothing will name it.
        let Ok((id, temp)) = next else { return Ok(()) };
        if failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Err(error) = backend.put(&pack_name(&id), Payload::TempObject(temp)) {
            failed.store(true, Ordering::Relaxed);
            return Err(error);
        }
    }
}
