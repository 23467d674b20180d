//! What an attacker or a bad disk makes of an archive: refused by name, nothing outside touched, no panic, no flood.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{MTIME, Seen, Uploads, noise, packed, plain, text};
use crate::error::{Error, Result};
use crate::set::archive::extract::{FileVisitor, Options, extract, verify};
use crate::set::archive::tar::{BLOCK, END, Header, Type, encode, padding};

/// A member of any type, its checksum right.
pub fn member(flag: u8, name: &[u8], link: &[u8], data: &[u8]) -> Vec<u8> {
    let mtime = MTIME;
    let (kind, size) = (Type::File, data.len() as u64);
    let mut out = Vec::new();
    encode(&Header { path: name, kind, size, mode: 0o4755, uid: 0, gid: 0, mtime, link, xattrs: &[] }, &mut out);
    let start = out.len() - BLOCK;
    let head = &mut out[start..];
    head[156] = flag;
    head[148..156].fill(b' ');
    let sum: u64 = head.iter().map(|b| u64::from(*b)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len() + padding(size), 0);
    out
}

pub fn gzip(dir: &Path, plain: &[u8]) -> PathBuf {
    let path = dir.join("h.tar.gz");
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::new(1));
    gz.write_all(plain).unwrap();
    gz.finish().unwrap();
    path
}

/// Unpacks and verifies; both must agree, and nothing may appear beside the destination.
fn unpack(members: &[Vec<u8>]) -> (tempfile::TempDir, Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("in/dest");
    fs::create_dir_all(&dest).unwrap();
    fs::write(dir.path().join("in/victim"), b"untouched").unwrap();
    let path = gzip(dir.path(), &[members.concat(), END.to_vec()].concat());
    let extracted = extract(&path, &dest, &mut plain());
    let verified = verify(&path, &mut plain());
    match (&extracted, &verified) {
        (Ok(a), Ok(b)) => assert_eq!(a, b),
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        other => panic!("{other:?}"),
    }
    let beside: Vec<_> = fs::read_dir(dir.path().join("in")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    let victim = dir.path().join("in/victim");
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(fs::metadata(victim).unwrap().nlink(), 1);
    (dir, extracted.map(|_| ()))
}

fn refused(members: &[Vec<u8>], why: &str) {
    match unpack(members).1 {
        Err(Error::Corrupt { detail, .. }) => assert!(detail.text().contains(why), "{detail}"),
        other => panic!("{why}: {other:?}"),
    }
}

fn file(name: &[u8]) -> Vec<u8> {
    member(b'0', name, b"", b"data")
}

fn pax(name_record: &[u8]) -> Vec<u8> {
    member(b'x', b"x", b"", &[format!("{} path=", name_record.len() + 9).as_bytes(), name_record, b"\n"].concat())
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    refused(&[file(b"../x")], "member ../x climbs out");
    refused(&[file(b"a/../../victim")], "climbs out");
    refused(&[file(b"a/..")], "climbs out");
    refused(&[file(b"/etc/x")], "member /etc/x has an absolute name");
    refused(&[file(&[&b"../"[..], &b"long/".repeat(30)[..], b"f"].concat())], "climbs out");
    refused(&[pax(b"a\0/../b"), file(b"a")], "has a NUL");
    refused(&[file(b"")], "has no name");
    refused(&[file(b".")], "has no name");
    refused(&[file(&[b'a'; 256])], "more than 255 bytes");
    refused(&[member(b'5', b"..", b"", b"")], "climbs out");
}

#[test]
fn nothing_is_written_through_a_link() {
    let link = |target: &[u8]| member(b'2', b"a", target, b"");
    for target in [&b".."[..], b"/", b"../victim", b"a", b".", b"missing"] {
        refused(&[link(target), file(b"a/x")], "member a/x leads through a link");
        refused(&[link(target), member(b'5', b"a/sub", b"", b"")], "leads through a link");
        refused(&[link(target), file(b"b"), file(b"a/x")], "leads through a link");
        refused(&[link(target), file(b"a")], "member a stands there twice");
        refused(&[link(target), member(b'5', b"a", b"", b"")], "member a stands there twice");
        refused(
            &[link(target), member(b'1', b"b", b"a", b"")],
            "is a hard link to a file that the archive does not hold",
        );
        refused(
            &[link(target), member(b'1', b"b", b"a/victim", b"")],
            "is a hard link to a file that the archive does not hold",
        );
    }
    refused(&[file(b"a"), file(b"a/x")], "leads through a link or a file");
    refused(&[file(b"a"), member(b'1', b"c", b"a", b""), file(b"c/x")], "leads through");
}

#[test]
fn further_names_stay_inside() {
    refused(&[member(b'1', b"b", b"../victim", b"")], "link to outside");
    refused(&[member(b'1', b"b", b"/etc/passwd", b"")], "link to outside");
    refused(&[member(b'1', b"b", b"nothing", b"")], "is a hard link to a file that the archive does not hold");
    refused(
        &[member(b'5', b"d", b"", b""), member(b'1', b"b", b"d", b"")],
        "is a hard link to a file that the archive does not hold",
    );
    refused(&[member(b'1', b"b", b"b", b"")], "is a hard link to a file that the archive does not hold");
    let (dir, done) = unpack(&[file(b"d/a"), member(b'1', b"b", b"./d/a", b""), member(b'1', b"c", b"b", b"")]);
    done.unwrap();
    assert_eq!(fs::metadata(dir.path().join("in/dest/c")).unwrap().nlink(), 3);
}

#[test]
fn devices_and_duplicates_are_refused() {
    for flag in [b'3', b'4', b'6', b'V', b'M', b'D', 0xff] {
        refused(&[member(flag, b"odd", b"", b"")], "member odd is no file, directory or link");
    }
    refused(&[file(b"a"), file(b"b"), file(b"a")], "member a stands there twice");
    refused(&[file(b"a"), file(b"./a")], "stands there twice");
    refused(&[file(b"b/x"), file(b"a"), file(b"b")], "member b");
    refused(&[member(b'2', b"l", b"x", b"contents")], "has contents");
    refused(&[member(b'2', b"l", b"", b"")], "link to nowhere");
    unpack(&[member(b'5', b"./", b"", b""), member(b'5', b"d/", b"", b""), file(b"d/a"), member(b'5', b"d", b"", b"")])
        .1
        .unwrap();
}

#[test]
fn sparse_members_and_floods_of_headers_are_refused() {
    let sparse = member(b'x', b"x", b"", b"22 GNU.sparse.major=1\n");
    assert!(matches!(unpack(&[sparse, file(b"a")]).1, Err(Error::Unsupported { .. })));
    assert!(matches!(unpack(&[member(b'S', b"a", b"", b"")]).1, Err(Error::Unsupported { .. })));
    refused(&[member(b'L', b"x", b"", &vec![b'a'; (1 << 20) + 1])], "extension header of 1048577 bytes");
    refused(&[member(b'x', b"x", b"", b"9999 path=a\n"), file(b"a")], "malformed PAX record");
    refused(&[member(b'x', b"x", b"", b"11 mtime=1\n")], "ends after an extension header");
}

#[test]
fn setuid_bits_are_dropped_and_modes_set_last() {
    let (dir, done) = unpack(&[member(b'5', b"d", b"", b""), file(b"d/f"), file(b"implied/f")]);
    done.unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join("in/dest").join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("d"), mode("d/f"), mode("implied"), mode("implied/f")), (0o755, 0o755, 0o755, 0o755));
    let time = fs::metadata(dir.path().join("in/dest/d")).unwrap();
    assert_eq!((time.mtime(), time.mtime_nsec()), (MTIME.secs, i64::from(MTIME.nanos)));
}

#[test]
fn times_of_directories_hold_whatever_the_order() {
    let d = |name: &[u8]| member(b'5', name, b"", b"");
    let (dir, done) = unpack(&[d(b"a"), d(b"b"), d(b"a/c"), file(b"b/1"), file(b"a/c/2"), file(b"b/3"), file(b"a/4")]);
    done.unwrap();
    for name in ["a", "b", "a/c"] {
        assert_eq!(fs::metadata(dir.path().join("in/dest").join(name)).unwrap().mtime(), MTIME.secs, "{name}");
    }
}

#[test]
fn a_tree_deeper_than_the_table_of_open_files_is_no_trouble() {
    let deep = b"d/".repeat(2500);
    let (dir, done) = unpack(&[file(&[&deep[..], b"f"].concat()), file(b"e")]);
    done.unwrap();
    assert!(dir.path().join("in/dest").join("d/".repeat(1000)).is_dir());
    let status = std::process::Command::new("rm").arg("-rf").arg(dir.path().join("in")).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let mut uploads = Uploads::default();
    let hole = super::Piece::Hole { len: 300 << 20 };
    uploads.file_of("assets/bomb", vec![hole]);
    let (dir, path, written) = packed(&uploads);
    assert!(written.size_bytes < 1 << 20);
    let seen = Seen::default();
    let limit = seen.refuse_above(1 << 20);
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let done = extract(&path, &dest, &mut Options { limit: Some(&limit), ..plain() });
    assert!(matches!(done, Err(Error::Refused(_))));
    let total = seen.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(total < 2 << 20, "{total} bytes were unpacked");
}

fn small() -> Uploads {
    let mut uploads = Uploads::default();
    uploads.dir("assets");
    uploads.file("assets/a.txt", &text(1, 700));
    uploads.file("assets/b.jpg", &noise(2, 16 << 10));
    uploads.symlink("assets/l", "a.txt");
    uploads.file(format!("assets/{}", "n".repeat(150)), b"x");
    uploads
}

#[derive(Default, PartialEq, Debug)]
struct Sums(Vec<(Vec<u8>, [u8; 32])>);

impl FileVisitor for Sums {
    fn file(&mut self, path: &[u8], _: u64, sha256: &[u8; 32]) -> Result<()> {
        self.0.push((path.to_vec(), *sha256));
        Ok(())
    }
}

fn sums(path: &Path) -> Result<Sums> {
    let mut sums = Sums::default();
    verify(path, &mut Options { watch: Some(&mut sums), ..plain() }).map(|_| sums)
}

#[test]
fn every_truncation_and_every_flipped_byte_is_seen_or_harmless() {
    let (_dir, path, _) = packed(&small());
    let bytes = fs::read(&path).unwrap();
    let whole = sums(&path).unwrap();
    let step = (bytes.len() / 700).max(1);
    for len in (0..bytes.len()).step_by(step).chain(bytes.len() - 40..bytes.len()) {
        fs::write(&path, &bytes[..len]).unwrap();
        match sums(&path) {
            Err(Error::Corrupt { object, .. }) => assert_eq!(object, path.display().to_string()),
            other => panic!("cut to {len}: {other:?}"),
        }
    }
    for at in (0..200).chain((200..bytes.len()).step_by(step)).chain(bytes.len() - 40..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        match sums(&path) {
            Ok(found) => assert_eq!(found, whole, "flipped {at}"),
            Err(Error::Corrupt { .. }) => {}
            other => panic!("flipped {at}: {other:?}"),
        }
    }
    fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
    assert!(matches!(sums(&path), Err(Error::Corrupt { .. })), "bytes after the end");
}

#[test]
fn a_tar_without_its_end_is_damaged_though_gzip_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let tar = file(b"a");
    for (plain, why) in [
        (tar.clone(), "without the closing blocks"),
        ([&tar[..], &END[..BLOCK]].concat(), "one closing block"),
        (tar[..700].to_vec(), "middle of a member"),
        (tar[..300].to_vec(), "middle of a block"),
        (Vec::new(), "without the closing blocks"),
        ([&tar[..], &END, b"x"].concat(), ""),
        ([&tar[..], &END, &tar[..]].concat(), "after its closing blocks"),
    ] {
        let error = sums(&gzip(dir.path(), &plain)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(why), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_mutation_of_the_plain_tar_is_read_or_refused(
        edits in prop::collection::vec((0usize..8192, any::<u8>()), 1..12),
        cut in 0usize..8192,
        fix_sums: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("in/dest");
        fs::create_dir_all(&dest).unwrap();
        let mut plain_bytes = [
            member(b'5', b"d", b"", b""),
            pax("d/é".as_bytes()),
            file(b"d/a"),
            member(b'1', b"d/b", b"d/a", b""),
            member(b'2', b"l", b"d", b""),
            member(b'L', b"././@LongLink", b"", &b"n".repeat(120)),
            file(b"short"),
            END.to_vec(),
        ]
        .concat();
        for (at, byte) in edits {
            let at = at % plain_bytes.len();
            plain_bytes[at] = byte;
            if fix_sums {
                let head = &mut plain_bytes[at / BLOCK * BLOCK..][..BLOCK];
                head[148..156].fill(b' ');
                let sum: u64 = head.iter().map(|b| u64::from(*b)).sum();
                head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if cut < plain_bytes.len() && cut % 3 == 0 {
            plain_bytes.truncate(cut);
        }
        let path = gzip(dir.path(), &plain_bytes);
        let extracted = extract(&path, &dest, &mut super::plain());
        let verified = verify(&path, &mut super::plain());
        prop_assert_eq!(extracted.is_ok(), verified.is_ok(), "{:?} {:?}", extracted, verified);
        prop_assert_eq!(fs::read_dir(dir.path().join("in")).unwrap().count(), 1);
    }

    #[test]
    fn any_mutation_of_the_gzip_stream_is_read_or_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (_dir, path, _) = packed(&small());
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        let _ = sums(&path);
    }
}
