//! A small disk that the application shares with its backups: lrl stops before it uses the reserve, and leaves nothing partly
//! written; the application goes on writing.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lrl_store::fs::space::{Reserve, free_at};

use crate::common::{Lab, noise};
use crate::helpers::{Disk, assert_whole, files_with, names, outputs};

/// A lab whose data and backups are on one small disk, `vol`.
fn lab_on(size: &str) -> Option<(Lab, Disk)> {
    let mut lab = Lab::small();
    let disk = Disk::mount(lab.path("vol"), size)?;
    fs::remove_file(lab.path("data/assets/cd34/v1.bin")).unwrap();
    let run = std::process::Command::new("cp").arg("-a").arg(lab.path("data")).arg(lab.path("vol/data")).status();
    assert!(run.unwrap().success());
    lab.database().execute("DELETE FROM assets WHERE id = 'cd34/v1.bin'", []).unwrap();
    fs::copy(lab.path("data/lrl.db"), lab.path("vol/data/lrl.db")).unwrap();
    lab.set("LAB_DATA_DIR", "vol/data");
    Some((lab, disk))
}

fn free(path: &Path) -> u64 {
    free_at(path, Reserve::NONE).unwrap().bytes
}

/// Runs `work` and returns the least that was free meanwhile, with its result.
fn least_free<T>(path: &Path, work: impl FnOnce() -> T) -> (u64, T) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut least = free(path);
            while !done.load(Ordering::Relaxed) {
                least = least.min(free(path));
            }
            least
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (watch.join().unwrap(), result)
    })
}

/// The application commits to its database, without a journal that stays.
fn commit(lab: &Lab, n: u64) {
    let database = rusqlite::Connection::open(lab.path("vol/data/lrl.db")).unwrap();
    let body = format!("{:?}", noise(20_000, n));
    database
        .execute("INSERT OR REPLACE INTO content_items (slug, title, body) VALUES (?1, 'T', ?2)", (n.to_string(), body))
        .unwrap();
}

#[test]
fn the_application_goes_on_writing_on_a_disk_that_backups_have_come_to_the_end_of() {
    const RESERVE: u64 = 3 << 20;
    let Some((lab, disk)) = lab_on("30m") else { return };
    let vol = lab.path("vol");
    let line = "backup --out vol/backups --reserve 3MB";
    lab.lrl(line).expect(0);
    let (mut codes, mut listed) = (Vec::new(), 1);
    for n in 0..16 {
        lab.write(format!("vol/data/assets/more/{n}"), noise(700_000, 1000 + n));
        commit(&lab, n);
        let before = free(&vol);
        let (least, run) = least_free(&vol, || lab.lrl(line));
        codes.push(run.code);
        // Documents of a few KiB, and the cache's journal, are not weighed. The application itself may use what is kept for it.
        assert!(least + (512 << 10) >= before.min(RESERVE), "only {least} bytes were free: {}", run.stderr);
        let snapshots = names(lab.path("vol/backups/store/snapshots/lab")).len();
        assert_eq!(snapshots, listed + usize::from(run.code != 1), "{}", run.stderr);
        listed = snapshots;
        if run.code != 0 {
            assert!([1, 5].contains(&run.code), "{} {}", run.code, run.stderr);
            assert!(run.stderr.contains("3.0 MiB of them are kept for the application"), "{}", run.stderr);
            assert!(run.stderr.contains("lrl prune") && run.stderr.contains("--reserve"), "{}", run.stderr);
        }
        assert_eq!(files_with(&vol.join("backups"), ".tmp"), Vec::<std::path::PathBuf>::new());
        let sets = |ending| outputs(&lab, "vol/backups", ending).len();
        assert_eq!((sets(".tar.gz"), sets(".sqlite")), (sets(".json"), sets(".json")));
        // The application writes at once, and again.
        commit(&lab, 1000 + n);
        lab.lrl("check --read-data --backup vol/backups").expect(0);
        if codes.iter().filter(|code| **code == 1).count() == 2 {
            break;
        }
    }
    assert!(codes.contains(&5) && codes.contains(&1), "{codes:?}");
    println!("exit codes while the disk filled up: {codes:?}");
    // Nothing but a lower reserve, or more room, is needed.
    disk.remount("size=90m");
    lab.lrl(line).expect(0);
    assert_whole(&lab, "vol/backups");
}

#[test]
fn an_older_set_that_the_store_gives_back_makes_room_for_the_new_one() {
    let Some((lab, _disk)) = lab_on("40m") else { return };
    let line = |n: u32| format!("backup --out vol/backups --keep-sets {n} --json");
    let stamps = || files_with(&lab.path("vol/backups"), ".tar.gz").len();
    lab.write("vol/data/assets/more/large", noise(7_000_000, 1));
    let first = lab.lrl(&line(2)).expect(0).json();
    lab.write("vol/data/assets/more/1", noise(300_000, 2));
    lab.lrl(&line(2)).expect(0);
    assert_eq!(stamps(), 2);
    // Two sets and the store take all but a few megabytes: a third set fits only where the first one stood.
    fs::write(lab.path("vol/other"), vec![1; free(&lab.path("vol")) as usize - (5 << 20)]).unwrap();
    lab.write("vol/data/assets/more/2", noise(300_000, 3));
    let run = lab.lrl(&line(2)).expect(0);
    let document = run.json();
    assert_eq!(document["sets"]["removed"][0]["timestamp"], first["timestamp"], "{}", run.stdout);
    assert!(run.stderr.contains("is removed to make room for the new one"), "{}", run.stderr);
    assert_eq!((stamps(), document["sets"]["count"].as_u64()), (2, Some(2)));
    lab.lrl("drill --backup vol/backups").expect(0);
    // The last one that stands does not go before another is there.
    fs::write(lab.path("vol/more"), vec![1; (free(&lab.path("vol")) as usize).saturating_sub(5 << 20)]).unwrap();
    lab.lrl(&line(1)).expect(0);
    assert_eq!(stamps(), 1);
    fs::write(lab.path("vol/most"), vec![1; (free(&lab.path("vol")) as usize).saturating_sub(5 << 20)]).unwrap();
    lab.write("vol/data/assets/more/3", noise(300_000, 4));
    let run = lab.lrl(&line(1)).expect(5);
    assert!(run.stderr.contains("make room on that disk"), "{}", run.stderr);
    assert_eq!(stamps(), 1);
    lab.lrl("drill --backup vol/backups").expect(0);
    assert_whole(&lab, "vol/backups");
}

#[test]
fn what_a_stopped_run_had_stored_does_not_stay() {
    let Some((lab, disk)) = lab_on("80m") else { return };
    let vol = lab.path("vol");
    lab.lrl("backup --out vol/backups --snapshot-only").expect(0);
    lab.write("vol/data/assets/large", noise(40 << 20, 7));
    let before = free(&vol);
    let run = lab.lrl("backup --out vol/backups --snapshot-only --json").expect(1);
    assert_eq!(run.json()["error"]["kind"], "no_room", "{}", run.stdout);
    assert!(free(&vol) + (256 << 10) >= before, "{before} bytes were free, now {}", free(&vol));
    lab.lrl("check --read-data --backup vol/backups").expect(0);
    // The database alone, not where it lies but by its length: nothing is begun.
    let database = rusqlite::Connection::open(lab.path("vol/data/lrl.db")).unwrap();
    database.execute("INSERT INTO content_items (slug, body) VALUES ('blob', ?1)", [noise(24 << 20, 3)]).unwrap();
    drop(database);
    fs::remove_file(lab.path("vol/data/assets/large")).unwrap();
    let run = lab.lrl("backup --out other --db-only --store vol/new --reserve 60MB").expect(1);
    assert!(run.stderr.contains("are needed") || run.stderr.contains("nearly full"), "{}", run.stderr);
    disk.remount("size=300m");
    lab.lrl("backup --out vol/backups").expect(0);
    assert_whole(&lab, "vol/backups");
}

#[test]
fn prune_and_forget_work_below_the_reserve() {
    let Some((lab, _disk)) = lab_on("16m") else { return };
    for n in 0..3 {
        lab.write("vol/data/assets/changing", noise(1_500_000, n));
        lab.lrl("backup --out vol/backups --snapshot-only --reserve 0").expect(0);
    }
    let rest = free(&lab.path("vol"));
    fs::write(lab.path("vol/fill"), noise(usize::try_from(rest).unwrap() - 8192, 1)).unwrap();
    let run = lab.lrl("backup --out vol/backups --rescan").expect(5);
    assert!(run.stderr.contains("are kept for the application"), "{}", run.stderr);
    lab.lrl("forget --keep-last 1 --prune --backup vol/backups").expect(0);
    assert!(free(&lab.path("vol")) > 2 << 20);
    lab.lrl("check --read-data --backup vol/backups").expect(0);
}

#[test]
fn an_export_leaves_room_and_begins_nothing_that_does_not_fit() {
    let lab = Lab::small();
    lab.write("data/assets/large", noise(6 << 20, 1));
    lab.lrl("backup").expect(0);
    let Some(disk) = Disk::mount(lab.path("stick"), "8m") else { return };
    let run = lab.lrl("export --out stick/set --reserve 3MB").expect(1);
    assert!(run.stderr.contains("at least") && run.stderr.contains("are needed"), "{}", run.stderr);
    assert!(!lab.path("stick/set").exists());
    disk.remount("size=12m");
    lab.lrl("export --out stick/set --reserve 3MB").expect(0);
}

#[test]
fn what_is_no_amount_is_a_usage_error_and_the_file_can_set_it() {
    let lab = Lab::small();
    for bad in ["5", "-1%", "101%", "much"] {
        let code = if bad == "5" { 0 } else { 2 };
        lab.run(["config", &format!("--reserve={bad}")]).expect(code);
    }
    lab.write("lrl.toml", "reserve = \"1000T\"\n");
    let run = lab.lrl("backup").expect(1);
    assert!(run.stderr.contains("nearly full") || run.stderr.contains("kept for the application"), "{}", run.stderr);
    let run = lab.lrl("backup --dry-run").expect(0);
    assert!(run.stdout.contains("0 B free above the reserve: that may not fit"), "{}", run.stdout);
    let room = lab.lrl("backup --dry-run --reserve 0 --json").expect(0).json()["room"].clone();
    assert!(room["set_most_bytes"].as_u64() > room["store_most_bytes"].as_u64().map(|bytes| bytes / 2), "{room}");
    assert!(room["free_bytes"].as_u64() > Some(0), "{room}");
    lab.lrl("backup --reserve 0").expect(0);
    lab.write("lrl.toml", "reserve = \"lots\"\n");
    lab.lrl("backup").expect(2);
}

#[test]
fn a_set_that_does_not_fit_beside_the_live_data_is_refused_before_anything_is_written() {
    let Some((lab, _disk)) = lab_on("30m") else { return };
    lab.write("vol/data/assets/large", noise(15 << 20, 77));
    lab.lrl("backup --out backups").expect(0);
    let manifest = names(lab.path("backups")).into_iter().find(|name| name.ends_with(".json")).unwrap();
    let before = names(lab.path("vol/data"));
    for more in ["", "--assets-only", "--only assets/large"] {
        let run = lab.lrl(&format!("restore --backup backups --manifest backups/{manifest} {more}")).expect(1);
        let told =
            ["need about 15 MiB beside what is there", "more than the disk of", "vol/data", "nothing was changed"];
        assert!(told.iter().all(|words| run.stderr.contains(words)), "{}", run.stderr);
        assert_eq!(names(lab.path("vol/data")), before);
    }
    lab.lrl(&format!("restore --backup backups --manifest backups/{manifest} --db-only")).expect(0);
}
