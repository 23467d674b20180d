//! Whether a snapshot leans on what is to be deleted: on chunks whose only copies stand in packs that a prune has written down. Asked of a
//! parent before its parts are taken over unread, and of a new snapshot whose run took long, before it is listed.

use crate::error::Result;
use crate::format::entry::{Content, Entry, Kind, Piece};
use crate::format::node::{self, Item, Node};
use crate::format::snapshot::Snapshot;
use crate::id::ChunkId;
use crate::store::write::WriteSession;

trait References: Item {
    fn is_present(&self, session: &WriteSession<'_>) -> Result<bool>;
}

impl References for Piece {
    fn is_present(&self, session: &WriteSession<'_>) -> Result<bool> {
        match self {
            Self::Data { id, .. } => session.knows(id),
            Self::Hole { .. } => Ok(true),
        }
    }
}

impl References for Entry {
    fn is_present(&self, session: &WriteSession<'_>) -> Result<bool> {
        match &self.kind {
            Kind::File { content: Content::Inline(pieces), .. } => all(pieces, session),
            Kind::File { content: Content::Tree(root), .. } => tree::<Piece>(root, session),
            Kind::Dir | Kind::Symlink { .. } | Kind::Hardlink { .. } => Ok(true),
        }
    }
}

fn all<T: References>(items: &[T], session: &WriteSession<'_>) -> Result<bool> {
    for item in items {
        if !item.is_present(session)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says whether all of a list stands; one that cannot be read does not.
fn tree<T: References>(root: &ChunkId, session: &WriteSession<'_>) -> Result<bool> {
    if !session.knows(root)? {
        return Ok(false);
    }
    let read = session.store().read_node(root).and_then(|bytes| node::decode::<T>(&bytes, &format!("node {root}")));
    match read {
        Ok(Node::Leaf(items)) => all(&items, session),
        Ok(Node::Inner(_, children)) => {
            for child in &children {
                if !tree::<T>(&child.id, session)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(e) if e.is_final() => Err(e),
        Err(_) => Ok(false),
    }
}

impl WriteSession<'_> {
    /// Says whether these lists, of a database and of uploads, reach something that stands in no pack that stays.
    pub(crate) fn depends_on_pending_deletion(
        &self,
        database: Option<&ChunkId>,
        uploads: Option<&ChunkId>,
    ) -> Result<bool> {
        let database = database.map_or(Ok(true), |root| tree::<Piece>(root, self))?;
        Ok(!(database && uploads.map_or(Ok(true), |root| tree::<Entry>(root, self))?))
    }

    /// As [`Self::depends_on_pending_deletion`], of a whole snapshot.
    pub(crate) fn snapshot_depends_on_pending_deletion(&self, snapshot: &Snapshot) -> Result<bool> {
        let database = snapshot.database.as_ref().map(|half| &half.root);
        self.depends_on_pending_deletion(database, snapshot.uploads.as_ref().map(|half| &half.list))
    }
}
