//! What lrl writes: the same bytes always, readable by everyone, whole after a round trip.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::{Content, Entry, MTIME, Memory, Record, Uploads, archive, noise, packed, plain, python, run, text};
use crate::error::{Error, Result};
use crate::format::entry::{Kind, Piece};
use crate::set::archive::extract::{Counts, FileVisitor, Options, extract, verify};
use crate::set::archive::model::NoSegments;
use crate::set::archive::tar::END;
use crate::set::archive::write::Written;
use crate::time::Time;

/// Every kind of entry, sizes at every boundary.
fn lab() -> Uploads {
    let mut uploads = Uploads::default();
    uploads.dir("assets").mode = 0o750;
    uploads.dir("assets/empty").mtime = Time { secs: 1_600_000_000, nanos: 0 };
    uploads.file("assets/empty.txt", b"").mode = 0o600;
    uploads.file("assets/one", b"1").mtime = Time { secs: 0, nanos: 500_000_000 };
    uploads.file("assets/block", &text(1, 512));
    uploads.file("assets/above", &text(2, 513)).mtime = Time { secs: 1_700_000_000, nanos: 0 };
    uploads.file("assets/pic.jpg", &noise(3, 200_000));
    uploads.file("assets/large.pdf", &noise(4, 3_000_001));
    uploads.file("assets/large.txt", &text(5, 2_500_000));
    uploads.file("assets/limit", &text(6, 512 << 10));
    uploads.file("assets/below", &noise(6, (512 << 10) - 1));
    let (a, b) = (uploads.chunk(&text(7, 300_000)), uploads.chunk(&noise(8, 70_000)));
    uploads.file_of("assets/sparse", vec![a, Piece::Hole { len: 5_000_000 }, b, Piece::Hole { len: 100_000 }]);
    let four = uploads.chunk(&text(9, 4 << 20));
    uploads.file_of("assets/four", vec![four]);
    let pieces = (0..40).map(|i| uploads.chunk(&text(100 + i, 30_000 + i as usize))).collect();
    uploads.file_of("assets/tree", pieces);
    uploads.hardlink("assets/zz-again", "assets/large.txt");
    uploads.hardlink("assets/zz-small", "assets/one");
    uploads.symlink("assets/link", "pic.jpg");
    uploads.symlink("assets/dangling", "not/there");
    uploads.symlink("assets/empty/up", "../one");
    uploads.symlink("assets/out", "../../etc/passwd");
    uploads.symlink("assets/absolute", "/etc/passwd");
    uploads.file(format!("assets/{}", "é".repeat(120)), b"long name in UTF-8");
    uploads.file([b"assets/\xff\xfe-", &b"x".repeat(60)[..]].concat(), b"short, not UTF-8");
    uploads.file([b"assets/\xff\xfe-", &b"y".repeat(200)[..]].concat(), b"long, not UTF-8");
    let deep = (0..30).map(|i| format!("directory-{i:02}")).collect::<Vec<_>>().join("/");
    uploads.file(format!("assets/{deep}/file"), b"deep");
    uploads.symlink("assets/to-deep", format!("{deep}/file"));
    uploads.symlink(b"assets/to-\xff", [&b"\xff/".repeat(90)[..], b"x"].concat());
    uploads.file("assets/new\nline \"quoted\"", b"odd").mode = 0o4755;
    for i in 0..300 {
        uploads.dir(format!("assets/small/{i:03}"));
        uploads.file(format!("assets/small/{i:03}/v1.txt"), &text(1000 + i, (i * 37 % 9000) as usize));
    }
    uploads.dir("assets/small");
    uploads.dir("storage");
    uploads.file("storage/k.bin", &noise(9, 40_000)).uid = 3_000_000_000;
    uploads.sorted()
}

impl Uploads {
    fn in_archive(&self) -> impl Iterator<Item = &Entry> {
        let out = [&b"assets/out"[..], b"assets/absolute"];
        self.entries.iter().filter(move |entry| !out.contains(&entry.path.as_slice()))
    }
}

/// Compares a directory with the list, names, kinds, contents, modes and times.
fn assert_equals(uploads: &Uploads, dest: &Path, modes: bool, nanos: bool) {
    for entry in uploads.in_archive() {
        let path = dest.join(std::ffi::OsStr::from_bytes(&entry.path));
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut kind = entry.kind.clone();
        if let Kind::Hardlink { target } = &kind {
            kind = uploads.entries.iter().find(|e| e.path == *target).unwrap().kind.clone();
        }
        match &kind {
            Kind::Symlink { target } => assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target),
            Kind::Dir => assert!(meta.is_dir()),
            _ => {
                let entry = Entry { kind: kind.clone(), ..entry.clone() };
                assert!(fs::read(&path).unwrap() == uploads.bytes_of(&entry), "{}", path.display());
            }
        }
        if modes && !meta.is_symlink() {
            assert_eq!(meta.permissions().mode() & 0o7777, entry.mode & 0o777, "{}", path.display());
        }
        // Python leaves the times of links alone.
        if nanos || !meta.is_symlink() {
            assert_eq!(meta.mtime(), entry.mtime.secs, "{}", path.display());
        }
        if nanos {
            assert_eq!(meta.mtime_nsec(), i64::from(entry.mtime.nanos), "{}", path.display());
        }
    }
    let there = walkdir::WalkDir::new(dest).min_depth(1).into_iter().filter(|e| e.is_ok()).count();
    let implied_by_the_deep_file = 30;
    assert_eq!(there, uploads.in_archive().count() + implied_by_the_deep_file, "names that are not in the list");
}

#[test]
fn the_bytes_are_pinned_to_the_coder() {
    let (_dir, _path, written) = packed(&lab());
    // A new value here is a new archive format for everyone who splices: give the coder another name with it.
    let sha256 = "d8741644ac23eeae4489e770a9cccc868fa534d7f26edd36438d253b88ed6cec";
    assert_eq!((written.size_bytes, written.sha256.as_str()), (6_225_679, sha256));
}

#[test]
fn threads_and_reuse_do_not_change_a_byte() {
    let uploads = lab();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut memory = Memory::default();
    let first = archive(&uploads, &path("1"), &mut memory, 1).unwrap();
    assert_eq!(first.reused_bytes, 0);
    memory.turn(&path("1"));
    for workers in [1, 2, 4] {
        assert_eq!(archive(&uploads, &path("n"), &mut NoSegments, workers).unwrap(), first);
        let again = archive(&uploads, &path("r"), &mut memory, workers).unwrap();
        assert_eq!(Written { reused_bytes: 0, ..again.clone() }, first);
        assert_eq!(again.reused_bytes, first.size_bytes - 20, "all but the frame");
        assert!(fs::read(path("r")).unwrap() == fs::read(path("1")).unwrap());
    }
}

#[test]
fn a_change_costs_what_is_near_it() {
    let mut uploads = lab();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut memory = Memory::default();
    archive(&uploads, &path("1"), &mut memory, 2).unwrap();
    memory.turn(&path("1"));
    uploads.file("assets/small/150/v2.txt", b"new");
    // Bytes put into the middle of a large file: its other pieces stay.
    let at = uploads.entries.iter().position(|e| e.path == b"assets/large.pdf").unwrap();
    let mut pieces = uploads.all_pieces(&uploads.entries[at]);
    let mut chunk = noise(4, 3_000_001)[1 << 20..2 << 20].to_vec();
    chunk.splice(1000..1000, *b"inserted");
    pieces[1] = uploads.chunk(&chunk);
    let entry = uploads.file_of("assets/large.pdf", pieces).clone();
    uploads.entries[at] = entry;
    uploads.entries.pop();
    let uploads = uploads.sorted();
    let spliced = archive(&uploads, &path("2"), &mut memory, 2).unwrap();
    let fresh = archive(&uploads, &path("3"), &mut NoSegments, 2).unwrap();
    assert_eq!(spliced.sha256, fresh.sha256);
    let made = spliced.size_bytes - spliced.reused_bytes;
    assert!(made < (3 << 20), "{made} of {} bytes were made anew", spliced.size_bytes);
    run("gzip", &["-t", path("2").to_str().unwrap()], dir.path());
}

#[test]
fn a_damaged_or_mistaken_segment_is_made_again() {
    let uploads = lab();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut memory = Memory::default();
    let first = archive(&uploads, &path("1"), &mut memory, 2).unwrap();
    memory.turn(&path("1"));
    let records: Vec<_> = memory.known.values().map(|(_, record)| *record).collect();
    let file = fs::OpenOptions::new().read(true).write(true).open(path("1")).unwrap();
    for (i, record) in records.iter().enumerate() {
        let known = &mut memory.known.get_mut(&record.key).unwrap().1;
        match i % 6 {
            0 => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, record.offset + record.len / 2).unwrap();
                file.write_all_at(&[byte[0] ^ 1], record.offset + record.len / 2).unwrap();
            }
            1 => known.crc32 ^= 1,
            2 => known.plain_len += 1,
            3 => known.offset = u64::MAX - 5,
            4 => known.len = u64::MAX,
            // Another segment's place, whose bytes are sound.
            _ => *known = Record { key: known.key, ..records[(i + 1) % records.len()] },
        }
    }
    let again = archive(&uploads, &path("2"), &mut memory, 2).unwrap();
    assert_eq!((again.sha256, again.reused_bytes), (first.sha256, 0));
}

#[test]
fn everyone_reads_it() {
    let uploads = lab();
    let (dir, path, written) = packed(&uploads);
    let files =
        uploads.in_archive().filter(|e| matches!(e.kind, Kind::File { .. } | Kind::Hardlink { .. })).count() as u64;
    assert_eq!(written.files, files);
    assert_eq!(
        written.notes.iter().map(|note| note.path.as_str()).collect::<Vec<_>>(),
        ["assets/absolute", "assets/out"]
    );
    run("gzip", &["-t", "a.tar.gz"], dir.path());

    fs::create_dir(dir.path().join("gnu")).unwrap();
    run("tar", &["-xzf", "a.tar.gz", "-C", "gnu", "--no-same-owner", "-p"], dir.path());
    fs::set_permissions(dir.path().join("gnu/assets/new\nline \"quoted\""), fs::Permissions::from_mode(0o755)).unwrap();
    assert_equals(&uploads, &dir.path().join("gnu"), true, true);

    for (mode, dest) in [("r:gz", "py"), ("r|gz", "pystream")] {
        let dest = dir.path().join(dest);
        fs::create_dir(&dest).unwrap();
        let script = format!(
            "import sys, tarfile\n\
             safe = dict(filter='data') if hasattr(tarfile, 'data_filter') else dict()\n\
             with tarfile.open(sys.argv[1], '{mode}') as t: t.extractall(sys.argv[2], **safe)\n\
             with tarfile.open(sys.argv[1], '{mode}') as t:\n\
             \x20   m = list(t)\n\
             \x20   print(sum(x.isfile() for x in m), sum(x.size for x in m), {{x.uname + x.gname for x in m}}, \
             max(x.uid for x in m))"
        );
        let said = python(&script, &[&path, &dest], dir.path());
        assert_eq!(said, format!("{} {} {{''}} 3000000000\n", written.files, written.bytes));
        // The filter tightens modes, and Python's clock is a float.
        assert_equals(&uploads, &dest, false, false);
    }
}

#[test]
fn a_reader_of_one_gzip_member_reads_it_whole() {
    let uploads = lab();
    let (_dir, path, written) = packed(&uploads);
    let mut plain = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(path).unwrap()));
    let (mut files, mut bytes) = (0, 0);
    for entry in plain.entries().unwrap() {
        let mut entry = entry.unwrap();
        files += u64::from(entry.header().entry_type().is_file());
        bytes += std::io::copy(&mut entry, &mut std::io::sink()).unwrap();
    }
    assert_eq!((files, bytes), (written.files, written.bytes));
}

#[derive(Default)]
struct Sums(Vec<(Vec<u8>, u64, [u8; 32])>);

impl FileVisitor for Sums {
    fn file(&mut self, path: &[u8], size_bytes: u64, sha256: &[u8; 32]) -> Result<()> {
        self.0.push((path.to_vec(), size_bytes, *sha256));
        Ok(())
    }
}

#[test]
fn its_own_reader_brings_everything_back() {
    use sha2::{Digest, Sha256};
    let uploads = lab();
    let (dir, path, written) = packed(&uploads);
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let mut sums = Sums::default();
    let counts = extract(&path, &dest, &mut Options { watch: Some(&mut sums), ..plain() }).unwrap();
    assert_eq!(counts, Counts { files: written.files, bytes: written.bytes, links: counts.links, not_given: 0 });
    assert_equals(&uploads, &dest, true, true);
    let sparse = fs::metadata(dest.join("assets/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1_000_000, "zeros became holes again: {} blocks", sparse.blocks());

    let mut again = Sums::default();
    let verified = verify(&path, &mut Options { watch: Some(&mut again), ..plain() }).unwrap();
    assert_eq!(verified, counts);
    assert_eq!(again.0, sums.0);
    let (name, size, sum) = &sums.0[0];
    let bytes = fs::read(dest.join(std::str::from_utf8(name).unwrap())).unwrap();
    assert_eq!((*size, *sum), (bytes.len() as u64, Sha256::digest(&bytes).into()));
    // A second time into the same place would mix two sets.
    assert!(matches!(extract(&path, &dest, &mut plain()), Err(Error::Refused(_))));
}

#[test]
fn owners_come_back_when_asked() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut uploads = Uploads::default();
    uploads.dir("assets").uid = 11;
    uploads.file("assets/f", b"x").uid = 12;
    uploads.symlink("assets/l", "f").gid = 13;
    let (dir, path, _) = packed(&uploads);
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    extract(&path, &dest, &mut Options { owners: true, ..plain() }).unwrap();
    let owner = |name: &str| fs::symlink_metadata(dest.join(name)).map(|m| (m.uid(), m.gid(), m.mtime_nsec())).unwrap();
    let nanos = i64::from(MTIME.nanos);
    assert_eq!(owner("assets"), (11, 1000, nanos));
    assert_eq!(owner("assets/f"), (12, 1000, nanos));
    assert_eq!(owner("assets/l"), (1000, 13, nanos));
}

#[test]
fn an_empty_list_is_an_empty_archive() {
    let (dir, path, written) = packed(&Uploads::default());
    assert_eq!((written.files, written.bytes), (0, 0));
    assert_eq!(run("tar", &["-tzf", "a.tar.gz"], dir.path()), "");
    let script = "import sys, tarfile; print(tarfile.open(sys.argv[1], 'r|gz').getnames())";
    assert_eq!(python(script, &[&path], dir.path()), "[]\n");
    assert_eq!(verify(&path, &mut plain()).unwrap(), Counts::default());
    assert!(written.size_bytes < END.len() as u64);
}

#[test]
fn links_out_of_their_root_are_told_from_those_that_stay() {
    let stays = |path: &str, target: &str| {
        let mut uploads = Uploads::default();
        uploads.dir("assets/sub/real");
        uploads.symlink("assets/sub/link", "..");
        uploads.symlink(path, target);
        packed(&uploads).2.notes.is_empty()
    };
    assert!(stays("assets/sub/l", "../x"));
    assert!(stays("assets/sub/l", "./real/../y"));
    assert!(stays("assets/sub/l", "a/b/c"));
    assert!(!stays("assets/sub/l", "../.."), "the parent of the root");
    assert!(!stays("assets/l", "../storage/x"), "another root");
    assert!(!stays("assets/sub/l", "../../assets/x"), "out and in again");
    assert!(!stays("assets/sub/l", "/etc"));
    assert!(!stays("assets/sub/l", "link/../../x"), "up from behind another link");
    assert!(!stays("assets/sub/l", "unknown/../x"));
    assert!(!stays("assets", "x"), "a root that is itself a link");
}

#[test]
fn damage_in_the_store_stops_the_archive() {
    let mut uploads = Uploads::default();
    uploads.hardlink("assets/again", "assets/gone");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    assert!(matches!(archive(&uploads, &path, &mut NoSegments, 1), Err(Error::Corrupt { .. })));
    for size in [10, 1_000_000] {
        let mut uploads = Uploads::default();
        uploads.file("assets/f", b"ten bytes!").kind =
            Kind::File { size: size + 1, content: Content::Inline(vec![uploads.chunk(&text(1, size as usize))]) };
        assert!(matches!(archive(&uploads, &path, &mut NoSegments, 1), Err(Error::Corrupt { .. })), "{size}");
    }
}
