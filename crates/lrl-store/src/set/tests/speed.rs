//! Throughput on a real directory, printed on demand: `LRL_LAB=<data directory> cargo test --release speed -- --ignored
//! --nocapture`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Memory, plain};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::fs::space::SpaceGuard;
use crate::id::ChunkId;
use crate::progress::Silent;
use crate::set::archive::extract::{extract, verify};
use crate::set::archive::model::{Contents, NoSegments, Segments};
use crate::set::archive::write::{Options, Written, write};
use crate::time::Time;

struct Tree {
    root: PathBuf,
    entries: Vec<Entry>,
    trees: HashMap<ChunkId, Vec<Piece>>,
}

impl Contents for Tree {
    fn read(&self, entry: &Entry, offset: u64, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let path = self.root.join(std::ffi::OsStr::from_bytes(&entry.path));
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let mut buffer = vec![0; len as usize];
        file.read_exact_at(&mut buffer, offset).map_err(Error::io("read", &path))?;
        sink(&buffer)
    }
    fn pieces(&self, entry: &Entry, sink: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        match &entry.kind {
            Kind::File { content: Content::Tree(id), .. } => self.trees[id].iter().copied().try_for_each(sink),
            _ => Ok(()),
        }
    }
    fn find(&self, _: &[u8]) -> Result<Option<Entry>> {
        Ok(None)
    }
}

impl Tree {
    fn scan(root: &Path) -> Self {
        let mut tree = Self { root: root.to_path_buf(), entries: Vec::new(), trees: HashMap::new() };
        for found in walkdir::WalkDir::new(root.join("assets")) {
            let found = found.unwrap();
            let meta = found.metadata().unwrap();
            let path = found.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let kind = if meta.is_dir() {
                Kind::Dir
            } else {
                let file = File::open(found.path()).unwrap();
                let pieces: Vec<_> = (0..meta.len().div_ceil(1 << 20))
                    .map(|i| {
                        let mut bytes = vec![0; (meta.len() - (i << 20)).min(1 << 20) as usize];
                        file.read_exact_at(&mut bytes, i << 20).unwrap();
                        Piece::Data { id: ChunkId::of(&bytes), len: bytes.len() as u64 }
                    })
                    .collect();
                let content = if pieces.len() > 32 {
                    let id = ChunkId::of(&path);
                    tree.trees.insert(id, pieces);
                    Content::Tree(id)
                } else {
                    Content::Inline(pieces)
                };
                Kind::File { size: meta.len(), content }
            };
            let mtime = Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 };
            let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
            tree.entries.push(Entry { path, kind, mode, uid, gid, mtime, xattrs: Vec::new() });
        }
        tree.entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        tree
    }

    fn write(&self, path: &Path, segments: &mut dyn Segments, workers: usize) -> Written {
        let (start, cpu) = (Instant::now(), cpu_secs());
        let mut out = File::create(path).unwrap();
        let options = Options { path, workers, space: &SpaceGuard::unlimited(), observer: &Silent };
        let written = write(self.entries.iter().cloned().map(Ok), self, segments, &mut out, &options).unwrap();
        let secs = start.elapsed().as_secs_f64();
        let (made, rate) = (written.size_bytes - written.reused_bytes, written.bytes as f64 / 1e6 / secs);
        println!(
            "{workers} workers: {secs:.3} s ({:.2} CPU), {rate:.0} MB/s, {} bytes, {made} made anew",
            cpu_secs() - cpu,
            written.size_bytes
        );
        written
    }
}

fn cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_string()
}

/// A list that nobody holds in memory, a few bytes behind each name.
struct Generated;

impl Generated {
    fn entries(count: u64) -> impl Iterator<Item = Result<Entry>> {
        let entry = |path: String, kind| {
            let mtime = Time { secs: 1_700_000_000, nanos: 5 };
            Entry { path: path.into_bytes(), kind, mode: 0o644, uid: 1, gid: 1, mtime, xattrs: Vec::new() }
        };
        (0..count).flat_map(move |i| {
            let id = ChunkId::of(&i.to_le_bytes());
            let content = Content::Inline(vec![Piece::Data { id, len: 32 }]);
            let dir = format!("assets/{:04x}/{i:08x}", i >> 10);
            let file = entry(format!("{dir}/v1.txt"), Kind::File { size: 32, content });
            [Ok(entry(dir, Kind::Dir)), Ok(file)]
        })
    }
}

impl Contents for Generated {
    fn read(&self, entry: &Entry, _: u64, _: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &entry.kind {
            Kind::File { content: Content::Inline(pieces), .. } => pieces.iter().try_for_each(|piece| match piece {
                Piece::Data { id, .. } => sink(id.as_bytes()),
                Piece::Hole { .. } => Ok(()),
            }),
            _ => Ok(()),
        }
    }
    fn pieces(&self, _: &Entry, _: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        Ok(())
    }
    fn find(&self, _: &[u8]) -> Result<Option<Entry>> {
        Ok(None)
    }
}

#[test]
#[ignore = "measures"]
fn a_million_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1");
    let mut memory = Memory::default();
    for round in ["first", "spliced"] {
        let start = Instant::now();
        let mut out = File::create(dir.path().join(round)).unwrap();
        let options = Options { path: &path, workers: 2, space: &SpaceGuard::unlimited(), observer: &Silent };
        let written = write(Generated::entries(1_000_000), &Generated, &mut memory, &mut out, &options).unwrap();
        let (secs, made) = (start.elapsed().as_secs_f64(), written.size_bytes - written.reused_bytes);
        println!("{round}: {secs:.2} s, {} bytes, {made} made anew, {}", written.size_bytes, peak());
        memory.turn(&dir.path().join(round));
    }
    let start = Instant::now();
    let counts = verify(&dir.path().join("first"), &mut plain()).unwrap();
    println!("verify: {:.2} s, {} files, {}", start.elapsed().as_secs_f64(), counts.files, peak());
}

#[test]
#[ignore = "measures, needs LRL_LAB"]
fn speed() {
    let lab = PathBuf::from(std::env::var_os("LRL_LAB").unwrap());
    let tree = Tree::scan(&lab);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for workers in [1, 2, 4] {
        tree.write(&path("1"), &mut NoSegments, workers);
    }
    let mut memory = Memory::default();
    tree.write(&path("1"), &mut memory, 2);
    println!("{} segments", memory.new.len());
    memory.turn(&path("1"));
    tree.write(&path("2"), &mut memory, 2);
    tree.write(&path("2"), &mut memory, 2);
    let start = Instant::now();
    verify(&path("1"), &mut plain()).unwrap();
    println!("verify {:.3} s", start.elapsed().as_secs_f64());
    fs::create_dir(path("dest")).unwrap();
    let start = Instant::now();
    extract(&path("1"), &path("dest"), &mut plain()).unwrap();
    println!("extract {:.3} s", start.elapsed().as_secs_f64());
    println!("{}", peak());
}
