//! Files that stay, change, hide holes or are not what they were.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Part, ReadOutcome, read_file};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::{Found, Root, walk};

/// Returns what the walk says about the only file of a directory.
fn found(file: &Path) -> Found {
    let root = Root { name: "assets".into(), path: file.parent().unwrap().to_path_buf() };
    let mut last = None;
    walk(&[root], &Excludes::none(), &[], &Silent, &mut |found| {
        if found.source == file {
            last = Some(found);
        }
        Ok(())
    })
    .unwrap();
    last.unwrap()
}

#[derive(Debug, PartialEq, Eq, Clone)]
enum Got {
    Data(Vec<u8>),
    Hole(u64),
}

/// Reads as a caller does: starts over when told.
fn read_with(found: &Found, each: &mut dyn FnMut(&Part<'_>)) -> (ReadOutcome, Vec<Got>, u32) {
    let (mut got, mut again, mut scratch) = (Vec::new(), 0, Vec::new());
    let outcome = read_file(found, &crate::chunk::Gear::default(), &mut scratch, &mut |part| {
        each(&part);
        match part {
            Part::Data(data) => got.push(Got::Data(data.to_vec())),
            Part::Hole(len) => got.push(Got::Hole(len)),
            Part::Xattrs(_) => {}
            Part::Again => {
                got.clear();
                again += 1;
            }
        }
        Ok(())
    })
    .unwrap();
    (outcome, got, again)
}

fn read(found: &Found) -> (ReadOutcome, Vec<Got>, u32) {
    read_with(found, &mut |_| {})
}

fn bytes(got: &[Got]) -> Vec<u8> {
    got.iter().fold(Vec::new(), |mut all, part| {
        match part {
            Got::Data(data) => all.extend_from_slice(data),
            Got::Hole(len) => all.resize(all.len() + *len as usize, 0),
        }
        all
    })
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn small_files_are_one_piece_and_empty_ones_none() {
    let dir = tempfile::tempdir().unwrap();
    for len in [0, 1, 4096, 1 << 20] {
        let path = dir.path().join("f");
        let data = noise(len);
        fs::write(&path, &data).unwrap();
        let (outcome, got, _) = read(&found(&path));
        assert!(matches!(outcome, ReadOutcome::Whole(stat) if stat.size == len as u64));
        assert_eq!(got, if len == 0 { vec![] } else { vec![Got::Data(data)] });
    }
}

#[test]
fn large_files_are_cut_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    for len in [(1 << 20) + 1, (9 << 20) + 77] {
        let data = noise(len);
        fs::write(&path, &data).unwrap();
        let (outcome, got, _) = read(&found(&path));
        assert!(matches!(outcome, ReadOutcome::Whole(_)));
        let lens: Vec<_> = got.iter().map(|part| bytes(std::slice::from_ref(part)).len()).collect();
        let expected: Vec<_> =
            fastcdc::v2020::FastCDC::new(&data, 256 << 10, 1 << 20, 4 << 20).map(|chunk| chunk.length).collect();
        assert_eq!(lens, expected);
        assert!(bytes(&got) == data);
    }
}

#[test]
fn holes_stay_holes_and_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let mut file = File::create(&path).unwrap();
    // Hole, data, hole, large data, hole to a terabyte.
    file.seek(SeekFrom::Start(1 << 20)).unwrap();
    file.write_all(&noise(8192)).unwrap();
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    file.write_all(&noise(3 << 20)).unwrap();
    file.set_len(1 << 40).unwrap();
    let start = std::time::Instant::now();
    let (outcome, got, _) = read(&found(&path));
    assert!(start.elapsed().as_secs() < 5);
    assert!(matches!(outcome, ReadOutcome::Whole(stat) if stat.size == 1 << 40));
    assert_eq!(got[0], Got::Hole(1 << 20));
    assert_eq!(got[1], Got::Data(noise(8192)));
    assert_eq!(got[2], Got::Hole((1 << 30) - (1 << 20) - 8192));
    assert!(bytes(&got[3..got.len() - 1]) == noise(3 << 20));
    assert_eq!(got[got.len() - 1], Got::Hole((1 << 40) - (1 << 30) - (3 << 20)));
    // Nothing but a hole, and a hole in a small file.
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap().set_len(5000).unwrap();
    assert_eq!(read(&found(&path)).1, [Got::Hole(5000)]);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"end").unwrap();
    assert_eq!(bytes(&read(&found(&path)).1), [vec![0; 5000], b"end".to_vec()].concat());
}

#[test]
fn a_file_that_changes_once_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    for change in ["grow", "shrink", "rewrite"] {
        fs::write(&path, noise(3 << 20)).unwrap();
        let found = found(&path);
        let mut first = true;
        let (outcome, got, again) = read_with(&found, &mut |_| {
            if std::mem::take(&mut first) {
                // File times move on by a tick of some milliseconds.
                std::thread::sleep(std::time::Duration::from_millis(20));
                let mut file = OpenOptions::new().write(true).open(&path).unwrap();
                match change {
                    "grow" => file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(b"more")).unwrap(),
                    "shrink" => file.set_len(2 << 20).unwrap(),
                    _ => file.write_all(b"other").unwrap(),
                }
            }
        });
        let now = fs::read(&path).unwrap();
        assert!(matches!(outcome, ReadOutcome::Whole(stat) if stat.size == now.len() as u64), "{change}: {outcome:?}");
        assert_eq!(again, 1, "{change}");
        assert!(bytes(&got) == now, "{change}");
        assert_eq!(outcome.problem(&found), None);
    }
}

#[test]
fn a_file_that_keeps_changing_is_kept_as_read_last_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    for shrink in [false, true] {
        fs::write(&path, noise(3 << 20)).unwrap();
        let found = found(&path);
        let (mut len, mut calls) = (3u64 << 20, 0u64);
        let (outcome, got, again) = read_with(&found, &mut |_| {
            calls += 1;
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            len = if shrink { len - 100_000 } else { len + 100_000 };
            file.set_len(len).unwrap();
        });
        assert_eq!(again, 2);
        assert!(calls < 30, "never runs after a growing file");
        let ReadOutcome::Changing(stat) = outcome else { panic!("{outcome:?}") };
        assert_eq!(stat.size, bytes(&got).len() as u64);
        let problem = outcome.problem(&found).unwrap();
        assert!(problem.lost && problem.reason.text().contains("changed while it was read"), "{problem:?}");
    }
}

#[test]
fn what_was_replaced_since_the_walk_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), b"secret").unwrap();
    let uploads = dir.path().join("uploads/sub");
    fs::create_dir_all(&uploads).unwrap();
    let path = uploads.join("f");
    let replace: [(&str, &dyn Fn()); 5] = [
        ("link", &|| symlink(dir.path().join("secret"), &path).unwrap()),
        ("pipe", &|| {
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("directory", &|| fs::create_dir(&path).unwrap()),
        ("gone", &|| {}),
        ("linked directory", &|| {
            fs::rename(dir.path().join("secret"), dir.path().join("f")).unwrap();
            fs::remove_dir(&uploads).unwrap();
            symlink(dir.path(), &uploads).unwrap();
        }),
    ];
    for (name, plant) in replace {
        let _ = fs::remove_dir(&path);
        let _ = fs::remove_file(&path);
        fs::write(&path, b"upload").unwrap();
        let found = found(&path);
        // Holds the inode, so that its number is not given to what comes next.
        let _open = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        plant();
        let (outcome, got, _) = read(&found);
        assert!(matches!(outcome, ReadOutcome::Unreadable(_)), "{name}: {outcome:?}");
        assert_eq!(got, [], "{name}");
        let problem = outcome.problem(&found).unwrap();
        assert!(problem.lost && problem.path.ends_with("uploads/sub/f"), "{name}: {problem:?}");
        let expected = if name == "gone" { "vanished" } else { "replaced" };
        assert!(problem.reason.text().contains(expected), "{name}: {problem:?}");
    }
}

#[test]
fn the_sink_can_stop_it() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"upload").unwrap();
    let stopped =
        read_file(&found(&path), &crate::chunk::Gear::default(), &mut Vec::new(), &mut |_| Err(Error::Interrupted));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    Ok(())
}
