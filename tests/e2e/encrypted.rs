//! Encrypted stores: objects reveal nothing, every change is refused, and the key alone restores everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::bucket::{Bucket, Fault, KEY};
use crate::common::{Lab, noise};

/// In the database, in contents, in names of uploads and of the source, in tags: it must be nowhere else.
const CANARY: &str = "canary7f3a";

/// A lab full of canaries, with a passphrase, and no store yet.
fn lab() -> Lab {
    let mut lab = Lab::small();
    lab.secret("pass", "correct horse\n");
    lab.secret("other", "another passphrase\n");
    lab.set("LRL_PASSWORD_FILE", "pass");
    let insert = "INSERT INTO content_items VALUES (?1, ?2, ?3, ?4)";
    for n in 100..140 {
        let row = (n, format!("{CANARY}-{n}"), CANARY, CANARY.repeat(200));
        lab.database().execute(insert, row).unwrap();
    }
    lab.upload(&format!("{CANARY}/{CANARY}.txt"), CANARY.repeat(3000).as_bytes());
    lab.upload("long/file.bin", &[noise(3 << 20, 5), CANARY.as_bytes().to_vec(), noise(1 << 20, 6)].concat());
    lab
}

fn encrypted() -> Lab {
    let lab = lab();
    lab.lrl("init --encrypt").expect(0);
    lab
}

/// Returns every file below a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => _ = found.insert(entry.path(), fs::read(entry.path()).unwrap()),
        }
    }
    found
}

fn shows_canary(name: &str, bytes: &[u8]) -> bool {
    let canary = CANARY.as_bytes();
    name.contains(CANARY) || bytes.windows(canary.len()).any(|part| part == canary)
}

fn no_canary_in(dir: &Path) {
    for (path, bytes) in files(dir) {
        let name = path.strip_prefix(dir).unwrap().display().to_string();
        assert!(!shows_canary(&name, &bytes), "{name}");
    }
}

/// Fails unless the data directories hold the same: names, contents, the database byte for byte.
fn same_data(a: &Path, b: &Path) {
    let relative = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files(dir).into_iter().map(|(path, bytes)| (path.strip_prefix(dir).unwrap().to_path_buf(), bytes));
        files.filter(|(path, _)| !path.to_string_lossy().contains(".lrl-undo")).collect()
    };
    assert!(relative(a) == relative(b));
}

#[test]
fn the_store_shows_no_canary_and_every_verb_works() {
    let lab = encrypted();
    let backup = format!("backup --source {CANARY} --tag {CANARY}");
    lab.lrl(&backup).expect(0);
    lab.upload("later.txt", CANARY.as_bytes());
    lab.lrl(&backup).expect(0);
    for line in [
        "snapshots",
        "ls latest",
        "diff latest~1 latest",
        "find later.txt",
        "stats",
        "check --read-data",
        "drill",
        "drill --snapshot latest",
        "status",
    ] {
        lab.lrl(&format!("{line} --source {CANARY}")).expect(0);
    }
    let dumped = lab.lrl(&format!("dump latest assets/later.txt --source {CANARY}")).expect(0);
    assert_eq!(dumped.stdout, CANARY);
    lab.lrl(&format!("export latest --source {CANARY} --out exported")).expect(0);
    no_canary_in(&lab.path("backups/store"));
    lab.lrl(&format!("forget latest~1 --source {CANARY} --prune --max-unused 0")).expect(0);
    lab.lrl("check --read-data").expect(0);
    lab.lrl(&format!("restore --source {CANARY} --data-dir again")).expect(0);
    same_data(&lab.path("data"), &lab.path("again"));
    no_canary_in(&lab.path("backups/store"));
    // The cache knows names: it is in the user's directory, not in the store, which people copy.
    assert!(!lab.path("backups/store/cache").exists());
    assert!(!files(&lab.path("home/.cache/lrl")).is_empty());
}

#[test]
fn unchanged_is_cheap_and_changes_are_deltas_there_too() {
    let lab = encrypted();
    lab.lrl("backup").expect(0);
    // Settled by now: only what is older than two seconds counts as unchanged.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    lab.lrl("backup").expect(0);
    let added = |lab: &Lab| lab.lrl("backup --json").expect(0).json()["added_bytes"].as_u64().unwrap();
    assert!(added(&lab) < 2000);
    lab.database().execute("UPDATE content_items SET title = 'x' WHERE id = 101", []).unwrap();
    let delta = added(&lab);
    assert!(delta < 8000, "{delta}");
}

#[test]
fn a_wrong_key_or_none_is_exit_12_and_changes_nothing() {
    let mut lab = encrypted();
    lab.lrl("backup").expect(0);
    lab.secret("key", "0".repeat(64));
    let before = files(&lab.path("backups/store"));
    for variables in [
        [("LRL_PASSWORD_FILE", ""), ("LRL_KEY_FILE", "")],
        [("LRL_PASSWORD_FILE", "other"), ("LRL_KEY_FILE", "")],
        [("LRL_PASSWORD_FILE", ""), ("LRL_KEY_FILE", "key")],
    ] {
        variables.iter().for_each(|(name, value)| lab.set(name, value));
        for line in [
            "backup",
            "restore --data-dir again",
            "snapshots",
            "check",
            "drill --snapshot latest",
            "forget --keep-last 1",
            "prune",
            "key list",
            "status",
            "stats",
        ] {
            let run = lab.lrl(line).expect(12);
            assert!(
                run.stderr.contains("is encrypted") && run.stderr.contains("LRL_PASSWORD_FILE"),
                "{line}: {}",
                run.stderr
            );
        }
    }
    let after: BTreeMap<_, _> = files(&lab.path("backups/store"));
    assert!(before == after);
    assert!(!lab.path("again").exists());
}

#[test]
fn a_set_can_be_drilled_and_restored_without_the_key() {
    let mut lab = encrypted();
    lab.lrl("backup").expect(0);
    lab.set("LRL_PASSWORD_FILE", "");
    let run = lab.lrl("drill --backup ./backups").expect(0);
    assert!(run.stdout.contains("RESTORE DRILL PASSED"), "{}", run.stdout);
    let manifest = fs::read_dir(lab.path("backups"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "json"))
        .unwrap();
    lab.run(["restore", "--manifest", manifest.to_str().unwrap(), "--data-dir", "again"]).expect(0);
    same_data(&lab.path("data"), &lab.path("again"));
}

#[test]
fn encryption_that_is_expected_is_never_left_out() {
    let mut lab = lab();
    // A key is given, and there is no store: a plain one would be a surprise.
    let run = lab.lrl("backup").expect(1);
    assert!(run.stderr.contains("lrl init --encrypt"), "{}", run.stderr);
    lab.lrl("init").expect(1);
    lab.lrl("init --encrypt --no-encryption").expect(2);
    lab.set("LRL_PASSWORD_FILE", "");
    lab.lrl("init --encrypt").expect(1);
    assert!(!lab.path("backups/store/config").exists());
    lab.lrl("backup").expect(0);
    // Somebody put a plain store in the place of the encrypted one.
    lab.set("LRL_PASSWORD_FILE", "pass");
    for line in ["backup", "restore --data-dir again", "snapshots", "check"] {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains("is not encrypted"), "{line}: {}", run.stderr);
    }
}

#[test]
fn the_recovery_sheet_says_all_that_is_needed_and_no_secret() {
    let lab = lab();
    let run = lab.lrl("init --encrypt").expect(0);
    for part in ["RECOVERY SHEET", "Store id", "LRL_PASSWORD_FILE", "LRL_STORE", "lrl restore"] {
        assert!(run.stdout.contains(part), "{part}\n{}", run.stdout);
    }
    assert!(!run.stdout.contains("correct horse") && !run.stderr.contains("correct horse"));
    let lab = self::lab();
    let document = lab.lrl("init --encrypt --json").expect(0).json();
    assert_eq!(document["encrypted"], true);
    assert!(document["recovery_sheet"].as_str().unwrap().contains(document["store_id"].as_str().unwrap()));
}

#[test]
fn keys_are_listed_added_changed_and_removed() {
    let mut lab = encrypted();
    lab.lrl("backup").expect(0);
    lab.lrl("key make-file k").expect(0);
    lab.lrl("key make-file k").expect(1);
    lab.lrl("key add").expect(2);
    lab.lrl("key add --new-password-file pass --new-key-file k").expect(2);
    lab.run(["key", "add", "--label", "the cellar", "--new-key-file", "k"]).expect(0);
    let keys = lab.lrl("key list --json").expect(0).json();
    let ids: BTreeSet<String> =
        keys["keys"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap().to_string()).collect();
    assert_eq!(ids.len(), 2);
    let first = keys["used"].as_str().unwrap().to_string();
    lab.lrl("key change --new-password-file other").expect(0);
    lab.lrl("snapshots").expect(12);
    lab.set("LRL_PASSWORD_FILE", "");
    lab.set("LRL_KEY_FILE", "k");
    let listed = lab.lrl("key list").expect(0).stdout;
    assert!(listed.contains("the cellar") && listed.contains("used now") && !listed.contains(&first[..8]), "{listed}");
    lab.lrl("key remove ffffffffffffff").expect(1);
    let keys = lab.lrl("key list --json").expect(0).json();
    let by = |what: &str| {
        keys["keys"].as_array().unwrap().iter().find(|k| k["opened_by"] == what).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_string()
    };
    lab.lrl(&format!("key remove {}", by("passphrase"))).expect(0);
    let last = lab.lrl(&format!("key remove {}", by("key file"))).expect(1);
    assert!(last.stderr.contains("last key"), "{}", last.stderr);
    lab.lrl("check --read-data").expect(0);
    lab.set("LRL_KEY_FILE", "");
    lab.set("LRL_PASSWORD_COMMAND", "printf 'another passphrase\\n'");
    lab.lrl("snapshots").expect(12);
    let plain = Lab::small();
    plain.lrl("backup").expect(0);
    assert!(plain.lrl("key list").expect(1).stderr.contains("not encrypted"));
}

/// Every object changed, cut, swapped with another, or put back as it was before: refused, and found by `check`.
#[test]
fn whatever_is_changed_in_an_encrypted_store_is_seen() {
    let lab = encrypted();
    lab.lrl("backup").expect(0);
    lab.upload("more.txt", &noise(5000, 9));
    lab.lrl("backup").expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
    let store = lab.path("backups/store");
    let objects: BTreeMap<PathBuf, Vec<u8>> = files(&store)
        .into_iter()
        .filter(|(path, _)| !path.file_name().unwrap().to_string_lossy().starts_with("lock"))
        .collect();
    let put = |path: &Path, bytes: &[u8]| fs::write(path, bytes).unwrap();
    let kind = |path: &Path| {
        path.strip_prefix(&store).unwrap().components().next().unwrap().as_os_str().to_string_lossy().into_owned()
    };
    let mut tried = 0;
    let mut seen = |path: &Path, bytes: &[u8], what: &str| {
        put(path, bytes);
        let code = lab.lrl("check --read-data").code;
        // A slot or the config does not open then; all else is found.
        let expected: &[i32] = if ["keys", "config"].contains(&kind(path).as_str()) { &[1, 4, 12] } else { &[4] };
        assert!(expected.contains(&code), "{} {what}: {code}", path.display());
        put(path, &objects[path]);
        tried += 1;
    };
    for (path, bytes) in &objects {
        let mut places = vec![0, 5, 8, 20, bytes.len() / 2, bytes.len() - 40, bytes.len() - 1];
        if kind(path) == "keys" {
            // Its class, label and times are sealed with the keys.
            places = vec![0, 14, 60, 110, 130, bytes.len() - 20, bytes.len() - 60];
        }
        for at in places {
            let mut bad = bytes.clone();
            bad[at.min(bytes.len() - 1)] ^= 1;
            seen(path, &bad, &format!("flip at {at}"));
        }
        seen(path, &bytes[..bytes.len() / 2], "cut");
        if let Some((other, theirs)) =
            objects.iter().find(|(other, theirs)| kind(other) == kind(path) && theirs != &bytes)
        {
            seen(path, theirs, &format!("replaced by {}", other.display()));
        }
    }
    assert!(tried > 60, "{tried}");
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn a_lost_config_and_a_lost_slot_are_made_again() {
    let lab = lab();
    let sheet = lab.lrl("init --encrypt").expect(0).stdout;
    lab.lrl("backup").expect(0);
    let config = lab.path("backups/store/config");
    let before = fs::read(&config).unwrap();
    let mut flipped = before.clone();
    flipped[30] ^= 1;
    for damaged in [None, Some(flipped), Some(b"nonsense".to_vec())] {
        match &damaged {
            Some(bytes) => fs::write(&config, bytes).unwrap(),
            None => fs::remove_file(&config).unwrap(),
        }
        lab.lrl("restore --data-dir never").expect(if damaged.is_some() { 1 } else { 10 });
        lab.lrl("check").expect(4);
        // Without the key nothing shows what it was.
        lab.lrl("check --repair --password-file other").expect(12);
        assert_eq!(fs::read(&config).ok(), damaged);
        lab.lrl("check --repair").expect(0);
        assert_eq!(fs::read(&config).unwrap(), before);
        lab.lrl("check --read-data").expect(0);
    }
    let slot = files(&lab.path("backups/store/keys")).into_iter().next().unwrap();
    fs::remove_file(&slot.0).unwrap();
    fs::remove_dir_all(lab.path("home/.cache")).unwrap();
    lab.lrl("snapshots").expect(12);
    let line = sheet.lines().find(|line| line.starts_with("{\"format\"")).unwrap();
    fs::write(&slot.0, format!("{line}\n")).unwrap();
    assert_eq!(fs::read(&slot.0).unwrap(), slot.1);
    lab.lrl("restore --data-dir again").expect(0);
}

/// Every pack and every object has a key of its own: no nonce can come twice, even if the same data is written again.
#[test]
fn no_key_of_an_object_is_used_twice() {
    let lab = encrypted();
    let mut heads: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    let mut look = || {
        for (path, bytes) in files(&lab.path("backups/store")) {
            if bytes.starts_with(b"LRLP") || bytes.starts_with(b"LRLE") {
                // The first 32 bytes of a sealed key are a public key that is used once; those of an index a salt.
                let other = heads.insert(bytes[8..40].to_vec(), path.clone());
                assert!(other.is_none_or(|other| other == path), "{}", path.display());
            }
        }
        heads.len()
    };
    for n in 0..6 {
        lab.upload("changing.txt", format!("{n}").repeat(500).as_bytes());
        lab.lrl("backup --snapshot-only").expect(0);
        look();
        // The same contents again, in new objects.
        lab.lrl("forget latest --force --prune --max-unused 0").expect(0);
        lab.lrl("backup --snapshot-only").expect(0);
        look();
    }
    assert!(look() > 20);
}

fn in_bucket(bucket: &Bucket) -> Lab {
    let mut lab = lab();
    lab.set("LRL_STORE", &bucket.url("history/one"));
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab
}

#[test]
fn a_bucket_and_the_passphrase_bring_everything_back_on_an_empty_machine() {
    let bucket = Bucket::start();
    let lab = in_bucket(&bucket);
    assert!(lab.lrl("init").expect(1).stderr.contains("--encrypt"));
    lab.lrl("init --encrypt").expect(0);
    lab.lrl(&format!("backup --tag {CANARY}")).expect(0);
    lab.lrl("backup").expect(0);
    // Also in the second of the one before it.
    bucket.take_log();
    lab.lrl("backup").expect(0);
    let log = bucket.take_log();
    assert!(log.len() <= 7, "{log:?}");
    bucket.change(|objects| objects.iter().for_each(|(name, bytes)| assert!(!shows_canary(name, bytes), "{name}")));
    // Cached objects of the store are sealed as well; the cache of file states is not.
    let cache = files(&lab.path("home/.cache/lrl"));
    assert!(cache.len() > 3);
    for (path, bytes) in
        cache.iter().filter(|(path, _)| !path.file_name().unwrap().to_string_lossy().starts_with("cache.db"))
    {
        assert!(!shows_canary(&path.display().to_string(), bytes), "{}", path.display());
    }
    let new = in_bucket(&bucket);
    fs::remove_dir_all(new.path("data")).unwrap();
    new.lrl("check --read-data").expect(0);
    new.lrl("restore").expect(0);
    same_data(&lab.path("data"), &new.path("data"));
    let mut stranger = in_bucket(&bucket);
    stranger.set("LRL_PASSWORD_FILE", "other");
    stranger.lrl("restore").expect(12);
}

#[test]
fn a_server_that_shows_a_plain_store_later_gets_nothing_in_the_clear() {
    let bucket = Bucket::start();
    let mut lab = in_bucket(&bucket);
    lab.set("LRL_PASSWORD_FILE", "");
    lab.lrl("init --no-encryption").expect(0);
    lab.set("LRL_PASSWORD_FILE", "pass");
    let before = bucket.names();
    for hidden in 0..5 {
        let mut left = hidden;
        bucket.fault(move |_, target| {
            let hides = target.contains("config") && left > 0;
            left -= u32::from(hides);
            hides.then_some(Fault::Says(404, "NoSuchKey"))
        });
        let run = lab.lrl("backup");
        assert!(run.code != 0 && bucket.names() == before, "{hidden}: {}\n{}", run.code, run.stderr);
    }
}

/// Makes an encrypted store in a bucket, and a machine that holds a key which only writes.
fn writer_in(bucket: &Bucket) -> (Lab, Lab) {
    let mut reader = in_bucket(bucket);
    reader.lrl("init --encrypt").expect(0);
    reader.lrl("key make-file wk").expect(0);
    reader.run(["key", "add", "--writer", "--label", "web", "--new-key-file", "wk"]).expect(0);
    let mut writer = in_bucket(bucket);
    fs::copy(reader.path("wk"), writer.path("wk")).unwrap();
    writer.set("LRL_PASSWORD_FILE", "");
    writer.set("LRL_KEY_FILE", "wk");
    reader.set("LRL_KEY_FILE", "");
    (reader, writer)
}

#[test]
fn a_machine_that_only_writes_backs_up_cheaply_and_reads_and_removes_nothing() {
    let bucket = Bucket::start();
    let (reader, writer) = writer_in(&bucket);
    writer.lrl("backup").expect(0);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    writer.lrl("backup").expect(0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    bucket.take_log();
    let unchanged = writer.lrl("backup --json").expect(0).json();
    let log = bucket.take_log();
    assert!(log.len() <= 5, "{log:?}");
    assert!(unchanged["added_bytes"].as_u64().unwrap() < 2500, "{unchanged}");

    // One page of the database and one upload of many: deltas against the last set's copy, and an archive made of the uploads themselves.
    writer.database().execute("UPDATE content_items SET title = 'x' WHERE id = 101", []).unwrap();
    writer.upload("later.txt", b"later");
    let small = writer.lrl("backup --json").expect(0).json();
    assert!(small["added_bytes"].as_u64().unwrap() < 20_000, "{small}");
    let drilled = writer.lrl("drill --backup ./backups").expect(0);
    assert!(drilled.stdout.contains("RESTORE DRILL PASSED"), "{}", drilled.stdout);

    let before = bucket.names();
    for line in
        ["restore --data-dir again", "dump latest lrl.db", "drill --snapshot latest", "check", "check --read-data"]
    {
        let run = writer.lrl(line).expect(12);
        assert!(run.stderr.contains("only writes"), "{line}: {}", run.stderr);
    }
    for line in ["forget latest", "forget --keep-last 1", "prune"] {
        let run = writer.lrl(line);
        assert!([1, 12].contains(&run.code), "{line}: {}\n{}", run.code, run.stderr);
    }
    assert_eq!(bucket.names(), before);
    assert!(!writer.path("again/lrl.db").exists());
    writer.lrl("key add --new-password-file other").expect(1);

    // The last set is gone, and the cache: everything is read and kept as a whole, and nothing is stored twice that need not be.
    fs::remove_dir_all(writer.path("backups")).unwrap();
    writer.lrl("backup").expect(0);
    fs::remove_dir_all(writer.path("home/.cache")).unwrap();
    let again = writer.lrl("backup --json").expect(0).json();
    assert!(again["added_bytes"].as_u64().unwrap() < 300_000, "{again}");

    reader.lrl("check --read-data").expect(0);
    reader.lrl("drill --snapshot latest").expect(0);
    reader.lrl("restore --data-dir again").expect(0);
    same_data(&writer.path("data"), &reader.path("again"));
    reader.lrl("restore latest~2 --data-dir earlier").expect(0);
    let keys = writer.lrl("key list").expect(0).stdout;
    assert!(keys.contains("only writes (used now)") && keys.contains("web"), "{keys}");
}

#[test]
fn a_store_that_was_set_back_is_noticed_once_and_what_was_forgotten_on_purpose_is_not() {
    let lab = encrypted();
    lab.lrl("backup").expect(0);
    let store = lab.path("backups/store");
    let old = files(&store);
    lab.lrl("backup").expect(0);
    // The server gives back the store as it was before.
    fs::remove_dir_all(&store).unwrap();
    for (path, bytes) in &old {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let run = lab.lrl("backup").expect(3);
    assert!(run.stderr.contains("number 2 of lab") && run.stderr.contains("older store"), "{}", run.stderr);
    // The same, with something under a higher number in the place of what is missing.
    lab.lrl("backup").expect(0);
    let history = fs::read_dir(store.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let mut listed: Vec<_> = fs::read_dir(&history).unwrap().map(|entry| entry.unwrap().path()).collect();
    listed.sort();
    fs::remove_file(listed.last().unwrap()).unwrap();
    fs::write(history.join(format!("{:016x}-{}", 9, "0".repeat(64))), b"").unwrap();
    let run = lab.lrl("backup").expect(3);
    assert!(run.stderr.contains("number 3 of lab"), "{}", run.stderr);
    fs::remove_file(history.join(format!("{:016x}-{}", 9, "0".repeat(64)))).unwrap();
    lab.lrl("backup").expect(0);
    lab.lrl("forget latest --force").expect(0);
    let run = lab.lrl("backup --json").expect(0).json();
    assert!(run["vanished"].is_null(), "{run}");
}

#[test]
fn snapshots_are_copied_from_plain_to_encrypted_and_back() {
    let mut lab = lab();
    lab.set("LRL_PASSWORD_FILE", "");
    lab.lrl("backup").expect(0);
    for n in 0..4 {
        lab.database().execute("UPDATE content_items SET title = ?1 WHERE id = 101", [n]).unwrap();
        lab.upload("changing.txt", format!("{n}").repeat(900).as_bytes());
        lab.lrl("backup --snapshot-only").expect(0);
    }
    let bytes = |dir: &str| files(&lab.path(dir).join("packs")).values().map(Vec::len).sum::<usize>();
    lab.lrl("init --encrypt --store sealed --password-file pass").expect(0);
    let copy = "copy --from backups/store --store sealed --password-file pass";
    lab.lrl(copy).expect(0);
    no_canary_in(&lab.path("sealed"));
    assert!(bytes("sealed") < bytes("backups/store") * 11 / 10, "{} {}", bytes("sealed"), bytes("backups/store"));
    let again = lab.lrl(&format!("{copy} --json")).expect(0).json();
    assert_eq!((again["already_there"].as_u64(), again["copied"].as_array().unwrap().len()), (Some(5), 0));
    lab.lrl("check --read-data --store sealed --password-file pass").expect(0);

    // Back, and from one key to another: the key of each is said by itself.
    lab.lrl("copy --from sealed --store back").expect(12);
    lab.lrl("init --no-encryption --store back").expect(0);
    lab.lrl("copy --from sealed --from-password-file pass --store back").expect(0);
    lab.lrl("init --encrypt --store third --password-file other").expect(0);
    lab.lrl("copy --from sealed --from-password-file pass --store third --password-file other").expect(0);
    lab.lrl("copy --from sealed --from-password-file other --store third --password-file other").expect(12);
    for (store, key) in
        [("backups/store", ""), ("sealed", " --password-file pass"), ("back", ""), ("third", " --password-file other")]
    {
        lab.lrl(&format!("restore --store {store}{key} --data-dir out/{}", store.replace('/', "-"))).expect(0);
        same_data(&lab.path("data"), &lab.path(format!("out/{}", store.replace('/', "-"))));
        lab.lrl(&format!("restore latest~3 --store {store}{key} --data-dir old/{}", store.replace('/', "-"))).expect(0);
        same_data(&lab.path("old/backups-store"), &lab.path(format!("old/{}", store.replace('/', "-"))));
    }
    // A plain store in the place of an encrypted one gets no copy.
    lab.lrl("copy --from backups/store --store back --password-file pass").expect(1);
}

#[test]
fn a_second_store_is_encrypted_with_a_key_of_its_own() {
    let bucket = Bucket::start();
    let mut lab = in_bucket(&bucket);
    let second = lab.environment()["LRL_STORE"].clone();
    lab.lrl("init --encrypt").expect(0);
    lab.set("LRL_STORE", "");
    lab.set("LRL_PASSWORD_FILE", "");
    lab.set("LRL_COPY_TO_PASSWORD_FILE", "other");
    let run = lab.run(["backup", "--copy-to", &second]).expect(5);
    assert!(run.stderr.contains("does not open it"), "{}", run.stderr);
    lab.set("LRL_COPY_TO_PASSWORD_FILE", "pass");
    lab.run(["backup", "--copy-to", &second]).expect(0);
    bucket.change(|objects| objects.iter().for_each(|(name, bytes)| assert!(!shows_canary(name, bytes), "{name}")));
    lab.run(["restore", "--store", &second, "--password-file", "pass", "--data-dir", "again"]).expect(0);
    same_data(&lab.path("data"), &lab.path("again"));
    // The fleet shows it; without its key as a line.
    let fleet = second.replace("history/one", "history/*");
    let line = lab.run(["status", "--store", &fleet, "--json"]).expect(4).json();
    assert!(line[0]["error"].as_str().unwrap().contains("no key was given"), "{line}");
    lab.run(["status", "--store", &fleet, "--password-file", "pass"]).expect(0);
}

#[test]
fn an_encrypted_bucket_is_pruned_beside_a_machine_that_only_writes() {
    let bucket = Bucket::start();
    let (reader, writer) = writer_in(&bucket);
    for n in 0..4 {
        writer.upload("changing.bin", &noise(300_000, 40 + n));
        writer.lrl("backup").expect(0);
    }
    let written = reader.lrl("forget --keep-last 1 --prune --grace 0 --json").expect(0).json();
    let packs = |bucket: &Bucket| bucket.names().iter().filter(|name| name.contains("/packs/")).count();
    let before = packs(&bucket);
    // Contents scheduled for deletion come again: they are stored again.
    writer.upload("changing.bin", &noise(300_000, 40));
    let again = writer.lrl("backup --json").expect(0).json();
    assert!(again["added_bytes"].as_u64().unwrap() > 300_000, "{again}\n{written}");
    bucket.change(|objects| {
        let pending: Vec<_> = objects.iter().filter(|(name, _)| name.contains("/pending/")).collect();
        assert!(pending.len() == 1 && pending[0].1.starts_with(b"LRLE"), "sealed, and for writers too");
    });
    reader.lrl("prune --grace 0 --json").expect(0);
    assert!(packs(&bucket) < before, "{} {before}", packs(&bucket));
    reader.lrl("check --read-data").expect(0);
    writer.lrl("backup").expect(0);
    reader.lrl("restore --data-dir again").expect(0);
    same_data(&writer.path("data"), &reader.path("again"));
}

#[test]
fn a_machine_that_only_writes_into_a_directory_makes_its_sets_too() {
    let mut lab = encrypted();
    lab.lrl("key make-file wk").expect(0);
    lab.lrl("key add --writer --new-key-file wk").expect(0);
    lab.set("LRL_PASSWORD_FILE", "");
    lab.set("LRL_KEY_FILE", "wk");
    for n in 0..4 {
        lab.lrl("backup").expect(0);
        lab.database().execute("UPDATE content_items SET title = ?1 WHERE id = 101", [n]).unwrap();
        lab.upload("changing.txt", format!("{n}").repeat(900).as_bytes());
        if n == 2 {
            std::thread::sleep(std::time::Duration::from_millis(2200));
        }
    }
    let small = lab.lrl("backup --json").expect(0).json();
    assert!(small["added_bytes"].as_u64().unwrap() < 20_000, "{small}");
    lab.lrl("drill --backup ./backups").expect(0);
    lab.lrl("status").expect(0);
    lab.lrl("drill --all").expect(12);
    lab.lrl("backup --if-older-than 20h").expect(0);
    let keys = lab.lrl("key list --json").expect(0).json();
    let full = keys["keys"].as_array().unwrap().iter().find(|key| key["class"] == "full").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_string();
    lab.lrl(&format!("key remove {full}")).expect(12);
    // Without what it kept: everything is read again.
    fs::remove_dir_all(lab.path("home/.cache")).unwrap();
    lab.lrl("backup --if-older-than 20h").expect(0);
    lab.lrl("backup").expect(0);
    lab.set("LRL_KEY_FILE", "");
    lab.set("LRL_PASSWORD_FILE", "pass");
    lab.lrl("check --read-data").expect(0);
    lab.lrl("drill --all").expect(0);
    lab.lrl("restore --data-dir again").expect(0);
    same_data(&lab.path("data"), &lab.path("again"));
}

#[test]
fn a_key_that_was_removed_reads_no_more_where_its_slot_is_kept_and_none_opens_twice() {
    let bucket = Bucket::start();
    let (reader, _) = writer_in(&bucket);
    let mut other = in_bucket(&bucket);
    reader.lrl("key make-file second").expect(0);
    fs::copy(reader.path("second"), other.path("second")).unwrap();
    reader.lrl("key add --new-key-file second").expect(0);
    let again = reader.lrl("key add --writer --new-key-file second").expect(1);
    assert!(again.stderr.contains("opens the store already"), "{}", again.stderr);
    other.set("LRL_PASSWORD_FILE", "");
    other.set("LRL_KEY_FILE", "second");
    other.lrl("backup").expect(0);
    other.lrl("snapshots").expect(0);
    let keys = other.lrl("key list --json").expect(0).json();
    reader.lrl(&format!("key remove {}", keys["used"].as_str().unwrap())).expect(0);
    for line in ["snapshots", "restore --data-dir again", "key list", "key add --new-key-file second"] {
        other.lrl(line).expect(12);
    }
    other.lrl("key make-file third").expect(0);
    other.lrl("key add --new-key-file third").expect(12);
}

#[test]
fn what_was_encrypted_becomes_plain_only_where_that_is_meant_and_a_store_is_no_second_one_of_itself() {
    let mut lab = encrypted();
    lab.lrl("backup").expect(0);
    lab.set("LRL_PASSWORD_FILE", "");
    lab.lrl("copy --from backups/store --from-password-file pass --store plain").expect(10);
    assert!(!lab.path("plain").exists());
    lab.lrl("init --no-encryption --store plain").expect(0);
    lab.lrl("copy --from backups/store --from-password-file pass --store plain").expect(0);
    let run = lab.lrl("backup --password-file pass --copy-to ./backups/store").expect(5);
    assert!(run.stderr.contains("the store itself"), "{}", run.stderr);
    let run = lab.lrl("restore --password-file pass --source web --data-dir again").expect(1);
    assert!(run.stderr.contains("some of lab"), "{}", run.stderr);
    fs::remove_dir_all(lab.path("backups/store/keys")).unwrap();
    let run = lab.lrl("snapshots --password-file pass").expect(12);
    assert!(run.stderr.contains("`keys` is empty"), "{}", run.stderr);
}

#[test]
fn a_drill_of_a_set_with_a_wrong_key_does_not_pass() {
    let lab = encrypted();
    lab.lrl("backup").expect(0);
    lab.lrl("drill").expect(0);
    lab.secret("wrong", "another passphrase\n");
    let names =
        fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let manifest = names.into_iter().find(|name| name.starts_with("backup_manifest_")).unwrap();
    for line in ["drill".to_string(), format!("drill --manifest backups/{manifest}"), "drill --json".into()] {
        let run = lab.lrl(&format!("{line} --password-file wrong")).expect(12);
        assert!(!run.stdout.contains("PASSED"), "{}", run.stdout);
        lab.lrl(&format!("{line} --password-file none")).expect(1);
    }
}
