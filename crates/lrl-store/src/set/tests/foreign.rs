//! What others write: Python's `tarfile` in each of its formats, GNU tar in each of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::{plain, python, run};
use crate::error::{Error, Result};
use crate::set::archive::extract::{FileVisitor, Options, extract, verify};
use crate::set::archive::read::{MemberKind, walk};

fn uploads(dir: &Path) {
    let assets = dir.join("assets");
    fs::create_dir_all(assets.join("sub/empty")).unwrap();
    fs::write(assets.join("a.txt"), b"first").unwrap();
    fs::hard_link(assets.join("a.txt"), assets.join("sub/again.txt")).unwrap();
    fs::write(assets.join(format!("sub/{}", "ü".repeat(100))), b"long").unwrap();
    let raw = [&b"raw-\xff-"[..], &b"z".repeat(150)[..]].concat();
    fs::write(assets.join("sub").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&raw)), b"raw")
        .unwrap();
    fs::write(assets.join("big"), vec![7; 600_000]).unwrap();
    symlink("sub/again.txt", assets.join("link")).unwrap();
}

#[derive(Default)]
struct Names(Vec<String>, Vec<String>);

impl FileVisitor for Names {
    fn file(&mut self, path: &[u8], size_bytes: u64, _: &[u8; 32]) -> Result<()> {
        self.0.push(format!("{} {size_bytes}", String::from_utf8_lossy(path)));
        Ok(())
    }
    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.1.push(format!("{} = {}", String::from_utf8_lossy(path), String::from_utf8_lossy(target)));
        Ok(())
    }
}

fn comes_back(dir: &Path, archive: &Path, nanos: bool) {
    let dest = dir.join("dest");
    fs::create_dir(&dest).unwrap();
    let mut names = Names::default();
    let counts = extract(archive, &dest, &mut Options { watch: Some(&mut names), ..plain() }).unwrap();
    assert_eq!(counts.files, 4);
    assert_eq!(names.1.len(), 1, "the second name of a file");
    let mut again = Names::default();
    assert_eq!(verify(archive, &mut Options { watch: Some(&mut again), ..plain() }).unwrap(), counts);
    assert_eq!((&again.0, &again.1), (&names.0, &names.1));
    run("diff", &["-r", "--no-dereference", "assets", "dest/assets"], dir);
    for entry in walkdir::WalkDir::new(dir.join("assets")) {
        let entry = entry.unwrap();
        let there = fs::symlink_metadata(dest.join(entry.path().strip_prefix(dir).unwrap())).unwrap();
        let here = entry.metadata().unwrap();
        assert_eq!((here.mtime(), here.mode(), here.nlink()), (there.mtime(), there.mode(), there.nlink()));
        assert!(!nanos || here.mtime_nsec() == there.mtime_nsec(), "{}", entry.path().display());
    }
    fs::remove_dir_all(dest).unwrap();
}

#[test]
fn python_archives_come_back() {
    let dir = tempfile::tempdir().unwrap();
    uploads(dir.path());
    let archive = dir.path().join("p.tar.gz");
    for format in ["PAX_FORMAT", "GNU_FORMAT"] {
        let script = format!(
            "import sys, tarfile\nwith tarfile.open(sys.argv[1], 'w:gz', format=tarfile.{format}) as t: t.add('assets')"
        );
        python(&script, &[&archive], dir.path());
        comes_back(dir.path(), &archive, false);
    }
    // The documented script: files only, in the order of a walk.
    let script = "import sys, tarfile, pathlib\n\
                  with tarfile.open(sys.argv[1], 'w:gz') as t:\n\
                  \x20   for p in pathlib.Path('assets').rglob('*'):\n\
                  \x20       if p.is_file(): t.add(p, arcname=str(p))";
    python(script, &[&archive], dir.path());
    assert_eq!(verify(&archive, &mut plain()).unwrap().files, 4);
}

#[test]
fn gnu_archives_come_back() {
    let dir = tempfile::tempdir().unwrap();
    uploads(dir.path());
    let archive = dir.path().join("g.tar.gz");
    for (format, paths) in [("gnu", "assets"), ("posix", "assets"), ("gnu", "./assets"), ("posix", "./assets")] {
        let format_flag = format!("--format={format}");
        run("tar", &[&format_flag, "--sort=inode", "-czf", "g.tar.gz", paths], dir.path());
        comes_back(dir.path(), &archive, format == "posix");
    }
    // Two gzip members, as `cat` and some parallel compressors make them.
    run(
        "sh",
        &["-c", "tar -cf g.tar assets && (head -c 5000 g.tar | gzip; tail -c +5001 g.tar | gzip) > g.tar.gz"],
        dir.path(),
    );
    comes_back(dir.path(), &archive, false);
}

#[test]
fn a_gnu_sparse_member_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("holes")).unwrap().set_len(1 << 20).unwrap();
    for format in ["gnu", "posix"] {
        run("tar", &[&format!("--format={format}"), "-S", "-czf", "s.tar.gz", "holes"], dir.path());
        match verify(&dir.path().join("s.tar.gz"), &mut plain()) {
            Err(Error::Unsupported { what }) => assert!(what.text().contains("holes"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_visitor_may_leave_data_unread_or_read_it_by_std_io() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    uploads(dir.path());
    run("tar", &["--format=posix", "-czf", "g.tar.gz", "assets"], dir.path());
    let (mut seen, mut big) = (0, Vec::new());
    walk(&dir.path().join("g.tar.gz"), &|_| Ok(()), &mut |member, data| {
        seen += 1;
        if member.path.ends_with(b"big") {
            data.take(500_000).read_to_end(&mut big).map_err(Error::io("read", "big"))?;
        } else if member.kind == MemberKind::File {
            let mut one = [0; 1];
            data.read_exact(&mut one).map_err(Error::io("read", "one"))?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((seen, big), (9, vec![7; 500_000]));
}
