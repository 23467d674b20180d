use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, renameat};
use tempfile::TempDir;

use super::{Found, FoundKind, Root, walk};
use crate::error::{Error, Result};
use crate::format::entry::compare_paths;
use crate::progress::{Observer, Problem, Silent};
use crate::source::exclude::Excludes;
use crate::source::read::{Part, ReadOutcome, read_file};

fn root(name: &str, path: impl AsRef<Path>) -> Root {
    Root { name: name.to_owned(), path: path.as_ref().to_path_buf() }
}

fn tree() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let assets = dir.path().join("assets");
    fs::create_dir(&assets).unwrap();
    (dir, assets)
}

fn put(path: impl AsRef<Path>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, b"content").unwrap();
}

/// Walks and checks what holds for every walk: clean paths in list order, each once, places that are there.
fn run(
    roots: &[Root],
    excludes: &[&str],
    skip: &[PathBuf],
    seen: &mut dyn FnMut(&Found),
) -> (Vec<Found>, Vec<Problem>) {
    let excludes = Excludes::new(&excludes.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), &[]).unwrap();
    let mut all: Vec<Found> = Vec::new();
    let problems = walk(roots, &excludes, skip, &Silent, &mut |found| {
        if let Some(last) = all.last() {
            assert!(compare_paths(&last.path, &found.path).is_lt(), "{:?} then {:?}", last.path, found.path);
        }
        assert!(crate::format::entry::is_clean_path(&found.path));
        seen(&found);
        all.push(found);
        Ok(())
    })
    .unwrap();
    (all, problems)
}

fn simple(path: &Path) -> (Vec<Found>, Vec<Problem>) {
    run(&[root("assets", path)], &[], &[], &mut |_| {})
}

fn paths(found: &[Found]) -> Vec<String> {
    found.iter().map(|f| String::from_utf8_lossy(&f.path).into_owned()).collect()
}

#[test]
fn everything_comes_once_in_list_order() {
    let (dir, assets) = tree();
    for name in ["b/x", "b!", "b-/y", "a/z/deep", "a.txt", "é"] {
        put(assets.join(name));
    }
    put(assets.join(OsStr::from_bytes(b"bad\xff\xfe\n name")));
    fs::create_dir(assets.join("empty")).unwrap();
    put(dir.path().join("storage/key.bin"));
    let roots = [root("storage", dir.path().join("storage")), root("assets", assets.join(""))];
    let (found, problems) = run(&roots, &[], &[], &mut |found| {
        assert!(fs::symlink_metadata(&found.source).is_ok(), "{:?}", found.source);
    });
    assert_eq!(problems, []);
    let expected = [
        "assets",
        "assets/a",
        "assets/a/z",
        "assets/a/z/deep",
        "assets/a.txt",
        "assets/b",
        "assets/b/x",
        "assets/b!",
        "assets/b-",
        "assets/b-/y",
        "assets/bad\u{fffd}\u{fffd}\n name",
        "assets/empty",
        "assets/é",
        "storage",
        "storage/key.bin",
    ];
    assert_eq!(paths(&found), expected);
    assert!(found.iter().any(|f| f.path == b"assets/bad\xff\xfe\n name" && f.stat.size == 7));
    assert_eq!(found[1].source, assets.join("a"), "a slash after the root is not doubled");
}

#[test]
fn links_are_recorded_and_never_followed() {
    let (dir, assets) = tree();
    put(dir.path().join("outside/secret"));
    symlink("no/such/thing", assets.join("dangling")).unwrap();
    symlink(dir.path().join("outside"), assets.join("to-dir")).unwrap();
    symlink(".", assets.join("loop")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\xfe"), assets.join("odd")).unwrap();
    let real = dir.path().join("assets-link");
    symlink(&assets, &real).unwrap();
    let (found, problems) = simple(&real);
    assert_eq!(problems, []);
    assert_eq!(paths(&found), ["assets", "assets/dangling", "assets/loop", "assets/odd", "assets/to-dir"]);
    assert_eq!(found[0].kind, FoundKind::Dir);
    assert_eq!(found[1].kind, FoundKind::Symlink { target: b"no/such/thing".to_vec() });
    assert_eq!(found[3].kind, FoundKind::Symlink { target: b"\xff\xfe".to_vec() });
}

#[test]
fn metadata_is_the_systems() {
    let (_dir, assets) = tree();
    let file = assets.join("f");
    put(&file);
    fs::hard_link(&file, assets.join("g")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let (found, _) = simple(&assets);
    let stat = found[1].stat;
    assert_eq!((stat.mode, stat.nlink, stat.size), (0o4751, 2, 7));
    assert_eq!((stat.mtime.secs, stat.mtime.nanos), (1_234_567_890, 123_456_789));
    assert_eq!(stat.id(), found[2].stat.id());
    assert!(stat.blocks > 0 && stat.ctime.secs > 1_234_567_890);
}

#[test]
fn special_files_are_notes() {
    let (_dir, assets) = tree();
    rustix::fs::mknodat(CWD, assets.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _listener = UnixListener::bind(assets.join("socket")).unwrap();
    put(assets.join("z"));
    let (found, problems) = simple(&assets);
    assert_eq!(paths(&found), ["assets", "assets/z"]);
    assert!(problems.iter().all(|p| !p.lost));
    assert!(problems[0].path.ends_with("/pipe") && problems[0].reason.contains("named pipe"), "{problems:?}");
    assert!(problems[1].path.ends_with("/socket") && problems[1].reason.contains("socket"), "{problems:?}");
}

#[test]
fn what_vanishes_after_it_was_listed_is_lost_and_named() {
    let (_dir, assets) = tree();
    put(assets.join("a"));
    put(assets.join("b"));
    put(assets.join("c/d"));
    put(assets.join("e"));
    let (found, problems) = run(&[root("assets", &assets)], &[], &[], &mut |found| {
        if found.path == b"assets/a" {
            fs::remove_file(assets.join("b")).unwrap();
            fs::remove_dir_all(assets.join("c")).unwrap();
        }
    });
    assert_eq!(paths(&found), ["assets", "assets/a", "assets/e"]);
    assert_eq!(problems.len(), 2);
    for (problem, name) in problems.iter().zip(["/b", "/c"]) {
        assert!(problem.lost && problem.path.ends_with(name) && problem.reason.contains("vanished"), "{problem:?}");
    }
}

#[test]
fn a_link_planted_for_a_listed_directory_is_not_followed() {
    let (dir, assets) = tree();
    put(dir.path().join("outside/secret"));
    put(assets.join("a"));
    put(assets.join("b/upload"));
    let (found, problems) = run(&[root("assets", &assets)], &[], &[], &mut |found| {
        if found.path == b"assets/a" {
            fs::remove_dir_all(assets.join("b")).unwrap();
            symlink(dir.path().join("outside"), assets.join("b")).unwrap();
        }
    });
    assert_eq!(paths(&found), ["assets", "assets/a", "assets/b"]);
    assert!(matches!(found[2].kind, FoundKind::Symlink { .. }), "{:?} {problems:?}", found[2]);
}

#[test]
fn excluded_directories_are_not_entered() {
    let (_dir, assets) = tree();
    for name in ["thumbs/a", "b/thumbs/c", "b/x.tmp", "keep"] {
        put(assets.join(name));
    }
    let (found, problems) = run(&[root("assets", &assets)], &["/thumbs/", "*.tmp"], &[], &mut |_| {});
    assert_eq!(paths(&found), ["assets", "assets/b", "assets/b/thumbs", "assets/b/thumbs/c", "assets/keep"]);
    assert_eq!(problems, []);
}

#[test]
fn the_store_and_the_database_are_not_uploads() {
    let (dir, assets) = tree();
    put(assets.join("backups/old.tar.gz"));
    put(assets.join("lrl.db"));
    put(assets.join("a"));
    fs::hard_link(assets.join("lrl.db"), assets.join("upload.db")).unwrap();
    symlink(assets.join("backups"), dir.path().join("out")).unwrap();
    let skip = [dir.path().join("out"), assets.join("lrl.db"), dir.path().join("not there")];
    let (found, problems) = run(&[root("assets", &assets)], &[], &skip, &mut |_| {});
    assert_eq!(paths(&found), ["assets", "assets/a", "assets/upload.db"]);
    assert!(problems.len() == 2 && problems.iter().all(|p| !p.lost), "{problems:?}");
    let refused = walk(&[root("assets", &assets)], &Excludes::none(), &[assets], &Silent, &mut |_| Ok(()));
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[test]
fn overlapping_roots_are_stored_once() {
    let (dir, assets) = tree();
    put(assets.join("a"));
    put(assets.join("nested/b"));
    put(dir.path().join("other"));
    symlink(assets.join("nested"), dir.path().join("link")).unwrap();
    // Inside, also through a link: dropped.
    let (found, problems) =
        run(&[root("assets", &assets), root("storage", dir.path().join("link"))], &[], &[], &mut |_| {});
    assert_eq!(paths(&found), ["assets", "assets/a", "assets/nested", "assets/nested/b"]);
    assert!(problems.len() == 1 && !problems[0].lost && problems[0].reason.contains("inside"), "{problems:?}");
    // The same directory twice.
    let (found, problems) = run(&[root("assets", &assets), root("storage", &assets)], &[], &[], &mut |_| {});
    assert_eq!((found.len(), problems.len()), (4, 1));
    // Around the first one: walked without it, so that the set keeps its `assets/`.
    let (found, problems) = run(&[root("storage", dir.path()), root("assets", &assets)], &[], &[], &mut |_| {});
    let expected =
        ["assets", "assets/a", "assets/nested", "assets/nested/b", "storage", "storage/link", "storage/other"];
    assert_eq!(paths(&found), expected);
    assert!(problems.len() == 1 && !problems[0].lost && problems[0].reason.contains("only once"), "{problems:?}");
}

#[test]
fn a_root_that_is_not_there_is_lost_and_names_must_be_names() {
    let (dir, assets) = tree();
    put(assets.join("a"));
    let (found, problems) =
        run(&[root("assets", &assets), root("storage", dir.path().join("gone"))], &[], &[], &mut |_| {});
    assert_eq!(found.len(), 2);
    assert!(problems.len() == 1 && problems[0].lost && problems[0].path.ends_with("gone"), "{problems:?}");
    for roots in [vec![root("../x", &assets)], vec![root("", &assets)], vec![root("a", &assets), root("a", &assets)]] {
        assert!(walk(&roots, &Excludes::none(), &[], &Silent, &mut |_| Ok(())).is_err());
    }
}

#[test]
fn the_caller_can_stop_it() {
    struct Stop;
    impl Observer for Stop {
        fn interrupted(&self) -> bool {
            true
        }
    }
    let (_dir, assets) = tree();
    let stopped = walk(&[root("assets", &assets)], &Excludes::none(), &[], &Stop, &mut |_| Ok(()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let failed = walk(&[root("assets", &assets)], &Excludes::none(), &[], &Silent, &mut |_| Err(Error::Interrupted));
    assert!(failed.is_err());
}

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
            let outcome = read_file(&found, &mut Vec::new(), &mut |part| match part {
                Part::Data(data) => Ok(bytes.extend_from_slice(data)),
                other => panic!("{other:?}"),
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

#[test]
fn a_report_of_many_problems_stays_small() {
    struct Count(std::sync::atomic::AtomicUsize);
    impl Observer for Count {
        fn problem(&self, _: &Problem) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let (_dir, assets) = tree();
    for i in 0..1100 {
        rustix::fs::mknodat(CWD, assets.join(format!("{i}")), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    }
    let count = Count(Default::default());
    let problems = walk(&[root("assets", &assets)], &Excludes::none(), &[], &count, &mut |_| Ok(())).unwrap();
    assert_eq!(count.0.into_inner(), 1100);
    assert_eq!(problems.len(), 1001);
    assert!(problems[1000].reason.starts_with("100 more") && !problems[1000].lost);
}

/// Runs one ignored test of this binary as an ordinary user, on `dir`.
fn as_user(test: &str, dir: &Path) {
    use std::os::unix::process::CommandExt;
    // The build directory may be closed to that user.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("tests");
    let this = std::env::current_exe().unwrap();
    fs::hard_link(&this, &program).or_else(|_| fs::copy(&this, &program).map(|_| ())).unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", test, "--ignored"]).env("LRL_TEST_DIR", dir).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_may_not_be_read_is_lost_and_named() {
    let (dir, assets) = tree();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(dir.path(), 0o755);
    put(assets.join("closed/x"));
    put(assets.join("names-only/x"));
    put(assets.join("plain"));
    put(assets.join("secret"));
    for (name, mode) in [("closed", 0o000), ("names-only", 0o744), ("secret", 0o000)] {
        open(&assets.join(name), mode);
    }
    if !rustix::process::geteuid().is_root() {
        // The owner itself has no execute permission either.
        open(&assets.join("names-only"), 0o644);
    }
    as_user("source::walk::tests::child_walks_without_rights", &assets);
    open(&assets.join("closed"), 0o755);
    open(&assets.join("names-only"), 0o755);
}

#[test]
#[ignore = "started by what_may_not_be_read_is_lost_and_named"]
fn child_walks_without_rights() {
    let Some(assets) = std::env::var_os("LRL_TEST_DIR") else { return };
    let (found, mut problems) = simple(Path::new(&assets));
    assert_eq!(paths(&found), ["assets", "assets/closed", "assets/names-only", "assets/plain", "assets/secret"]);
    for file in found.iter().filter(|f| f.kind == FoundKind::File) {
        let outcome = read_file(file, &mut Vec::new(), &mut |_| Ok(())).unwrap();
        problems.extend(outcome.problem(file));
    }
    let ends: Vec<_> = problems.iter().map(|p| (p.path.rsplit("assets/").next().unwrap(), p.lost)).collect();
    assert_eq!(ends, [("closed", true), ("names-only/x", true), ("secret", true)]);
    assert!(problems.iter().all(|p| p.reason.contains("Permission denied")), "{problems:?}");
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
                read_file(&found, &mut scratch, &mut |_| Ok(()))?;
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
