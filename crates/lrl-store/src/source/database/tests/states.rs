//! Fingerprints: whatever a writer commits shows in them, and nothing else does.

use std::fs;
use std::time::{Duration, SystemTime};

use super::{BANK, Lab, Worker};
use crate::source::database::state::observe;

#[test]
fn every_commit_changes_the_state_and_reading_does_not() {
    for mode in ["delete", "truncate", "persist", "memory", "wal"] {
        let lab = Lab::new();
        lab.make_bank(mode, 4096);
        let code = format!(
            "{BANK}\nc = connect({mode:?})\nprint('ready', flush=True)\nfor line in sys.stdin:\n  exec(line)\n  open(db + '.done', 'w').close()"
        );
        let mut worker = Worker::start(&lab.db(), &code);
        let done = lab.dir.path().join("data/lrl.db.done");
        let mut run = |line: &str| {
            worker.tell(line);
            while !done.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            fs::remove_file(&done).unwrap();
        };
        run("c.execute('UPDATE counter SET v = v')");
        let mut seen = vec![];
        for round in 0..20 {
            let state = observe(&lab.db()).unwrap().unwrap();
            assert!(!seen.contains(&state), "{mode}, round {round}: an old state came back");
            lab.read();
            run("c.execute('SELECT count(*) FROM a').fetchall()");
            assert_eq!(observe(&lab.db()).unwrap(), Some(state.clone()), "{mode}, round {round}: reading changed it");
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<crate::source::database::State>(&json).unwrap(), state);
            seen.push(state);
            // The same size and the same tick of the clock; in WAL mode the file itself does not change, and its frames are reused.
            run(match round % 4 {
                0 => "c.execute('UPDATE counter SET v = v + 1')",
                1 => "c.execute('UPDATE counter SET v = v - 1')",
                2 => {
                    "c.execute('PRAGMA wal_checkpoint(RESTART)').fetchall(); c.execute('UPDATE counter SET v = v + 1')"
                }
                _ => {
                    "c.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall(); c.execute('UPDATE counter SET v = v - 1')"
                }
            });
        }
        drop(worker);
    }
}

#[test]
fn an_unfinished_journal_proves_nothing() {
    let lab = Lab::new();
    lab.make_bank("persist", 4096);
    assert!(observe(&lab.db()).unwrap().is_some(), "a finished journal that stays is fine");
    let code = format!(
        "{BANK}\nc = connect('persist')\nc.execute('PRAGMA cache_size=1')\nc.execute('BEGIN')\nc.execute('UPDATE a SET n = n + 1')\nc.execute(\"UPDATE b SET pad = 'z' || pad\")\nprint('ready', flush=True)\nsys.stdin.read()"
    );
    let worker = Worker::start(&lab.db(), &code);
    assert_eq!(observe(&lab.db()).unwrap(), None);
    worker.stop();
    assert!(observe(&lab.db()).unwrap().is_some(), "rolled back by its owner");
    fs::remove_file(lab.db()).unwrap();
    assert_eq!(observe(&lab.db()).unwrap(), None);
}

#[test]
fn recent_times_are_not_settled() {
    let lab = Lab::new();
    lab.make_bank("delete", 4096);
    let state = observe(&lab.db()).unwrap().unwrap();
    let now = SystemTime::now();
    assert!(!state.is_settled(now));
    assert!(!state.is_settled(now - Duration::from_secs(100)), "times in the future prove nothing");
    assert!(state.is_settled(now + Duration::from_secs(3)));
    // An old mtime set by hand does not help: ctime counts too.
    let file = fs::File::options().write(true).open(lab.db()).unwrap();
    file.set_modified(now - Duration::from_secs(1000)).unwrap();
    assert!(!observe(&lab.db()).unwrap().unwrap().is_settled(now));
}
