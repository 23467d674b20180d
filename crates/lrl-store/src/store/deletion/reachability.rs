//! Checks whether a snapshot depends on chunks whose only copies are in packs scheduled for deletion. Asked of a parent before its parts are
//! reused unread, and of a new snapshot whose run took long, before it is listed.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, Piece};
use crate::format::references::Roots;
use crate::format::snapshot::Snapshot;
use crate::id::ChunkId;
use crate::store::tree::visit::{NodeAt, Visitor, visit};
use crate::store::write::WriteSession;

/// Looks up all that a list refers to, until something is not there.
struct Presence<'w, 's> {
    session: &'w WriteSession<'s>,
}

enum Stop {
    Absent,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Presence<'_, '_> {
    fn require(&self, id: &ChunkId) -> Result<(), Stop> {
        if self.session.knows(id)? { Ok(()) } else { Err(Stop::Absent) }
    }
}

impl Visitor for Presence<'_, '_> {
    type Stop = Stop;

    fn enter(&mut self, node: &NodeAt<'_>) -> Result<bool, Stop> {
        self.require(node.id).map(|()| true)
    }

    fn read(&mut self, node: &NodeAt<'_>) -> Result<Vec<u8>> {
        self.session.store().read_node(node.id)
    }

    fn unreadable(&mut self, _: &NodeAt<'_>, error: Error) -> Result<(), Stop> {
        Err(if error.is_final() { Stop::Failed(error) } else { Stop::Absent })
    }

    fn malformed(&mut self, _: &NodeAt<'_>, _: Error) -> Result<(), Stop> {
        Err(Stop::Absent)
    }

    fn chunk(&mut self, id: &ChunkId, _: u64) -> Result<(), Stop> {
        self.require(id)
    }

    fn leave(&mut self, _: &NodeAt<'_>) -> Result<(), Stop> {
        Ok(())
    }
}

impl WriteSession<'_> {
    /// Returns whether these lists, of databases and of files, refer to anything that is in no pack that stays.
    pub(crate) fn depends_on_pending_deletion(&self, databases: &[&ChunkId], files: Option<&ChunkId>) -> Result<bool> {
        let mut presence = Presence { session: self };
        // Weights are not compared here.
        let done = databases.iter().try_for_each(|root| visit::<Piece, _>(root, 0, &mut presence));
        match done.and_then(|()| files.map_or(Ok(()), |root| visit::<Entry, _>(root, 0, &mut presence))) {
            Ok(()) => Ok(false),
            Err(Stop::Absent) => Ok(true),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// As [`Self::depends_on_pending_deletion`], of a whole snapshot.
    pub(crate) fn snapshot_depends_on_pending_deletion(&self, snapshot: &Snapshot) -> Result<bool> {
        let Roots { databases, files } = snapshot.roots();
        self.depends_on_pending_deletion(&databases, files)
    }
}
