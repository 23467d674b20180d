//! Trees that are deep, wide or in motion, and what the walk over them costs.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, renameat};
use tempfile::TempDir;

use super::{root, run, tree};
use crate::error::Result;
use crate::format::entry::compare_paths;
use crate::progress::Silent;
use crate::source::files::exclude::Excludes;
use crate::source::files::read::{Part, ReadOutcome, read_file};
use crate::source::files::walk::{Found, FoundKind, walk};

/// Makes `levels` nested directories called `d`, each with a file `z`, and returns the innermost.
fn nest(top: &Path, levels: usize) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, top, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        openat(&dir, "z", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        dir = openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    dir
}

/// The standard library's way to remove a tree opens all of its levels at once.
fn remove(dir: TempDir) {
    assert!(Command::new("rm").arg("-rf").arg(dir.keep()).status().unwrap().success());
}

#[test]
fn five_thousand_levels_are_walked_and_read_with_few_open_directories() {
    const LEVELS: usize = 5000;
    let (dir, assets) = tree();
    let bottom = nest(&assets, LEVELS);
    let text = openat(&bottom, "text", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    rustix::io::write(&text, b"deep").unwrap();
    let (mut count, mut most_open) = (0, 0);
    let mut last_dir = 0;
    let problems = walk(&[root("assets", &assets)], &Excludes::none(), &[], &Silent, &mut |found| {
        count += 1;
        if found.path.ends_with(b"/text") {
            most_open = fs::read_dir("/proc/self/fd").unwrap().count();
            last_dir = count;
            assert!(found.source.as_os_str().len() > 4096);
            let mut bytes = Vec::new();
            let outcome = read_file(&found, &crate::chunk::Gear::default(), &mut Vec::new(), &mut |part| {
                let Part::Data(data) = part else { panic!("{part:?}") };
                bytes.extend_from_slice(data);
                Ok(())
            })?;
            assert!(matches!(outcome, ReadOutcome::Whole(_)), "{outcome:?}");
            assert_eq!(bytes, b"deep");
        }
        Ok(())
    })
    .unwrap();
    remove(dir);
    assert_eq!(problems, []);
    // The files `z` come after the directory beside them: on the way back, when it was closed long ago.
    assert_eq!((count, last_dir), (2 * LEVELS + 2, LEVELS + 2));
    assert!(most_open < 400, "{most_open} open files");
}

#[test]
fn a_directory_moved_from_around_the_walk_is_found_again_by_name() {
    for move_parent in [false, true] {
        let (dir, assets) = tree();
        nest(&assets, 100);
        let level = |n: usize| assets.join("d/".repeat(n));
        let (found, problems) = run(&[root("assets", &assets)], &[], &[], &mut |found| {
            if found.path.ends_with(&b"/d".repeat(100)) {
                // The walk has closed levels 1 to 37 now. Level 21 goes elsewhere, so its ".." is not level 20 any more.
                renameat(CWD, level(21), CWD, dir.path().join("elsewhere")).unwrap();
                if move_parent {
                    renameat(CWD, level(20), CWD, dir.path().join("too")).unwrap();
                }
            }
        });
        if move_parent {
            // Level 20 cannot be found: its `z` is lost and said to be; everything else is there.
            assert_eq!(found.len(), 1 + 100 + 99);
            assert!(problems.len() == 1 && problems[0].lost, "{problems:?}");
            assert!(problems[0].path.ends_with(&"/d".repeat(20)), "{problems:?}");
        } else {
            assert_eq!((found.len(), problems.len()), (1 + 100 + 100, 0), "{problems:?}");
        }
    }
}

#[test]
fn a_flat_directory_of_a_hundred_thousand_comes_in_order() {
    let (dir, assets) = tree();
    let fd = openat(CWD, &assets, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for i in 0..100_000u32 {
        let name = format!("{:08x}.txt", i.wrapping_mul(2_654_435_761));
        openat(&fd, name.as_str(), OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    }
    let mut last = Vec::new();
    let mut count = 0;
    let problems = walk(&[root("assets", &assets)], &Excludes::none(), &[], &Silent, &mut |found| {
        assert!(compare_paths(&last, &found.path).is_lt());
        last = found.path;
        count += 1;
        Ok(())
    })
    .unwrap();
    remove(dir);
    assert_eq!((count, problems.len()), (100_001, 0));
}

/// Prints the time per entry: `cargo test --release -p lrl-store walk_speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn walk_speed() {
    let (dir, assets) = tree();
    for i in 0..50_000 {
        let at = assets.join(format!("{:02x}/{i:08x}", i % 256));
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("key.bin"), b"tiny").unwrap();
        fs::write(at.join("key.meta.json"), b"{}").unwrap();
    }
    for _ in 0..3 {
        let (mut count, mut bytes, mut scratch) = (0u32, 0u64, Vec::new());
        let start = std::time::Instant::now();
        let visit = &mut |found: Found| -> Result<()> {
            count += 1;
            bytes += found.path.len() as u64;
            Ok(())
        };
        walk(&[root("assets", &assets)], &Excludes::none(), &[], &Silent, visit).unwrap();
        let walked = start.elapsed();
        println!("{count} entries, {:.2} µs each", walked.as_secs_f64() * 1e6 / f64::from(count));
        let (start, mut files) = (std::time::Instant::now(), 0u32);
        let visit = &mut |found: Found| -> Result<()> {
            if found.kind == FoundKind::File {
                files += 1;
                read_file(&found, &crate::chunk::Gear::default(), &mut scratch, &mut |_| Ok(()))?;
            }
            Ok(())
        };
        walk(&[root("assets", &assets)], &Excludes::none(), &[], &Silent, visit).unwrap();
        println!(
            "with reading: {:.2} µs a file more",
            (start.elapsed() - walked).as_secs_f64() * 1e6 / f64::from(files)
        );
    }
    remove(dir);
}

/// Prints time and peak memory: `cargo test --release -p lrl-store flat_million -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn flat_million() {
    let (dir, assets) = tree();
    let fd = openat(CWD, &assets, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for i in 0..1_000_000u64 {
        let name = format!("{:016x}.bin", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        openat(&fd, name.as_str(), OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    }
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|l| l.starts_with("VmHWM")).unwrap().to_owned()
    };
    println!("before: {}", peak());
    for _ in 0..2 {
        let (mut count, start) = (0u32, std::time::Instant::now());
        let visit = &mut |_: Found| -> Result<()> {
            count += 1;
            Ok(())
        };
        walk(&[root("assets", &assets)], &Excludes::none(), &[], &Silent, visit).unwrap();
        println!("{count}: {:.2} µs each, {}", start.elapsed().as_secs_f64() * 1e6 / f64::from(count), peak());
    }
    remove(dir);
}
