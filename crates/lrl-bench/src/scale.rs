//! The verb `scale`: what every command of lrl takes beside a million files, a file of gigabytes, and an index of millions of chunks. Memory
//! must not grow with any of them, nor must the time to open the store.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use lrl_store::backend::Backend;
use lrl_store::backend::local::LocalBackend;
use lrl_store::compression::Encoding;
use lrl_store::format::index::Located;
use lrl_store::format::pack::{self, Record};
use lrl_store::fs::durable::create_dir;
use lrl_store::fs::lock::LockMode;
use lrl_store::id::{ChunkId, PackId};
use lrl_store::progress::Silent;
use lrl_store::store::{Store, index, pack_name};

use crate::corpus::Lab;
use crate::error::{At, Result};
use crate::measure::{self, settle};
use crate::results::median;
use crate::rng::{Rng, Words};
use crate::targets::MIB_ALLOWED;
use crate::units::number;

/// The options of `scale`.
#[derive(Args)]
pub struct Arguments {
    /// The binary to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/lrl")]
    lrl: PathBuf,
    /// Chunks that the store holds besides
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    chunks: u64,
    /// Packs in which they stand
    #[arg(long, value_name = "N", default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(1..))]
    packs: u64,
    /// Tiny files among the uploads
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    files: u64,
    /// Length of the one large upload, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 10_000_000_000)]
    large: u64,
    /// A directory on the disk to measure; five times the length of the uploads is used in it for a while
    #[arg(long, value_name = "DIR", default_value = "target")]
    work: PathBuf,
}

/// Index files over which the chunks are spread: with the lab's own as many as a store keeps, so that the next one makes it merge them.
const INDEX_FILES: u64 = index::MAX_FILES as u64 - 1;
const CHUNK_LEN: usize = 16;

/// The command lines, in order. The first backup is made before the store grows.
const COMMANDS: [&str; 24] = [
    "backup",
    "backup --snapshot-only",
    "backup --dry-run",
    "snapshots",
    "status",
    "stats",
    "ls latest",
    "find *.bin",
    "drill --snapshot latest",
    "drill",
    "restore latest --data-dir restored",
    "export latest --out exported",
    "check",
    "check --read-data",
    // From here on after a change.
    "backup",
    "diff latest~1 latest",
    "dump latest lrl.db",
    "backup --snapshot-only --rescan",
    "backup --keep-sets 1",
    "check",
    "forget --keep-last 2 --dry-run",
    "forget --keep-last 2",
    "prune",
    "check --read-data",
];
const CHANGE_BEFORE: usize = 14;

/// Makes the lab and its store, and prints a line for each command; fails if one took more memory than is allowed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let lrl = fs::canonicalize(&arguments.lrl).at(&arguments.lrl)?;
    fs::create_dir_all(&arguments.work).at(&arguments.work)?;
    let work = tempfile::Builder::new().prefix("lrl-scale-").tempdir_in(&arguments.work).at(&arguments.work)?;
    let mut lab = Lab::tiny_files(&work.path().join("data"), 7, arguments.files as f64 / 1e5)?;
    large_upload(&lab.root().join("assets/large.bin"), arguments.large)?;
    let bench = Bench { lrl, work: work.path() };
    // A file that is younger than two seconds cannot be proved unchanged.
    settle(work.path())?;
    std::thread::sleep(Duration::from_secs(3));
    let mut worst = bench.line("backup, the first")?;
    grow(&work.path().join("backups/store"), arguments.chunks, arguments.packs)?;
    settle(work.path())?;
    bench.open()?;
    for (n, command) in COMMANDS.iter().enumerate() {
        if n == CHANGE_BEFORE {
            lab.edit(0.01)?;
            lab.add_upload()?;
        }
        worst = worst.max(bench.line(command)?);
    }
    bench.open()?;
    work.close()?;
    match worst <= MIB_ALLOWED {
        true => Ok(()),
        false => Err(format!("{} MiB is more than the {MIB_ALLOWED} MiB that are allowed", number(worst)).into()),
    }
}

struct Bench<'a> {
    lrl: PathBuf,
    work: &'a Path,
}

impl Bench<'_> {
    /// Runs a command line up to its comma and prints what it took; returns its peak, in MiB.
    fn line(&self, line: &str) -> Result<f64> {
        let words = line.split(',').next().unwrap_or_default().split(' ');
        let usage = measure::run(
            Command::new(&self.lrl)
                .args(words)
                .arg("--quiet")
                .current_dir(self.work)
                .env("LRL_STATE_DIR", self.work.join("state")),
            &self.work.join("log"),
            None,
        )?;
        for copy in ["restored", "exported", "log"] {
            let path = self.work.join(copy);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        print(line, &format!("{} ms", number(usage.wall * 1e3)), &format!("{} MiB", number(usage.peak)))?;
        Ok(usage.peak)
    }

    /// Prints how long the store takes to open.
    fn open(&self) -> Result<()> {
        let storage: Arc<dyn Backend> = Arc::new(LocalBackend::new(self.work.join("backups/store")));
        let (mut walls, mut records) = (Vec::new(), 0);
        for _ in 0..9 {
            let start = Instant::now();
            let store = Store::open(Arc::clone(&storage), LockMode::Shared, Duration::ZERO, &Silent)?;
            walls.push(start.elapsed().as_secs_f64());
            records = store.indexes().iter().map(|file| file.records()).sum();
        }
        let wall = median(walls).unwrap_or_default();
        print(&format!("opening the store of {records} chunks"), &format!("{} ms", number(wall * 1e3)), "")
    }
}

fn print(what: &str, wall: &str, peak: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what:<48} {wall:>12} {peak:>12}")?;
    Ok(out.flush()?)
}

/// Writes a file in which every other mebibyte compresses.
fn large_upload(path: &Path, len: u64) -> Result<()> {
    const RUN: u64 = 1 << 20;
    let (mut rng, words, mut bytes) = (Rng::new(11), Words::new(), Vec::new());
    let mut file = File::create(path).at(path)?;
    for at in (0..len).step_by(RUN as usize) {
        let run = RUN.min(len - at) as usize;
        bytes.clear();
        if (at / RUN).is_multiple_of(2) {
            rng.noise(run, &mut bytes)
        } else {
            words.text(&mut rng, run, &mut bytes)
        }
        file.write_all(&bytes).at(path)?;
    }
    Ok(())
}

/// Adds tiny chunks that no snapshot reaches, in packs and index files as sound as any.
fn grow(root: &Path, chunks: u64, packs: u64) -> Result<()> {
    let storage = LocalBackend::new(root);
    let in_pack = chunks.div_ceil(packs);
    for part in 0..INDEX_FILES {
        let (mut ids, mut all) = (Vec::new(), Vec::new());
        for number in (0..packs).filter(|number| number % INDEX_FILES == part) {
            let records = number * in_pack..((number + 1) * in_pack).min(chunks);
            let (id, records) = write_pack(root, records)?;
            let pack = ids.len() as u32;
            let offsets = (pack::HEADER.len() as u32..).step_by(CHUNK_LEN);
            all.extend(offsets.zip(records).map(|(offset, record)| Located { pack, offset, record }));
            ids.push(id);
        }
        all.sort_unstable_by_key(|located| located.record.id);
        if !all.is_empty() {
            index::write(&storage, &ids, all.into_iter().map(Ok))?;
        }
    }
    Ok(())
}

/// Writes a pack of the chunks with these numbers. It is not synced: [`settle`] does that once for all.
fn write_pack(root: &Path, chunks: std::ops::Range<u64>) -> Result<(PackId, Vec<Record>)> {
    let mut bytes = pack::HEADER.to_vec();
    let mut records = Vec::new();
    for number in chunks {
        let plain = [number.to_le_bytes(), *b"of scale"].concat();
        bytes.extend_from_slice(&plain);
        let len = CHUNK_LEN as u32;
        let (id, encoding) = (ChunkId::of(&plain), Encoding::Stored);
        records.push(Record { id, encoded_len: len, plain_len: len, encoding, depth: 0, bases: Vec::new() });
    }
    let tail = pack::encode_tail(&records, bytes.len() as u32);
    bytes.extend_from_slice(&tail);
    let id = PackId::of(&bytes);
    let path = root.join(pack_name(&id));
    path.parent().map_or(Ok(()), create_dir)?;
    let mut file = BufWriter::new(File::create(&path).at(&path)?);
    file.write_all(&bytes).and_then(|()| file.flush()).at(&path)?;
    Ok((id, records))
}
