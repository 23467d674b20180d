//! The way back from a restore: byte for byte, from wherever a run was killed, and not at all where something is missing.

mod killed;
mod told;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::faults::old_lab;
use super::*;
use crate::ops::restore::rename::faults;
use crate::ops::restore::swap_contents::tests::force;
use crate::ops::restore::{UndoOptions, Undone, is_unfinished, undo};

impl Lab {
    fn undo(&self) -> Result<Undone> {
        self.undo_with(false)
    }

    fn undo_with(&self, dry_run: bool) -> Result<Undone> {
        let Options { data_dir, storage_dir, .. } = self.options(What::Whole);
        undo(&UndoOptions { data_dir, storage_dir, dry_run, force: false, locks: None })
    }

    fn is_unfinished(&self) -> bool {
        let Options { data_dir, storage_dir, .. } = self.options(What::Whole);
        is_unfinished(&data_dir, &storage_dir).unwrap()
    }

    fn intent(&self) -> PathBuf {
        self.data().join(".lrl-restore.json")
    }
}

/// What is in place: not what is kept, and no document.
fn live(lab: &Lab) -> Vec<Seen> {
    let sidecars = ["", "-wal", "-journal", "-shm"].map(|suffix| lab.data().join(format!("lrl.db{suffix}")));
    let paths = sidecars.into_iter().chain([lab.data().join("assets"), lab.dir.path().join("kept/storage")]);
    let seen = |path: PathBuf| if path.exists() { look(&path) } else { Seen::default() };
    let is_live = |path: &[u8]| !path.starts_with(b".lrl.");
    paths.map(seen).map(|seen| seen.into_iter().filter(|(path, _)| is_live(path)).collect()).collect()
}

/// The same without times, to compare labs that were made at different ones.
fn contents(lab: &Lab) -> Vec<Seen> {
    let mut seen = live(lab);
    seen.iter_mut().flat_map(|seen| seen.values_mut()).for_each(|own| own.3 = None);
    seen
}

/// Restores over the old lab; the application then goes on with what was restored.
fn restored_lab() -> (Lab, Snapshot) {
    let (lab, snapshot) = old_lab();
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    fs::write(lab.data().join("lrl.db-wal"), b"new wal").unwrap();
    fs::write(lab.data().join("lrl.db"), b"newer").unwrap();
    (lab, snapshot)
}

#[test]
fn what_was_there_comes_back_and_an_undo_can_be_undone() {
    both_ways(there_and_back);
}

fn there_and_back() {
    let (lab, snapshot) = old_lab();
    let old = live(&lab);
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    fs::write(lab.data().join("lrl.db-shm"), b"new shm").unwrap();
    let new = live(&lab);
    let inside = look_inside(&lab.data());
    let undone = lab.undo_with(true).unwrap();
    assert!(undone.dry_run && undone.returned.len() == 3 && look_inside(&lab.data()) == inside);
    let undone = lab.undo().unwrap();
    assert_eq!(live(&lab), old);
    assert!(!undone.restored_again);
    let db = &undone.returned[0].kept;
    assert_eq!(db[0], (lab.data().join("lrl.db"), lab.data().join("lrl.db.undone")));
    assert_eq!(fs::read(lab.data().join("lrl.db.undone-shm")).unwrap(), b"new shm");
    assert!(lab.undo().unwrap().restored_again);
    assert_eq!(live(&lab), new);
    lab.undo().unwrap();
    assert_eq!(live(&lab), old);
}

#[test]
fn what_was_not_there_goes_again() {
    let lab = Lab::new();
    lab.write("lrl.db", b"new");
    lab.write("assets/x", b"new");
    let snapshot = lab.snapshot();
    let nothing = lab.undo();
    assert!(matches!(nothing, Err(Error::NotFound(_))), "{nothing:?}");
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    let undone = lab.undo().unwrap();
    assert!(undone.returned.iter().all(|one| !one.is_there));
    assert_eq!(names_in(&lab.data()), ["assets.undone", "lrl.db.undone"]);
    lab.undo().unwrap();
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
}

#[test]
fn halves_and_paths_are_undone_alone() {
    for what in [
        What::DbOnly,
        What::AssetsOnly,
        What::Paths(vec![b"assets/x".to_vec()]),
        What::Paths(vec![b"storage/x".to_vec()]),
    ] {
        let (lab, snapshot) = old_lab();
        let old = live(&lab);
        let _ = lab.restore(&snapshot, what.clone()).unwrap();
        assert_ne!(live(&lab), old);
        lab.undo().unwrap();
        let paths_change_times = |seen: Vec<Seen>| {
            let top = |mut seen: Seen| {
                seen.entry(Vec::new()).and_modify(|own| {
                    if matches!(what, What::Paths(_)) {
                        own.3 = None
                    }
                });
                seen.retain(|path, _| !path.ends_with(b".undone"));
                seen
            };
            seen.into_iter().map(top).collect::<Vec<_>>()
        };
        assert_eq!(paths_change_times(live(&lab)), paths_change_times(old), "{what:?}");
    }
}

#[test]
fn nothing_changes_where_something_is_missing_or_changed() {
    type Damage = (&'static str, fn(&Lab));
    let damages: [Damage; 5] = [
        ("lrl.db.pre-restore is not there", |lab| fs::remove_file(lab.data().join("lrl.db.pre-restore")).unwrap()),
        ("lrl.db.pre-restore-wal is not there", |lab| {
            fs::remove_file(lab.data().join("lrl.db.pre-restore-wal")).unwrap()
        }),
        ("lrl.db.pre-restore is not as", |lab| fs::write(lab.data().join("lrl.db.pre-restore"), b"odd").unwrap()),
        ("assets.pre-restore is not as", |lab| fs::remove_file(lab.data().join("assets.pre-restore/x")).unwrap()),
        ("storage.pre-restore is not as", |lab| {
            fs::write(lab.dir.path().join("kept/storage.pre-restore/y"), b"y").unwrap()
        }),
    ];
    for (words, damage) in damages {
        let (lab, _) = restored_lab();
        damage(&lab);
        let before = look(&lab.data());
        let refused = lab.undo().unwrap_err().to_string();
        assert!(refused.contains(words) && refused.contains("Nothing was changed"), "{words}: {refused}");
        assert_eq!(look(&lab.data()), before);
    }
}

#[test]
fn a_record_that_names_anything_else_is_refused() {
    let (lab, _) = restored_lab();
    let record = lab.data().join(".lrl-undo.json");
    let sound = fs::read_to_string(&record).unwrap();
    let before = live(&lab);
    let swaps = [
        ("\"assets\"", "\"..\""),
        ("\"lrl.db\"", "\"other.db\""),
        ("assets.pre-restore\"", "../assets.pre-restore\""),
        ("lrl.db.pre-restore\"", "lrl.db\""),
        ("\"-wal\"", "\"/../x\""),
        ("\"-wal\"", "\"-odd\""),
        ("assets.pre-restore\"", "assets/pre-restore\""),
        ("assets.pre-restore\"", "lrl.db.pre-restore\""),
        ("assets.pre-restore\"", "assets.pre-restore/../../x\""),
        ("\"in_storage\": true", "\"in_storage\": false"),
    ];
    let others = [
        ("\"in_storage\": false", "\"in_storage\": true"),
        ("\"format\": 1", "\"format\": 2"),
        ("\"format\"", "\"former\""),
    ];
    // What is wrong with a name is seen in the record, before anything is looked for under it.
    let words = swaps.iter().map(|_| "names what no restore would").chain(others.iter().map(|_| ""));
    for ((from, to), words) in swaps.into_iter().chain(others).zip(words) {
        assert!(sound.contains(from), "{from}");
        fs::write(&record, sound.replace(from, to)).unwrap();
        let error = lab.undo().unwrap_err().to_string();
        assert!(error.contains(words), "{from} -> {to}: {error}");
        assert_eq!(live(&lab), before);
    }
    fs::remove_file(&record).unwrap();
    let elsewhere = lab.dir.path().join("elsewhere");
    fs::write(&elsewhere, &sound).unwrap();
    symlink(&elsewhere, &record).unwrap();
    let refused = lab.undo().unwrap_err().to_string();
    assert!(refused.contains(".lrl-undo.json"), "{refused}");
    assert_eq!(live(&lab), before);
    fs::remove_file(&record).unwrap();
    fs::write(&record, vec![b'['; 2 << 20]).unwrap();
    lab.undo().unwrap_err();
}

#[test]
fn what_lrl_cannot_have_written_is_not_taken_for_a_torn_record() {
    let makes: [fn(&Path); 2] =
        [|path| fs::create_dir(path).unwrap(), |path| File::create(path).unwrap().set_len((32 << 20) + 1).unwrap()];
    for (make, name) in makes.iter().flat_map(|make| [".lrl-restore.json", ".lrl-undo.json"].map(|name| (make, name))) {
        let (lab, _) = restored_lab();
        let record = lab.data().join(name);
        let _ = fs::remove_file(&record);
        make(&record);
        let before = live(&lab);
        let error = lab.undo().unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
        assert!(record.exists() && live(&lab) == before, "{name}");
    }
}

#[test]
fn an_undo_that_fails_puts_everything_back() {
    both_ways(undos_that_fail);
}

fn undos_that_fail() {
    let mut at = 0;
    loop {
        let (lab, _) = restored_lab();
        let before = [look_inside(&lab.data()), look_inside(&lab.dir.path().join("kept"))];
        faults::arm(at, false);
        let result = lab.undo();
        if !faults::disarm() {
            result.unwrap();
            break;
        }
        assert!(result.is_err(), "{at}");
        assert_eq!([look_inside(&lab.data()), look_inside(&lab.dir.path().join("kept"))], before, "step {at}");
        at += 1;
    }
    assert!(at >= 12, "only {at} steps");
}

/// Tries it also where a directory cannot be renamed, so that its contents change places.
fn both_ways(test: impl Fn()) {
    for contents in [false, true] {
        force(contents);
        test();
    }
    force(false);
}

#[test]
fn what_the_application_wrote_in_between_is_not_lost_or_mixed() {
    let (mut left, mut wal_left) = (0, 0);
    let run = |lab: &Lab, snapshot: &Snapshot| drop(lab.restore(snapshot, What::Whole).unwrap());
    for at in 0..40 {
        let (lab, snapshot) = old_lab();
        faults::arm(at, true);
        let _ = catch_unwind(AssertUnwindSafe(|| run(&lab, &snapshot)));
        if !faults::disarm() {
            break;
        }
        if !lab.is_unfinished() {
            continue;
        }
        left += 1;
        let was_away = !lab.data().join("lrl.db-wal").exists();
        set_mode(&lab.data().join("assets"), 0o755);
        fs::write(lab.data().join("assets/later"), b"later").unwrap();
        fs::write(lab.data().join("lrl.db"), b"written by the application").unwrap();
        let undone = lab.undo().unwrap();
        let all = look(lab.dir.path());
        assert!(all.keys().any(|path| path.ends_with(b"/later")), "step {at}: an upload is lost");
        assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"written by the application", "step {at}");
        if was_away {
            // Its old -wal would be replayed into it.
            assert!(
                !lab.data().join("lrl.db-wal").exists()
                    && undone.notes.len() == 1 + usize::from(!lab.data().join("lrl.db-journal").exists()),
                "{:?}",
                undone.notes
            );
            wal_left += 1;
        }
    }
    assert!(left >= 3 && wal_left >= 1, "{left} {wal_left}");
}

#[test]
fn a_living_run_is_not_disturbed_and_a_torn_intent_means_nothing() {
    let (lab, snapshot) = restored_lab();
    let before = contents(&lab);
    let intent = File::create(lab.intent()).unwrap();
    intent.write_all_at(b"{ \"format\": 1,", 0).unwrap();
    fs2::FileExt::lock_exclusive(&intent).unwrap();
    assert!(matches!(lab.undo(), Err(Error::Locked { .. })));
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Locked { .. })));
    assert_eq!(contents(&lab), before);
    drop(intent);
    lab.undo().unwrap();
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"old");
}

#[test]
fn a_run_that_is_about_to_end_is_waited_for() {
    let (lab, _) = restored_lab();
    let intent = File::create(lab.intent()).unwrap();
    fs2::FileExt::lock_exclusive(&intent).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(intent);
        });
        lab.undo().unwrap();
    });
}
