//! The verb `micro`: the engine's stages one by one, through its public interface, on data from a seed.

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use lrl_store::backend::Backend;
use lrl_store::backend::local::LocalBackend;
use lrl_store::chunk::{Cutter, Gear, UPLOADS};
use lrl_store::compression::{self, Encoding};
use lrl_store::format::entry::{Content, Entry, Kind, Piece};
use lrl_store::format::index::Located;
use lrl_store::format::pack::Record;
use lrl_store::fs::lock::LockMode;
use lrl_store::id::{ChunkId, PackId};
use lrl_store::progress::Silent;
use lrl_store::set::archive::deflate::{self, Coder};
use lrl_store::set::archive::tar;
use lrl_store::source::database::{ReadOptions, read_image};
use lrl_store::source::files::exclude::Excludes;
use lrl_store::source::files::walk::{Root, walk};
use lrl_store::store::tree::{TreeBuilder, TreeItems, diff};
use lrl_store::store::write::WriteSession;
use lrl_store::store::{Store, create, index};
use lrl_store::time::Time;
use rusqlite::Connection;
use rusqlite::backup::Backup;
use sha2::{Digest, Sha256};

use crate::corpus::Lab;
use crate::error::{At, Result};
use crate::results::median;
use crate::rng::{Rng, Words};
use crate::units::{bytes, number};

/// The options of `micro`.
#[derive(Args)]
pub struct Arguments {
    /// Repetitions; results are their medians
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Sizes, as a part of the full ones
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// A directory on the disk to measure
    #[arg(long, value_name = "DIR", default_value = "target")]
    work: PathBuf,
}

/// Measures all stages and prints a table.
pub fn run(arguments: &Arguments) -> Result<()> {
    Ok(std::io::stdout().write_all(table(arguments)?.as_bytes())?)
}

/// What one repetition works on.
enum Work {
    Bytes(u64),
    Items(u64, &'static str),
}

struct Bench {
    rounds: u32,
    scale: f64,
    out: String,
}

impl Bench {
    /// Repeats a stage and adds its line.
    fn stage(&mut self, name: &str, work: Work, mut act: impl FnMut() -> Result<()>) -> Result<()> {
        let mut walls = Vec::new();
        for _ in 0..self.rounds {
            let start = Instant::now();
            act()?;
            walls.push(start.elapsed().as_secs_f64());
        }
        let wall = median(walls).unwrap_or_default().max(1e-9);
        let (unit, rate) = match work {
            Work::Bytes(n) => (bytes(n as f64), format!("{}/s", bytes(n as f64 / wall))),
            Work::Items(n, what) => (format!("{n} {what}"), format!("{} µs each", number(wall / n as f64 * 1e6))),
        };
        self.out.push_str(&format!("{name:<44} {unit:>18} {:>12} ms {rate:>16}\n", number(wall * 1e3)));
        Ok(())
    }

    fn scaled(&self, full: f64) -> usize {
        (full * self.scale).max(1.0) as usize
    }
}

/// Measures all stages; one line each: stage, work, median, throughput.
fn table(arguments: &Arguments) -> Result<String> {
    fs::create_dir_all(&arguments.work).at(&arguments.work)?;
    let work = tempfile::Builder::new().prefix("lrl-micro-").tempdir_in(&arguments.work).at(&arguments.work)?;
    let head = format!("{:<44} {:>18} {:>15} {:>16}\n", "stage", "work", "median", "throughput");
    let mut bench = Bench { rounds: arguments.rounds, scale: arguments.scale, out: head };
    database(&mut bench, work.path())?;
    tree(&mut bench, work.path())?;
    pure(&mut bench)?;
    archive(&mut bench)?;
    lists(&mut bench, &work.path().join("lists"))?;
    indexes(&mut bench, &work.path().join("indexes"))?;
    work.close()?;
    Ok(bench.out)
}

/// Reading the database's image.
fn database(bench: &mut Bench, work: &Path) -> Result<()> {
    let lab = Lab::usual(&work.join("lab"), 7, bench.scale)?;
    let (path, size) = (lab.root().join("lrl.db"), lab.size()?.database_bytes);
    // An open connection, as the application has: else plain reads would do.
    let _application = Connection::open(&path)?;
    let options = ReadOptions { busy: Duration::from_secs(10), scratch: work };
    let mut method = None;
    bench.stage("image of the database (lrl)", Work::Bytes(size), || {
        let mut sink = |piece: &[u8]| {
            black_box(piece);
            Ok(())
        };
        method = Some(read_image(&path, &options, &mut sink, &Silent)?.method);
        Ok(())
    })?;
    bench.out.push_str(&format!("  read by: {}\n", serde_json::to_string(&method)?.trim_matches('"')));
    bench.stage("image of the database (backup API, to a file)", Work::Bytes(size), || {
        let (source, mut target) = (Connection::open(&path)?, Connection::open(work.join("copy.db"))?);
        target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
        Ok(Backup::new(&source, &mut target)?.run_to_completion(4096, Duration::ZERO, None)?)
    })
}

/// Walking over uploads.
fn tree(bench: &mut Bench, work: &Path) -> Result<()> {
    let lab = Lab::tiny_files(&work.join("tiny"), 7, bench.scale / 10.0)?;
    let size = lab.size()?;
    let root = [Root { name: "assets".into(), path: lab.root().join("assets") }];
    bench.stage("walk", Work::Items(size.files + size.directories, "files"), || {
        walk(&root, &Excludes::none(), &[], &Silent, &mut |found| {
            black_box(found);
            Ok(())
        })?;
        Ok(())
    })
}

/// Cutting, hashing, compressing.
fn pure(bench: &mut Bench) -> Result<()> {
    let (mut rng, words) = (Rng::new(7), Words::new());
    let len = bench.scaled(16e6).max(1 << 20);
    let (mut noise, mut text) = (Vec::new(), Vec::new());
    rng.noise(len, &mut noise);
    words.text(&mut rng, len, &mut text);
    let all = Work::Bytes(len as u64);
    bench.stage("cut by content", all, || {
        let (mut cutter, mut rest) = (Cutter::new(UPLOADS, &Gear::default()), &noise[..]);
        while let Some(cut) = cutter.cut(rest) {
            rest = &rest[cut..];
        }
        black_box(rest);
        Ok(())
    })?;
    for piece in [4 << 10, 64 << 10] {
        bench.stage(&format!("BLAKE3 of {} KiB", piece >> 10), Work::Bytes(len as u64), || {
            noise.chunks(piece).for_each(|chunk| {
                black_box(ChunkId::of(chunk));
            });
            Ok(())
        })?;
    }
    bench.stage("SHA-256", Work::Bytes(len as u64), || {
        black_box(Sha256::digest(&noise));
        Ok(())
    })?;
    for (name, data) in [("text", &text), ("noise (probed, stored)", &noise)] {
        bench.stage(&format!("zstd of 64 KiB, {name}"), Work::Bytes(len as u64), || {
            data.chunks(64 << 10).for_each(|chunk| drop(black_box(compression::compress(chunk))));
            Ok(())
        })?;
    }
    let decode = |bench: &mut Bench, name: &str, encoding: Encoding, packed: Vec<u8>, plain: usize, bases: &[&[u8]]| {
        let repeated = (len / plain).max(1);
        bench.stage(name, Work::Bytes((repeated * plain) as u64), || {
            for _ in 0..repeated {
                black_box(compression::decode(encoding, packed.clone(), plain, bases, "benchmark")?);
            }
            Ok(())
        })
    };
    let extent = &text[..64 << 10];
    let packed = compression::compress(extent).ok_or("text does not compress")?;
    decode(bench, "zstd decode, 64 KiB of text", Encoding::Zstd, packed, extent.len(), &[])?;
    let mut changed = extent.to_vec();
    changed[30_000..30_020].copy_from_slice(b"twenty other letters");
    let repeated = (len / extent.len()).max(1);
    bench.stage("delta of 64 KiB against 64 KiB", Work::Bytes((repeated * extent.len()) as u64), || {
        (0..repeated).for_each(|_| drop(black_box(compression::compress_delta(&changed, &[extent]))));
        Ok(())
    })?;
    let delta = compression::compress_delta(&changed, &[extent]).ok_or("like extents give no delta")?;
    decode(bench, "delta decode, 64 KiB", Encoding::Delta, delta, changed.len(), &[extent])
}

/// Making an archive.
fn archive(bench: &mut Bench) -> Result<()> {
    let (mut rng, words, mut text) = (Rng::new(7), Words::new(), Vec::new());
    words.text(&mut rng, bench.scaled(8e6).max(1 << 20), &mut text);
    let (mut coder, mut out) = (Coder::default(), Vec::new());
    bench.stage("deflate in segments of 1 MiB, text", Work::Bytes(text.len() as u64), || {
        for segment in text.chunks(1 << 20) {
            out.clear();
            coder.deflate(segment, &mut out)?;
        }
        Ok(())
    })?;
    bench.stage("deflate's stored blocks", Work::Bytes(text.len() as u64), || {
        out.clear();
        deflate::store(&text, &mut out);
        Ok(())
    })?;
    bench.stage("CRC-32", Work::Bytes(text.len() as u64), || {
        black_box(deflate::crc32(&text));
        Ok(())
    })?;
    let members = bench.scaled(1e5);
    let header = tar::Header {
        path: b"assets/ab/abcdef01/v1.jpg",
        kind: tar::Type::File,
        size: 200_000,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: Time { secs: 1_700_000_000, nanos: 5 },
        link: b"",
        xattrs: &[],
    };
    bench.stage("tar headers", Work::Items(members as u64, "members"), || {
        for _ in 0..members {
            out.clear();
            tar::encode(&header, &mut out);
        }
        Ok(())
    })
}

fn new_store(path: &Path) -> Result<Arc<dyn Backend>> {
    let storage = LocalBackend::new(path);
    storage.create()?;
    create(&storage, [7; 32])?;
    Ok(Arc::new(storage))
}

fn open(storage: &Arc<dyn Backend>) -> Result<Store> {
    Ok(Store::open(Arc::clone(storage), LockMode::Shared, Duration::ZERO, &Silent)?)
}

/// The list of uploads: building it, reading it, comparing two.
fn lists(bench: &mut Bench, path: &Path) -> Result<()> {
    let storage = new_store(path)?;
    let store = open(&storage)?;
    let count = bench.scaled(1e5) as u64;
    let entry = |n: u64, mode: u32| {
        let id = ChunkId::of(&n.to_le_bytes());
        let content = Content::Inline(vec![Piece::Data { id, len: 700 }]);
        let path = format!("assets/{:02}/{n:08}.bin", n / 10_000).into_bytes();
        Entry {
            path,
            kind: Kind::File { size: 700, content },
            mode,
            uid: 1,
            gid: 1,
            mtime: Time::default(),
            xattrs: Vec::new(),
        }
    };
    let build = |old: Option<ChunkId>, changed: Option<u64>| -> Result<ChunkId> {
        let session = WriteSession::new(&store);
        let mut builder = TreeBuilder::new(&session, old);
        (0..count).try_for_each(|n| builder.push(entry(n, if changed == Some(n) { 0o600 } else { 0o644 })))?;
        let root = builder.finish()?;
        session.seal()?;
        Ok(root)
    };
    let work = || Work::Items(count, "entries");
    let first = build(None, None)?;
    bench.stage("list of uploads, built again", work(), || build(Some(first), None).map(|_| ()))?;
    let second = build(Some(first), Some(count / 2))?;
    bench.stage("list of uploads, read", work(), || {
        TreeItems::<Entry>::new(&store, &first)?.try_for_each(|entry| entry.map(|entry| drop(black_box(entry))))?;
        Ok(())
    })?;
    bench.stage("two lists compared, one entry changed", work(), || {
        let mut changes = 0;
        diff::entries::<lrl_store::error::Error>(&store, Some(&first), Some(&second), &mut |_| {
            changes += 1;
            Ok(())
        })?;
        if changes == 1 { Ok(()) } else { Err(format!("two lists differ in {changes} entries, not in one").into()) }
    })
}

/// A large index: opening its store, finding chunks.
fn indexes(bench: &mut Bench, path: &Path) -> Result<()> {
    let storage = new_store(path)?;
    let count = bench.scaled(1e6) as u64;
    // Evenly spread ids in order, as digests are.
    let id = |n: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n * (u64::MAX / count)).to_be_bytes());
        bytes[8..16].copy_from_slice(&Rng::new(n).next().to_le_bytes());
        ChunkId::from_bytes(bytes)
    };
    let record = |n| Record {
        id: id(n),
        encoded_len: 300,
        plain_len: 700,
        encoding: Encoding::Zstd,
        depth: 0,
        bases: Vec::new(),
    };
    let located = (0..count).map(|n| Ok(Located { pack: 0, offset: 8, record: record(n) }));
    let (file, _) = index::write(&*storage, &[PackId::from_bytes([7; 32])], located)?;
    bench.stage(&format!("open a store of {count} chunks"), Work::Items(1, "store"), || {
        black_box(open(&storage)?);
        Ok(())
    })?;
    let looks = bench.scaled(2e4) as u64;
    let mut rng = Rng::new(7);
    let mut find = |bench: &mut Bench, name: &str, there: bool| {
        bench.stage(name, Work::Items(looks, "look-ups"), || {
            for _ in 0..looks {
                let wanted = if there { id(rng.below(count)) } else { ChunkId::of(&rng.next().to_le_bytes()) };
                if file.find(&*storage, &wanted)?.is_some() != there {
                    return Err(format!("the index is wrong about {wanted}").into());
                }
            }
            Ok(())
        })
    };
    find(bench, "find a chunk that is there", true)?;
    find(bench, "find a chunk that is not", false)
}

#[cfg(test)]
mod tests {
    use super::{Arguments, table};

    #[test]
    fn every_stage_runs_and_has_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(&Arguments { rounds: 1, scale: 0.003, work: dir.path().into() }).unwrap();
        for stage in
            ["image", "walk", "cut", "BLAKE3", "SHA-256", "zstd", "delta", "deflate", "tar", "list", "open", "find"]
        {
            assert!(table.lines().any(|line| line.contains(stage)), "{stage} is missing in\n{table}");
        }
        assert!(table.contains("read by: pages"), "{table}");
    }
}
