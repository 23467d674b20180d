//! Helpers of the archive's tests: uploads in memory, real tools on what was written.

mod foreign;
mod hostile;
mod speed;
mod writing;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::archive::extract;
use super::archive::write::{Options, Written, write};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::fs::space::SpaceGuard;
use crate::id::ChunkId;
use crate::progress::Silent;
use crate::set::archive::model::{Contents, NoSegments, Record, Segments};
use crate::time::Time;

/// Uploads in memory, as a list and its chunks.
#[derive(Default, Clone)]
pub struct Uploads {
    pub entries: Vec<Entry>,
    pub chunks: HashMap<ChunkId, Vec<u8>>,
    pub trees: HashMap<ChunkId, Vec<Piece>>,
}

/// A moment with nanoseconds.
pub const MTIME: Time = Time { secs: 1_767_225_600, nanos: 123_456_789 };

impl Uploads {
    fn put(&mut self, path: &[u8], kind: Kind, mode: u32) -> &mut Entry {
        self.entries.push(Entry {
            path: path.to_vec(),
            kind,
            mode,
            uid: 1000,
            gid: 1000,
            mtime: MTIME,
            xattrs: Vec::new(),
        });
        self.entries.last_mut().unwrap()
    }

    pub fn dir(&mut self, path: impl AsRef<[u8]>) -> &mut Entry {
        self.put(path.as_ref(), Kind::Dir, 0o755)
    }

    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> &mut Entry {
        self.put(path.as_ref(), Kind::Symlink { target: target.as_ref().to_vec() }, 0o777)
    }

    pub fn hardlink(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> &mut Entry {
        self.put(path.as_ref(), Kind::Hardlink { target: target.as_ref().to_vec() }, 0o640)
    }

    pub fn chunk(&mut self, bytes: &[u8]) -> Piece {
        let id = ChunkId::of(bytes);
        self.chunks.insert(id, bytes.to_vec());
        Piece::Data { id, len: bytes.len() as u64 }
    }

    pub fn file(&mut self, path: impl AsRef<[u8]>, bytes: &[u8]) -> &mut Entry {
        let pieces = bytes.chunks(1 << 20).map(|chunk| self.chunk(chunk)).collect();
        self.file_of(path, pieces)
    }

    pub fn file_of(&mut self, path: impl AsRef<[u8]>, pieces: Vec<Piece>) -> &mut Entry {
        let size = pieces.iter().map(Piece::len).sum();
        let content = if pieces.len() > 32 {
            let root = ChunkId::of(format!("{pieces:?}").as_bytes());
            self.trees.insert(root, pieces);
            Content::Tree(root)
        } else {
            Content::Inline(pieces)
        };
        self.put(path.as_ref(), Kind::File { size, content }, 0o640)
    }

    pub fn sorted(mut self) -> Self {
        self.entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        self
    }

    fn all_pieces(&self, entry: &Entry) -> Vec<Piece> {
        match &entry.kind {
            Kind::File { content: Content::Inline(pieces), .. } => pieces.clone(),
            Kind::File { content: Content::Tree(root), .. } => self.trees[root].clone(),
            _ => Vec::new(),
        }
    }

    pub fn bytes_of(&self, entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        self.read(entry, 0, entry.size(), &mut |run| {
            out.extend_from_slice(run);
            Ok(())
        })
        .unwrap();
        out
    }
}

impl Contents for Uploads {
    fn read(&self, entry: &Entry, offset: u64, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (mut at, end) = (0, offset + len);
        for piece in self.all_pieces(entry) {
            let (from, to) = (offset.max(at), end.min(at + piece.len()));
            if from < to {
                match piece {
                    Piece::Data { id, .. } => sink(&self.chunks[&id][(from - at) as usize..(to - at) as usize])?,
                    Piece::Hole { .. } => sink(&vec![0; (to - from) as usize])?,
                }
            }
            at += piece.len();
        }
        Ok(())
    }

    fn pieces(&self, entry: &Entry, sink: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        self.all_pieces(entry).into_iter().try_for_each(sink)
    }

    fn find(&self, path: &[u8]) -> Result<Option<Entry>> {
        Ok(self.entries.iter().find(|entry| entry.path == path).cloned())
    }
}

/// Segments of earlier archives, in memory.
#[derive(Default)]
pub struct Memory {
    pub known: HashMap<[u8; 32], (Arc<File>, Record)>,
    pub new: Vec<Record>,
}

impl Memory {
    /// Makes the records of the last archive known.
    pub fn turn(&mut self, archive: &Path) {
        let file = Arc::new(File::open(archive).unwrap());
        self.known = self.new.drain(..).map(|record| (record.key, (file.clone(), record))).collect();
    }
}

impl Segments for Memory {
    fn find(&mut self, key: &[u8; 32]) -> Option<(Arc<File>, Record)> {
        self.known.get(key).cloned()
    }
    fn record(&mut self, record: &Record) -> Result<()> {
        self.new.push(*record);
        Ok(())
    }
}

pub fn archive(uploads: &Uploads, path: &Path, segments: &mut dyn Segments, workers: usize) -> Result<Written> {
    let mut out = File::create(path).map_err(Error::io("create", path))?;
    let entries = uploads.entries.iter().cloned().map(Ok);
    let options = Options { path, workers, space: &SpaceGuard::unlimited(), observer: &Silent };
    write(entries, uploads, segments, &mut out, &options)
}

/// A temporary directory with an archive of `uploads` in it.
pub fn packed(uploads: &Uploads) -> (tempfile::TempDir, PathBuf, Written) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar.gz");
    let written = archive(uploads, &path, &mut NoSegments, 2).unwrap();
    (dir, path, written)
}

/// Runs a tool; fails with what it said unless it succeeds silently on stderr.
pub fn run(program: &str, args: &[&str], dir: &Path) -> String {
    let output = Command::new(program).args(args).current_dir(dir).env("LC_ALL", "C.UTF-8").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{program} {args:?}: {} {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn python(script: &str, args: &[&Path], dir: &Path) -> String {
    let args: Vec<&str> = args.iter().map(|path| path.to_str().unwrap()).collect();
    run("python3", &[&["-W", "error", "-c", script], args.as_slice()].concat(), dir)
}

/// Deterministic bytes that no coder can shrink.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e3779b97f4a7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

/// Deterministic text that shrinks to about a third.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    let words = noise(seed, len / 4 + 8);
    let mut out = Vec::with_capacity(len + 16);
    for word in words.iter().cycle() {
        out.extend_from_slice(format!("word{} of {} ", word % 61, word).as_bytes());
        if out.len() >= len {
            break;
        }
    }
    out.truncate(len);
    out
}

/// Options of a reader that watches nothing.
pub fn plain<'a>() -> extract::Options<'a> {
    extract::Options { owners: false, xattrs: None, limit: None, watch: None, only: None, observer: &Silent }
}

/// Counts plain bytes that a reader asked about.
#[derive(Default)]
pub struct Seen(pub AtomicU64);

impl Seen {
    pub fn refuse_above(&self, max: u64) -> impl Fn(u64) -> Result<()> {
        move |total| {
            self.0.store(total, Ordering::Relaxed);
            if total > max { Err(Error::refused(format!("more than {max} bytes"))) } else { Ok(()) }
        }
    }
}
