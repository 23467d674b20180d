//! What is not an ordinary database in an ordinary state.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{BANK, Collect, Lab, Worker};
use crate::error::Error;
use crate::progress::{Observer, Silent};
use crate::source::database::{Image, Method, ReadOptions, read_image};

/// The files of the data directory with their contents and mtimes. (ctime moves: as root, SQLite sets a journal's owner, to the same.)
fn bytes_beside(lab: &Lab) -> Vec<(String, Vec<u8>, i64)> {
    lab.files()
        .into_iter()
        .map(|name| {
            let path = lab.dir.path().join("data").join(&name);
            let meta = fs::metadata(&path).unwrap();
            (name, fs::read(&path).unwrap(), meta.mtime_nsec())
        })
        .collect()
}

#[test]
fn a_hot_journal_is_rolled_back_in_a_copy_only() {
    for mode in ["delete", "truncate", "persist"] {
        let lab = Lab::new();
        lab.make_bank(mode, 4096);
        // A cache of one page spills the open transaction into the file; then the process dies in the middle.
        let code = format!(
            "{BANK}\nc = connect({mode:?})\nfor i in range(30): transact(c, 5)\nc.execute('PRAGMA cache_size=1')\nc.execute('BEGIN IMMEDIATE')\n\
             c.execute('UPDATE a SET n = n + 1')\nc.execute('UPDATE log SET pad = randomblob(3000)')\nc.execute('DELETE FROM counter')\n\
             print('ready', flush=True)\nsys.stdin.read()"
        );
        Worker::start(&lab.db(), &code).kill();
        assert_eq!(lab.files(), ["lrl.db", "lrl.db-journal"]);
        let before = bytes_beside(&lab);
        let (image, bytes) = lab.read();
        assert_eq!(image.method, Method::RecoveredCopy, "{mode}");
        assert_eq!(image.schema_error, None);
        lab.check_bank(&bytes);
        assert!(before == bytes_beside(&lab), "nothing may happen in place");
        assert_ne!(before[0].1, bytes, "the test must have torn the file");
        lab.python(&format!("{BANK}\nc = connect()\ntransact(c)"));
    }
}

#[test]
fn the_wal_of_a_crashed_writer_is_part_of_the_image() {
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    let code = format!(
        "{BANK}\nc = connect()\nfor i in range(200): transact(c)\nprint('ready', flush=True)\nsys.stdin.read()"
    );
    Worker::start(&lab.db(), &code).kill();
    let wal = fs::read(lab.dir.path().join("data/lrl.db-wal")).unwrap();
    assert!(!wal.is_empty());
    let file = fs::read(lab.db()).unwrap();
    for with_shm in [true, false] {
        if !with_shm {
            fs::remove_file(lab.dir.path().join("data/lrl.db-shm")).unwrap();
        }
        let (image, bytes) = lab.read();
        assert_eq!(image.method, Method::Pages);
        assert!(lab.check_bank(&bytes) > 50);
        assert_eq!(fs::read(lab.db()).unwrap(), file, "no checkpoint");
        assert_eq!(fs::read(lab.dir.path().join("data/lrl.db-wal")).unwrap(), wal);
    }
}

#[test]
fn side_files_made_by_root_belong_to_the_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    std::os::unix::fs::chown(lab.db(), Some(12345), Some(12345)).unwrap();
    std::os::unix::fs::chown(lab.dir.path().join("data"), Some(12345), Some(12345)).unwrap();
    // Just written: it goes through SQLite, which makes side files.
    lab.read();
    for name in lab.files() {
        let meta = fs::metadata(lab.dir.path().join("data").join(&name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12345, 12345), "{name}");
    }
}

#[test]
fn a_closed_wal_database_gets_no_side_files() {
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    lab.settle();
    let before = bytes_beside(&lab);
    let (image, bytes) = lab.read();
    assert_eq!(image.method, Method::PlainFile);
    assert_eq!(image.tables.unwrap(), ["a", "b", "counter", "log"]);
    assert_eq!(image.page_size, 4096);
    lab.check_bank(&bytes);
    assert!(before == bytes_beside(&lab));
    assert_eq!(lab.files(), ["lrl.db"]);
}

/// Runs a writer in the middle of a plain read.
#[test]
fn a_closed_wal_database_that_wakes_up_is_read_again() {
    struct Disturbed<'a>(Collect, &'a Lab, u32);
    impl crate::source::database::ImageSink for Disturbed<'_> {
        fn bytes(&mut self, piece: &[u8]) -> crate::error::Result<()> {
            if self.2 == 0 {
                self.1.python(&format!("{BANK}\nc = connect()\nfor i in range(20): transact(c)\nc.close()"));
            }
            self.2 += 1;
            self.0.bytes(piece)
        }
        fn restart(&mut self) -> crate::error::Result<()> {
            self.0.restart()
        }
    }
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    lab.settle();
    let mut sink = Disturbed(Collect::default(), &lab, 0);
    let scratch = lab.scratch();
    let options = ReadOptions { busy: Duration::from_secs(20), scratch: &scratch };
    read_image(&lab.db(), &options, &mut sink, &Silent).unwrap();
    assert!(lab.check_bank(&sink.0.0) > 5);
    // A closure cannot start again: an error, never a mixture.
    lab.python("os.remove(db)");
    for name in lab.files() {
        fs::remove_file(lab.dir.path().join("data").join(name)).unwrap();
    }
    lab.make_bank("wal", 4096);
    lab.settle();
    let mut first = true;
    let mut closure = |_: &[u8]| {
        if std::mem::take(&mut first) {
            lab.python(&format!("{BANK}\nc = connect()\nfor i in range(20): transact(c)\nc.close()"));
        }
        Ok(())
    };
    assert!(matches!(read_image(&lab.db(), &options, &mut closure, &Silent), Err(Error::Refused(_))));
}

#[test]
fn an_exclusive_writer_is_waited_for_and_then_named() {
    for mode in ["delete", "wal"] {
        let lab = Lab::new();
        lab.make_bank(mode, 4096);
        let code = format!(
            "{BANK}\nc = connect()\nc.execute('PRAGMA locking_mode=EXCLUSIVE')\nc.execute('UPDATE a SET pad = 7')\nprint('ready', flush=True)\n\
             sys.stdin.readline()\ntime.sleep(.3)\nc.close()"
        );
        let mut worker = Worker::start(&lab.db(), &code);
        let started = Instant::now();
        let error = lab.try_read(Duration::from_millis(400)).map(|(image, _)| image).unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(400));
        let text = error.to_string();
        assert!(matches!(error, Error::Source { .. }) && text.contains("locked by another process"), "{text}");
        worker.tell("close");
        let (_, bytes) = lab.try_read(Duration::from_secs(20)).unwrap();
        lab.check_bank(&bytes);
        worker.stop();
    }
}

#[test]
fn waiting_can_be_interrupted() {
    struct Stop(Instant);
    impl Observer for Stop {
        fn interrupted(&self) -> bool {
            self.0.elapsed() > Duration::from_millis(100)
        }
    }
    let lab = Lab::new();
    lab.make_bank("delete", 4096);
    let code =
        format!("{BANK}\nc = connect()\nc.execute('BEGIN EXCLUSIVE')\nprint('ready', flush=True)\nsys.stdin.read()");
    let worker = Worker::start(&lab.db(), &code);
    let scratch = lab.scratch();
    let options = ReadOptions { busy: Duration::from_secs(60), scratch: &scratch };
    let result = read_image(&lab.db(), &options, &mut Collect::default(), &Stop(Instant::now()));
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    worker.stop();
}

fn read_bytes(lab: &Lab, bytes: &[u8]) -> (Image, Vec<u8>) {
    fs::write(lab.db(), bytes).unwrap();
    let (image, read) = lab.read();
    assert_eq!(lab.files(), ["lrl.db"]);
    (image, read)
}

#[test]
fn what_is_not_a_database_is_kept_and_marked() {
    let lab = Lab::new();
    lab.make_bank("delete", 1024);
    let good = fs::read(lab.db()).unwrap();
    let mut noise = vec![0; 300_001];
    for (at, byte) in noise.iter_mut().enumerate() {
        *byte = (at * at / 7 + at) as u8;
    }
    let mut bad_schema = good.clone();
    let at = bad_schema.windows(14).position(|window| window == b"CREATE TABLE a").unwrap();
    bad_schema[at..at + 6].copy_from_slice(b"CRAETE");
    let mut bad_root = good.clone();
    bad_root[100] = 77;
    let mut new_format = good.clone();
    new_format[44..48].copy_from_slice(&9u32.to_be_bytes());
    let cases: [(&str, Vec<u8>, Method); 8] = [
        ("empty", vec![], Method::PlainFile),
        ("noise, like an encrypted database", noise, Method::PlainFile),
        ("text", b"not a database".to_vec(), Method::PlainFile),
        ("header only", good[..100].to_vec(), Method::PlainFile),
        ("truncated", good[..good.len() - 1024].to_vec(), Method::PlainFile),
        ("damaged schema", bad_schema, Method::Pages),
        ("damaged root page", bad_root, Method::Pages),
        ("unknown schema format", new_format, Method::PlainFile),
    ];
    for (name, bytes, method) in cases {
        let (image, read) = read_bytes(&lab, &bytes);
        assert_eq!(image.method, method, "{name}: {image:?}");
        assert!(image.schema_error.is_some() && image.tables.is_none(), "{name}: {image:?}");
        assert!(read == bytes, "{name}");
    }
    let mut damaged_data = good.clone();
    let last = good.len() - 1024;
    damaged_data[last..].fill(0xa5);
    let (image, read) = read_bytes(&lab, &damaged_data);
    assert!(image.schema_error.is_none() && read == damaged_data, "damage below the schema is the drill's to find");
}

#[test]
fn errors_name_what_is_wrong() {
    let lab = Lab::new();
    let text = |lab: &Lab| lab.try_read(Duration::ZERO).map(|(image, _)| image).unwrap_err().to_string();
    assert!(text(&lab).contains("cannot be opened"));
    fs::create_dir(lab.db()).unwrap();
    assert!(text(&lab).contains("not a regular file"));
    fs::remove_dir(lab.db()).unwrap();
    assert!(Command::new("mkfifo").arg(lab.db()).status().unwrap().success());
    assert!(text(&lab).contains("not a regular file"));
}

#[test]
fn a_symbolic_link_leads_to_the_real_files() {
    let lab = Lab::new();
    lab.make_bank("delete", 4096);
    let real = lab.dir.path().join("data/real.db");
    fs::rename(lab.db(), &real).unwrap();
    std::os::unix::fs::symlink(&real, lab.db()).unwrap();
    lab.check_bank(&lab.read().1);
}

const AS_USER: &str = "LRL_TEST_DB_AS_USER";

/// Runs `as_other_user` in a child process of another user.
fn run_as(uid: u32, lab: &Lab) -> String {
    let exe = lab.dir.path().join("tests");
    if !exe.exists() {
        fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    }
    let output = Command::new(&exe)
        .args(["--exact", "source::database::tests::faults::as_other_user", "--nocapture", "--ignored"])
        .env(AS_USER, lab.dir.path())
        .current_dir("/")
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "run by only_its_owner_or_root_opens_a_database in a child process"]
fn as_other_user() {
    let Some(dir) = std::env::var_os(AS_USER) else { return };
    let dir = std::path::Path::new(&dir);
    let scratch = tempfile::tempdir().unwrap();
    let options = ReadOptions { busy: Duration::ZERO, scratch: scratch.path() };
    match read_image(&dir.join("data/lrl.db"), &options, &mut Collect::default(), &Silent) {
        Ok(image) => println!("read by {:?}", image.method),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn only_its_owner_or_root_opens_a_database() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    let data = lab.dir.path().join("data");
    for path in [lab.dir.path(), &data] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(lab.db(), fs::Permissions::from_mode(0o666)).unwrap();
    chown(lab.db(), Some(4001), Some(4001)).unwrap();
    let refused = run_as(4002, &lab);
    assert!(refused.contains("refused") && refused.contains("only its owner or root"), "{refused}");
    assert_eq!(lab.files(), ["lrl.db"]);
    let read = run_as(4001, &lab);
    // It was closed a moment ago: a little patience instead of a `-wal` and a `-shm` that stay behind.
    assert!(read.contains("read by PlainFile"), "{read}");
    assert_eq!(lab.files(), ["lrl.db"]);
    fs::remove_file(lab.db()).unwrap();

    // In a directory that its owner cannot write, SQLite cannot make the side files of WAL mode.
    lab.make_bank("wal", 4096);
    chown(lab.db(), Some(4001), Some(4001)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    let read = run_as(4001, &lab);
    assert!(read.contains("read by PlainFile"), "{read}");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    let code =
        format!("{BANK}\nc = connect()\nfor i in range(20): transact(c)\nprint('ready', flush=True)\nsys.stdin.read()");
    Worker::start(&lab.db(), &code).kill();
    fs::remove_file(data.join("lrl.db-shm")).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    let read = run_as(4001, &lab);
    assert!(read.contains("read by RecoveredCopy"), "{read}");
    assert_eq!(lab.files(), ["lrl.db", "lrl.db-wal"]);
}
