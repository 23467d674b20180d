//! Finds lost chunks again by their ids: in the files of sets, in live data, in other stores. Everything there is cut as a backup would cut
//! it, and what has the id of a lost chunk is stored. The id is the proof.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::backup::History;
use super::check::packs::packs_there;
use super::import::archive::{SCRATCH, unpack, verified};
use super::import::uploads::{Uploads, store_roots};
use super::repair::report::Saved;
use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_dir;
use crate::fs::temp_dir::TempDir;
use crate::fs::temp_file::temporary_file;
use crate::progress::{Observer, Phase, checkpoint};
use crate::set::manifest::read::FoundSet;
use crate::source::database;
use crate::source::database::{ImageSink, ReadOptions};
use crate::source::files::walk::Root;
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;
use crate::store::{Store, pack_name};

/// Ids that are asked for at once.
const BATCH: u32 = 4096;

/// Where lost chunks may be.
pub enum Origin {
    /// The set of a manifest.
    Set(PathBuf),
    /// The live data: the database, and the directories of uploads.
    Live {
        /// The database, if it is there.
        database: Option<PathBuf>,
        /// The directories of uploads.
        uploads: Vec<Root>,
    },
    /// Another store.
    Store(Box<Store>),
}

/// Where to look for what is lost.
pub struct HealSources {
    /// In this order.
    pub origins: Vec<Origin>,
    /// A directory on which an unpacked archive fits.
    pub scratch: PathBuf,
    /// The program's name and version.
    pub program: String,
    /// How long to wait for a database's own lock.
    pub busy: Duration,
    /// The moment of the run.
    pub now: SystemTime,
}

impl HealSources {
    /// Looks once through all origins for what is wanted, and stores what is found; `notes` gets what could not be used.
    pub(super) fn heal(
        &self,
        store: &Store,
        wanted: &LostChunks,
        notes: &mut Vec<String>,
        observer: &dyn Observer,
    ) -> Result<Saved> {
        observer.phase(Phase::Repack, None);
        // No new pack may get the name of a damaged one that is still there.
        let session = WriteSession::healing(store, wanted, packs_there(store)?);
        for origin in &self.origins {
            if wanted.is_empty()? {
                break;
            }
            let mut note = |text: String| {
                if !notes.contains(&text) {
                    notes.push(text);
                }
            };
            self.look_through(origin, &session, wanted, &mut note, observer)?;
        }
        session.seal()?;
        let mut saved = Saved { chunks: session.healed(), ..Saved::default() };
        for pack in session.packs() {
            saved.packs += 1;
            saved.bytes += store.storage().len(&pack_name(&pack))?;
        }
        Ok(saved)
    }

    fn look_through(
        &self,
        origin: &Origin,
        session: &WriteSession<'_>,
        wanted: &LostChunks,
        note: &mut dyn FnMut(String),
        observer: &dyn Observer,
    ) -> Result<()> {
        let mut tried = |what: String, done: Result<()>| match done {
            Err(error) if error.is_final() || error.is_full() => Err(error),
            Err(error) => {
                note(format!("{what} gave nothing more: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        match origin {
            Origin::Set(manifest) => {
                let set = match FoundSet::load(manifest) {
                    Ok(set) => set,
                    Err(error) => return tried(manifest.display().to_string(), Err(error)),
                };
                let since = set.snapshot.is_none().then_some(self.now);
                for file in &set.files {
                    let done = match file.kind.as_str() {
                        "database" => file.there().map_or(Ok(()), |path| {
                            let mut image = File::open(path).map_err(Error::io("open", path))?;
                            cut_image(session, &mut image, path, observer)
                        }),
                        "assets" if file.there().is_some() => verified(file, observer).and_then(|path| {
                            let scratch = TempDir::new(&self.scratch, SCRATCH)?;
                            let roots = unpack(&path, file, &scratch, &self.scratch, since, observer)?;
                            self.cut_uploads(session, roots, observer)
                        }),
                        _ => Ok(()),
                    };
                    tried(file.name(), done)?;
                }
                Ok(())
            }
            Origin::Live { database, uploads } => {
                if let Some(path) = database {
                    tried(path.display().to_string(), self.cut_live(session, path, observer))?;
                }
                if !uploads.is_empty() {
                    let what = uploads[0].path.display().to_string();
                    tried(what, self.cut_uploads(session, uploads.clone(), observer))?;
                }
                Ok(())
            }
            Origin::Store(other) => {
                let what = other.storage().location();
                tried(what, copy_chunks(session, other, wanted, observer))
            }
        }
    }

    fn cut_live(&self, session: &WriteSession<'_>, path: &Path, observer: &dyn Observer) -> Result<()> {
        let space = session.store().target(&self.scratch, temp_dir::RESERVE)?.room;
        let mut copy = ImageCopy { file: temporary_file(&self.scratch)?, space: &space, dir: &self.scratch };
        let options = ReadOptions { busy: self.busy, scratch: &self.scratch };
        database::read_image(path, &options, &mut copy, observer)?;
        let ImageCopy { mut file, .. } = copy;
        file.rewind().map_err(Error::io("read an image below", &self.scratch))?;
        cut_image(session, file.as_file_mut(), path, observer)
    }

    fn cut_uploads(&self, session: &WriteSession<'_>, roots: Vec<Root>, observer: &dyn Observer) -> Result<()> {
        let uploads = Uploads {
            roots,
            scratch: &self.scratch,
            // Nothing of it is published.
            source: "lab",
            program: &self.program,
            lock_wait: Duration::ZERO,
            now: self.now,
        };
        store_roots(session, uploads, &History::none(), &mut Vec::new(), observer).map(drop)
    }
}

/// Cuts an image into extents and their list.
fn cut_image(session: &WriteSession<'_>, file: &mut File, path: &Path, observer: &dyn Observer) -> Result<()> {
    let mut extent = vec![0; session.store().config().chunking.extent_bytes as usize];
    let mut builder = TreeBuilder::<Piece>::new(session, None);
    loop {
        checkpoint(observer)?;
        let mut len = 0;
        while len < extent.len() {
            match file.read(&mut extent[len..]).map_err(Error::io("read", path))? {
                0 => break,
                read => len += read,
            }
        }
        if len == 0 {
            break;
        }
        let id = session.put(&extent[..len], &[])?;
        builder.push(Piece::Data { id, len: len as u64 })?;
        observer.advance(len as u64, 0);
    }
    builder.finish().map(drop)
}

/// Copies lost chunks from another store.
fn copy_chunks(session: &WriteSession<'_>, other: &Store, wanted: &LostChunks, observer: &dyn Observer) -> Result<()> {
    if session.store().ids().same_as(other.ids()) {
        let mut last = None;
        loop {
            let ids = wanted.after(last.as_ref(), BATCH)?;
            let Some(end) = ids.last() else { return Ok(()) };
            last = Some(*end);
            for id in &ids {
                checkpoint(observer)?;
                match other.read(id) {
                    Ok(plain) => _ = session.put(&plain, &[])?,
                    Err(error) if error.is_damage() => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    // It names chunks by another key: only their contents show their ids here.
    other.each_chunk(&mut |copies| {
        checkpoint(observer)?;
        let Some(copy) = copies.first() else { return Ok(()) };
        match other.read(&copy.place.record.id) {
            Ok(plain) => session.put(&plain, &[]).map(drop),
            Err(error) if error.is_damage() => Ok(()),
            Err(error) => Err(error),
        }
    })
}

/// A copy of a live database's image, made while it is locked; it is cut afterwards.
struct ImageCopy<'a> {
    file: NamedTempFile,
    space: &'a SpaceGuard,
    dir: &'a Path,
}

impl ImageSink for ImageCopy<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self.space.charge(piece.len() as u64)?;
        self.file.as_file_mut().write_all(piece).map_err(Error::io("write a copy of the database in", self.dir))
    }

    fn restart(&mut self) -> Result<()> {
        self.file = temporary_file(self.dir)?;
        Ok(())
    }
}
