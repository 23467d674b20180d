//! Sites: several databases, files beside them in any directory, and what is not in the snapshot.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use rusqlite::Connection;

use super::*;
use crate::fs::space::Reserve;
use crate::ops::backup::{self, backup};
use crate::ops::restore::rename::faults;
use crate::ops::restore::{CleanOptions, UndoOptions, Undone, clean, is_unfinished, undo};
use crate::source::files::exclude::Excludes;
use crate::source::files::kept_copies::{is_record, kept_of};

pub(super) const DATABASES: [&str; 3] = ["app.db", "data/users/a.sqlite", "storage/main.sqlite"];

pub(super) struct Site {
    pub(super) lab: Lab,
    backups: std::cell::Cell<u64>,
}

pub(super) type Taken = (SnapshotName, Snapshot);

impl Site {
    pub(super) fn new() -> Self {
        let site = Self { lab: Lab::new(), backups: 0.into() };
        for path in DATABASES {
            site.write(path, b"");
            let db = site.open(path);
            db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES('first')").unwrap();
        }
        site.write("rsa_key.pem", b"key");
        set_mode(&site.root().join("rsa_key.pem"), 0o600);
        site.write("data/files/x.txt", b"x");
        fs::hard_link(site.root().join("data/files/x.txt"), site.root().join("data/files/y.txt")).unwrap();
        site.write("data/cache/c", b"cache");
        site.write("storage/ab/blob", &[7; 5000]);
        site.write("icon_cache/i", b"icon");
        fs::create_dir(site.root().join("empty")).unwrap();
        symlink("data/files", site.root().join("current")).unwrap();
        set_mode(&site.root().join("data"), 0o750);
        set_mtime(&site.root().join("data/files"), 1_000, 5);
        site
    }

    pub(super) fn root(&self) -> PathBuf {
        self.lab.dir.path().join("site")
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    pub(super) fn open(&self, path: &str) -> Connection {
        Connection::open(self.root().join(path)).unwrap()
    }

    pub(super) fn options_of_backup(&self) -> backup::Options {
        let second = self.backups.replace(self.backups.get() + 1);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
        let excludes = Excludes::new(&["cache/".into(), "icon_cache/".into()], &[]).unwrap();
        let (settle, reserve) = (Duration::ZERO, Reserve::NONE);
        let site = backup::Options::site(&self.root(), self.lab.dir.path(), now);
        backup::Options { excludes, settle, reserve, max_shrink_percent: 0, ..site }
    }

    pub(super) fn backup(&self) -> Taken {
        let report = backup(&self.lab.store, &self.options_of_backup(), &Silent).unwrap();
        (report.name, report.snapshot)
    }

    pub(super) fn options(&self, what: What) -> Options {
        Options { what, ..Options::new(self.root()) }
    }

    pub(super) fn restore(&self, taken: &Taken, what: What) -> Report {
        self.restore_with(taken, &self.options(what)).unwrap()
    }

    pub(super) fn restore_with(&self, (name, snapshot): &Taken, options: &Options) -> Result<Report> {
        restore(&self.lab.store, name, snapshot, options, &Silent)
    }

    pub(super) fn undo(&self) -> Result<Undone> {
        let (data_dir, storage_dir) = (self.root(), self.root().join("storage"));
        undo(&UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None })
    }

    /// Changes each database and each file, and what is beside the databases.
    pub(super) fn change(&self) {
        for path in DATABASES {
            self.open(path).execute("UPDATE t SET x = 'second'", []).unwrap();
            self.write(&format!("{path}-wal"), b"");
        }
        fs::remove_file(self.root().join("rsa_key.pem")).unwrap();
        fs::remove_file(self.root().join("data/files/y.txt")).unwrap();
        self.write("data/files/x.txt", b"changed");
        self.write("data/files/later.txt", b"later");
        self.write("data/cache/c", b"cached again");
        self.write("storage/ab/blob", b"short");
        self.write("icon_cache/i", b"another icon");
        fs::remove_file(self.root().join("current")).unwrap();
        symlink("storage", self.root().join("current")).unwrap();
    }

    /// Copies the root away, with all metadata.
    pub(super) fn save(&self) {
        self.copy(&self.root(), &self.lab.dir.path().join("saved"));
    }

    /// Puts the root there again that was copied away.
    pub(super) fn reset(&self) {
        fs::remove_dir_all(self.root()).unwrap();
        self.copy(&self.lab.dir.path().join("saved"), &self.root());
    }

    pub(super) fn copy(&self, from: &Path, to: &Path) {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    /// What is in place.
    pub(super) fn live(&self) -> Seen {
        live(&self.root())
    }

    /// What a snapshot has of it.
    pub(super) fn stored(&self) -> Seen {
        let mut seen = self.live();
        let is_cache = |path: &[u8]| path.starts_with(b"icon_cache") || path.starts_with(b"data/cache");
        seen.retain(|path, _| !is_cache(path) && !path.ends_with(b"-wal"));
        seen
    }
}

/// Without records, what is kept, and the root's own times.
pub(super) fn live(root: &Path) -> Seen {
    let mut seen = look_inside(root);
    let is_own = |part: &[u8]| is_record(part) || part.starts_with(b".lrl") || kept_of(part).is_some();
    seen.retain(|path, _| !path.split(|b| *b == b'/').any(is_own));
    seen
}

/// Every version that a restored thing can have in place, told by a byte of it.
pub(super) fn versions(site: &Site) -> Vec<Option<bool>> {
    let first = |path: &str| {
        let bytes = fs::read(site.root().join(path)).ok()?;
        Some(bytes.windows(5).any(|part| part == b"first"))
    };
    DATABASES.into_iter().map(first).collect()
}

#[test]
fn all_of_a_site_comes_back_in_place_and_an_undo_takes_it_back() {
    let site = Site::new();
    let taken = site.backup();
    assert_eq!(taken.1.databases.len(), 3);
    let (before, wanted) = (site.live(), site.stored());
    site.change();
    let changed = site.live();
    let report = site.restore(&taken, What::Whole);
    assert!(report.kept_bytes > 3 * 8192, "{report:?}");
    assert_eq!(site.stored(), wanted);
    // Databases in a tree are restored with it, and nothing of the old ones is left beside them.
    assert!(!site.root().join("data/users/a.sqlite-wal").exists() && !site.root().join("app.db-wal").exists());
    assert_eq!(fs::read(site.root().join("icon_cache/i")).unwrap(), b"another icon");
    assert_eq!(fs::read(site.root().join("data.pre-restore/cache/c")).unwrap(), b"cached again");
    let said = |text: &str| report.notes.iter().any(|note| note.text().contains(text));
    assert!(said("also what backups exclude") && said("left alone in") && said("icon_cache"), "{:?}", report.notes);
    let inside: Vec<_> = report.restored.iter().flat_map(|one| one.databases.clone()).collect();
    assert_eq!(inside, ["data/users/a.sqlite", "storage/main.sqlite"].map(|path| site.root().join(path)));
    let alone: Vec<_> = report.restored.iter().filter(|one| one.part == Part::Database).collect();
    assert_eq!(alone[0].kept[0], (site.root().join("app.db"), site.root().join("app.db.pre-restore")));
    assert_eq!(alone[0].kept.len(), 2, "its -wal is kept with it");
    for path in DATABASES {
        let row: String = site.open(path).query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(row, "first");
    }
    site.undo().unwrap();
    assert_eq!(site.live(), changed);
    assert!(site.undo().unwrap().restored_again);
    assert_eq!(site.stored(), wanted);
    assert!(before.len() > wanted.len());
}

#[test]
fn a_step_that_fails_or_a_kill_leaves_all_databases_old_or_new() {
    let site = Site::new();
    // Each target has its steps: these are enough.
    fs::remove_dir(site.root().join("empty")).unwrap();
    fs::remove_dir_all(site.root().join("icon_cache")).unwrap();
    let taken = site.backup();
    site.change();
    fs::remove_file(site.root().join("current")).unwrap();
    site.save();
    let changed = site.live();
    let mut steps = 0;
    for kill in [false, true] {
        for at in 0.. {
            site.reset();
            faults::arm(at, kill);
            let result = catch_unwind(AssertUnwindSafe(|| site.restore_with(&taken, &site.options(What::Whole))));
            if !faults::disarm() {
                let _ = result.unwrap().unwrap();
                assert_eq!(versions(&site), [Some(true); 3]);
                break;
            }
            steps = at;
            if kill {
                assert!(result.is_err());
                assert!(versions(&site).iter().all(Option::is_some), "step {at}: a database is missing");
                if is_unfinished(&site.root(), &site.root().join("storage")).unwrap() {
                    site.undo().unwrap();
                    assert_eq!(site.live(), changed, "step {at}");
                }
                let now = versions(&site);
                assert!(now == [Some(false); 3] || now == [Some(true); 3], "step {at}: {now:?}");
                let _ = site.restore(&taken, What::Whole);
                assert_eq!(versions(&site), [Some(true); 3]);
            } else {
                assert!(matches!(result.unwrap(), Err(Error::Io { .. })), "step {at}");
                assert_eq!(site.live(), changed, "step {at}");
            }
        }
        // The way back as well.
        for at in 0.. {
            site.reset();
            let _ = site.restore(&taken, What::Whole);
            let restored = site.live();
            faults::arm(at, kill);
            let result = catch_unwind(AssertUnwindSafe(|| site.undo()));
            if !faults::disarm() {
                result.unwrap().unwrap();
                break;
            }
            if kill {
                assert!(result.is_err());
                site.undo().unwrap();
                let now = versions(&site);
                assert!(now == [Some(false); 3] || now == [Some(true); 3], "step {at}: {now:?}");
            } else {
                assert!(result.unwrap().is_err(), "step {at}");
                assert_eq!(site.live(), restored, "step {at}");
                site.undo().unwrap();
                assert_eq!(site.live(), changed, "step {at}");
            }
        }
    }
    assert!(steps >= 15, "only {steps} steps");
}

#[test]
fn elsewhere_everything_is_below_the_target_and_no_link_leads_out() {
    let site = Site::new();
    set_mode(&site.root(), 0o751);
    let taken = site.backup();
    let wanted = site.stored();
    let target = site.lab.dir.path().join("deep/target");
    let elsewhere = Options { only_below: true, ..Options::new(&target) };
    let _ = site.restore_with(&taken, &elsewhere).unwrap();
    let mut seen = live(&target);
    assert_eq!(seen.get(b"".as_slice()).unwrap().0 & 0o7777, 0o751);
    assert_eq!(seen, wanted);
    assert_eq!(fs::metadata(site.lab.dir.path().join("deep")).unwrap().mode() & 0o7777, 0o700);

    let outside = site.lab.dir.path().join("outside");
    fs::create_dir_all(outside.join("users")).unwrap();
    let nothing = look(&outside);
    fs::remove_dir_all(target.join("data")).unwrap();
    symlink(&outside, target.join("data")).unwrap();
    let through = |path: &str| Options { what: What::Paths(vec![path.as_bytes().to_vec()]), ..elsewhere.clone() };
    for path in ["data/users/a.sqlite", "data/files/x.txt", "data/users"] {
        let refused = site.restore_with(&taken, &through(path));
        assert!(matches!(refused, Err(Error::Refused(_))), "{path}: {refused:?}");
    }
    let _ = site.restore_with(&taken, &elsewhere).unwrap();
    assert_eq!(look(&outside), nothing);
    seen = live(&target);
    assert_eq!(seen, wanted);
    assert!(fs::symlink_metadata(target.join("data.pre-restore")).unwrap().is_symlink());
}

#[test]
fn in_place_links_to_the_data_stay_and_what_they_lead_to_is_restored() {
    let site = Site::new();
    let taken = site.backup();
    let wanted = site.stored();
    site.change();
    let disk = site.lab.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    for (path, name) in
        [("data", "data"), ("storage/ab", "ab"), ("app.db", "real.db"), ("storage/main.sqlite", "main.db")]
    {
        fs::rename(site.root().join(path), disk.join(name)).unwrap();
        symlink(disk.join(name), site.root().join(path)).unwrap();
    }
    fs::rename(site.root().join("app.db-wal"), disk.join("real.db-wal")).unwrap();
    fs::rename(site.root().join("storage/main.sqlite-wal"), disk.join("main.db-wal")).unwrap();
    site.write("storage/unlisted", b"stays");
    let report = site.restore(&taken, What::Whole);
    for path in ["data", "storage/ab", "app.db", "storage/main.sqlite"] {
        assert!(fs::symlink_metadata(site.root().join(path)).unwrap().is_symlink(), "{path}");
    }
    assert!(report.notes.iter().any(|note| note.text().contains("the link storage/ab")), "{:?}", report.notes);
    for (path, (_, _, _, _, bytes, _)) in wanted.iter().filter(|(path, _)| path.as_slice() != b"current") {
        let path = site.root().join(OsStr::from_bytes(path));
        assert!(path.is_dir() || fs::read(&path).unwrap() == *bytes, "{}", path.display());
    }
    assert!(disk.join("data.pre-restore/files/later.txt").exists() && disk.join("real.db.pre-restore-wal").exists());
    assert!(site.root().join("storage/unlisted").exists() && disk.join("ab.pre-restore").exists());
    site.undo().unwrap();
    assert_eq!(fs::read(site.root().join("storage/ab/blob")).unwrap(), b"short");
    assert_eq!(versions(&site), [Some(false); 3]);
}

#[test]
fn what_is_beside_the_snapshot_is_named_and_what_lrl_keeps_there_is_not() {
    let site = Site::new();
    let taken = site.backup();
    let note = || {
        let mut notes = site.restore(&taken, What::Whole).notes;
        notes.retain(|note| note.text().starts_with("left alone in"));
        let note = notes.pop().unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        note.text()
            .strip_prefix(&format!("left alone in {}, not in the snapshot: ", site.root().display()))
            .unwrap()
            .to_string()
    };
    assert_eq!(note(), "icon_cache");
    // Kept copies, records, and what is beside the databases.
    site.change();
    fs::create_dir(site.root().join(".lrl-restore-1-1")).unwrap();
    assert_eq!(note(), "icon_cache");
    assert!(site.root().join("data.pre-restore").exists());
    ["1", "2", "3", "4"].iter().for_each(|name| site.write(name, b""));
    assert_eq!(note(), "1, 2, 3, 4, icon_cache");
    site.write("5", b"");
    site.write("6", b"");
    assert!(note().ends_with(" and 2 more"));
}

#[test]
fn directories_of_lrl_are_never_moved_along() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    site.write("data/files/backups/store/config", b"own");
    let own = vec![site.root().join("data/files/backups")];
    let options = Options { own, ..site.options(What::Whole) };
    let report = site.restore_with(&taken, &options).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("lrl's own")), "{:?}", report.notes);
    assert_eq!(fs::read(site.root().join("data/files/backups/store/config")).unwrap(), b"own");
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"x");
    assert_eq!(fs::read(site.root().join("data/cache/c")).unwrap(), b"cached again");
    assert_eq!(versions(&site), [Some(true); 3]);
    // What would be replaced itself is refused.
    let own = vec![site.root().join("data/files/x.txt")];
    let refused = site.restore_with(&taken, &Options { own, ..site.options(What::Whole) });
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

#[test]
fn a_part_leaves_the_rest_alone() {
    let site = Site::new();
    let taken = site.backup();
    let row = |path: &str| site.open(path).query_row("SELECT x FROM t", [], |row| row.get::<_, String>(0)).unwrap();
    let unused = |path: &str| fs::remove_file(site.root().join(format!("{path}-wal"))).unwrap();
    site.change();
    let _ = site.restore(&taken, What::AssetsOnly);
    DATABASES.into_iter().for_each(unused);
    assert_eq!(DATABASES.map(row), ["second"; 3]);
    assert_eq!(fs::read(site.root().join("data/files/y.txt")).unwrap(), b"x");
    assert_eq!(fs::read(site.root().join("storage/ab/blob")).unwrap(), [7; 5000]);
    site.write("data/files/x.txt", b"changed");
    let _ = site.restore(&taken, What::DbOnly);
    assert_eq!(DATABASES.map(row), ["first"; 3]);
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"changed");

    site.change();
    DATABASES.into_iter().for_each(unused);
    let paths = ["storage", "rsa_key.pem"].map(|path| path.as_bytes().to_vec()).to_vec();
    let _ = site.restore(&taken, What::Paths(paths));
    assert_eq!(DATABASES.map(row), ["second", "second", "first"]);
    assert!(site.root().join("rsa_key.pem").exists() && site.root().join("data/files/later.txt").exists());
    let _ = site.restore(&taken, What::Paths(vec![b"data/users/a.sqlite".to_vec()]));
    assert_eq!(row("data/users/a.sqlite"), "first");
    for missing in ["data/none", "../etc", "", "/etc/passwd", "data/users/a.sqlite/x"] {
        let result = site.restore_with(&taken, &site.options(What::Paths(vec![missing.into()])));
        assert!(matches!(result, Err(Error::NotFound(_))), "{missing}: {result:?}");
    }
}

#[test]
fn databases_alone_come_with_their_directories_into_nothing() {
    let site = Site::new();
    let taken = site.backup();
    let target = site.lab.dir.path().join("target");
    let options = Options { what: What::DbOnly, only_below: true, ..Options::new(&target) };
    let _ = site.restore_with(&taken, &options).unwrap();
    for path in DATABASES {
        assert_eq!(fs::read(target.join(path)).unwrap(), fs::read(site.root().join(path)).unwrap(), "{path}");
    }
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("data"), target.join("data/files").exists()), (0o750, false));
    // Two with one name, each in its own directory that is there.
    let first = site.restore_with(&taken, &options).unwrap();
    assert_eq!(first.restored.iter().filter(|one| one.part == Part::Database).count(), 3);
}

#[test]
fn a_database_in_use_is_named_wherever_it_lies() {
    let site = Site::new();
    let taken = site.backup();
    for path in DATABASES {
        let file = File::open(site.root().join(path)).unwrap();
        let mut holder = Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
        let before = site.live();
        let refused = site.restore_with(&taken, &site.options(What::Whole));
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.text().contains("sleep") && text.text().contains(path), "{text}");
        assert_eq!(site.live(), before);
    }
}

#[test]
fn what_a_restore_keeps_is_no_part_of_the_site() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    site.write("data/files/notes.undone", b"the user's own");
    let own = site.backup();
    assert_eq!(own.1.databases.len(), 3);
    let _ = site.restore(&taken, What::Whole);
    let _ = site.restore(&taken, What::Paths(vec![b"data/users/a.sqlite".to_vec()]));
    let report = backup(&site.lab.store, &site.options_of_backup(), &Silent).unwrap();
    assert_eq!(report.snapshot.databases.len(), 3);
    assert_eq!(report.snapshot.files.as_ref().unwrap().entries, taken.1.files.as_ref().unwrap().entries);
    let told: Vec<_> =
        report.problems.iter().filter(|problem| problem.reason.text().contains("kept by a restore")).collect();
    assert!(told.len() == 1 && !told[0].lost, "{:?}", report.problems);

    let (data_dir, storage_dir) = (site.root(), site.root().join("storage"));
    let (older_than, now) = (Duration::ZERO, SystemTime::now());
    let cleaned =
        clean(&CleanOptions { data_dir, storage_dir, is_site: false, older_than, now, dry_run: false }).unwrap();
    assert!(cleaned.undo_gone && cleaned.removed.len() >= 5, "{:?}", cleaned.removed);
    assert!(!site.root().join("data.pre-restore").exists());
    assert!(!site.root().join("data/users/a.sqlite.pre-restore").exists());
    assert_eq!(versions(&site), [Some(true); 3]);
    // The user's own file with such a name is stored, as no record of a restore is there any more.
    site.write("data/files/notes.undone", b"the user's own");
    let (_, snapshot) = site.backup();
    let entries = snapshot.files.unwrap().entries;
    assert_eq!(entries, taken.1.files.unwrap().entries + 1);
}

#[test]
fn what_is_damaged_leaves_the_database_that_is_there() {
    let site = Site::new();
    let mut taken = site.backup();
    site.change();
    let damaged = taken.1.databases.iter_mut().find(|database| database.path == b"data/users/a.sqlite").unwrap();
    damaged.sha256 = Some(hex(&[0; 32]));
    let options = Options { skip_damaged: true, ..site.options(What::Whole) };
    let report = site.restore_with(&taken, &options).unwrap();
    assert_eq!(versions(&site), [Some(true), Some(false), Some(true)]);
    assert_eq!(report.skipped[0].path, "data/users/a.sqlite");
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"x");
}

#[test]
fn a_record_that_leads_out_of_the_site_is_refused() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    let _ = site.restore(&taken, What::Whole);
    let record = site.root().join(".lrl-undo.json");
    let text = fs::read_to_string(&record).unwrap();
    let changed = live(&site.root());
    for (from, to) in [("\"rsa_key.pem\"", "\"..\""), ("\"rsa_key.pem\"", "\"../x\""), ("data.pre-restore\"", "data\"")]
    {
        assert!(text.contains(from), "{text}");
        fs::write(&record, text.replacen(from, to, 1)).unwrap();
        assert!(site.undo().is_err(), "{to}");
        assert_eq!(live(&site.root()), changed);
    }
}

#[test]
fn a_mount_in_a_directory_is_restored_into_and_one_that_is_left_out_stays() {
    let site = Site::new();
    let taken = site.backup();
    let wanted = site.stored();
    site.change();
    let mounts = [site.root().join("data/files"), site.root().join("data/cache")];
    for mount in &mounts {
        let run = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(mount).output();
        if !run.is_ok_and(|run| run.status.success()) {
            println!("skipped: mounting is not permitted here");
            return;
        }
    }
    fs::write(mounts[0].join("on the disk"), b"disk").unwrap();
    fs::write(mounts[1].join("hot"), b"hot").unwrap();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let report = site.restore(&taken, What::Whole);
        assert!(report.notes.iter().any(|note| note.text().contains("a mount (")), "{:?}", report.notes);
        assert_eq!(versions(&site), [Some(true); 3]);
        for path in ["data/files/x.txt", "data/users/a.sqlite", "storage/ab/blob"] {
            let bytes = &wanted.get(path.as_bytes()).unwrap().4;
            assert_eq!(fs::read(site.root().join(path)).unwrap(), *bytes, "{path}");
        }
        assert_eq!(fs::read(mounts[1].join("hot")).unwrap(), b"hot");
        assert_eq!(fs::read(mounts[0].join(".lrl.pre-restore/on the disk")).unwrap(), b"disk");
        site.undo().unwrap();
        assert_eq!(versions(&site), [Some(false); 3]);
        assert_eq!(fs::read(mounts[0].join("on the disk")).unwrap(), b"disk");
    }));
    mounts.iter().for_each(|mount| _ = Command::new("umount").arg("--lazy").arg(mount).status());
    done.unwrap();
}
