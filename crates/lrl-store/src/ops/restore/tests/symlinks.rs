//! Symbolic links to the data and below it: which are followed.

use super::*;
use crate::hint::Hint;
use crate::ops::restore::{UndoOptions, undo};

#[test]
fn a_link_to_the_data_is_followed_and_stays_and_one_below_is_not() {
    let lab = Lab::new();
    lab.write("assets/ab/x.txt", b"x");
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    let elsewhere = lab.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir_all(lab.data()).unwrap();
    fs::write(elsewhere.join("lrl.db"), b"elsewhere").unwrap();
    symlink(&elsewhere, lab.data().join("assets")).unwrap();
    symlink(elsewhere.join("lrl.db"), lab.data().join("lrl.db")).unwrap();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, elsewhere.join("ab")).unwrap();
    let result = lab.restore(&snapshot, What::Paths(vec![b"assets/ab/x.txt".to_vec()]));
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    fs::remove_file(elsewhere.join("ab")).unwrap();
    let before = look_inside(&elsewhere);
    let db = lab.dir.path().join("db");
    fs::create_dir(&db).unwrap();
    fs::rename(elsewhere.join("lrl.db"), db.join("real.db")).unwrap();
    fs::write(db.join("real.db-wal"), b"old wal").unwrap();
    fs::remove_file(lab.data().join("lrl.db")).unwrap();
    symlink("../db/real.db", lab.data().join("lrl.db")).unwrap();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    let is_link = |name: &str| fs::symlink_metadata(lab.data().join(name)).unwrap().is_symlink();
    assert!(is_link("assets") && is_link("lrl.db"));
    assert_eq!(look(&elsewhere), look(&lab.source().join("assets")));
    assert_eq!(fs::read(db.join("real.db")).unwrap(), b"database");
    assert_eq!(names_in(&db), ["real.db", "real.db.pre-restore", "real.db.pre-restore-wal"]);
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
    assert_eq!(report.notes.iter().filter(|note| note.text().contains("symbolic link")).count(), 2);
    let options = lab.options(What::Whole);
    let (data_dir, storage_dir) = (options.data_dir, options.storage_dir);
    undo(&UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None }).unwrap();
    assert!(is_link("assets") && is_link("lrl.db"));
    assert_eq!(fs::read(db.join("real.db")).unwrap(), b"elsewhere");
    assert_eq!(fs::read(db.join("real.db-wal")).unwrap(), b"old wal");
    let mut back = look_inside(&elsewhere);
    back.insert(b"lrl.db".to_vec(), before[b"lrl.db".as_slice()].clone());
    assert_eq!(back, before);
}

#[test]
fn a_link_that_another_user_could_have_planted_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    let own = |path: &Path, uid: u32| std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
    let victim = lab.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("lrl.db"), b"root's").unwrap();
    fs::create_dir_all(lab.data()).unwrap();
    own(&lab.data(), 4321);
    let before = look(&victim);
    for (name, target) in
        [("assets", victim.clone()), ("lrl.db", victim.join("lrl.db")), ("lrl.db", victim.join("new"))]
    {
        let link = lab.data().join(name);
        symlink(&target, &link).unwrap();
        own(&link, 4321);
        let Err(Error::Refused(text)) = lab.restore(&snapshot, What::Whole) else { panic!("{name} was followed") };
        assert!(text.text().contains("symbolic link of user 4321"), "{text}");
        assert_eq!(text.hints(), [Hint::NameDataDir]);
        assert_eq!(look(&victim), before);
        fs::remove_file(&link).unwrap();
    }
    // A data directory that somebody else's link leads to, the same.
    let link = lab.dir.path().join("link");
    symlink(&victim, &link).unwrap();
    own(&link, 4321);
    let options = Options { data_dir: link, ..lab.options(What::Whole) };
    assert!(matches!(lab.restore_with(&snapshot, &options), Err(Error::Refused(_))));
    assert_eq!(look(&victim), before);
    // What is the same user's on both ends is theirs to arrange.
    let volume = lab.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    own(&volume, 4321);
    symlink(&volume, lab.data().join("assets")).unwrap();
    own(&lab.data().join("assets"), 4321);
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(look(&volume), look(&lab.source().join("assets")));
}
