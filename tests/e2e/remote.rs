//! A store in a bucket: the same commands over S3's protocol, few requests, and failures of the server or the network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bucket::{BUCKET, Bucket, Fault, KEY};
use crate::common::{Lab, Run, database, noise};
use crate::helpers::Disk;

/// A lab whose store is in the bucket.
fn lab_in(bucket: &Bucket) -> Lab {
    let mut lab = Lab::small();
    reach(&mut lab, bucket);
    lab
}

fn reach(lab: &mut Lab, bucket: &Bucket) {
    lab.set("LRL_STORE", &bucket.url("history/one"));
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
}

fn initialised(bucket: &Bucket) -> Lab {
    let lab = lab_in(bucket);
    lab.lrl("init --no-encryption").expect(0);
    lab
}

#[cfg(feature = "s3")]
fn storage(url: String, scratch: &Path) -> lrl_store::backend::bucket::Bucket {
    use lrl_store::backend::bucket::{self, Options};

    let variables = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
    let of_environment = std::env::vars().filter(|(name, _)| bucket::VARIABLES.iter().any(|v| name.starts_with(v)));
    let variables = variables.into_iter().chain(of_environment).collect();
    bucket::Bucket::new(Options { url, variables, scratch: scratch.into(), interrupted: std::sync::Arc::new(|| false) })
        .unwrap()
}

/// Runs the conformance suite on an S3 backend, with and without the cache.
#[cfg(feature = "s3")]
fn conforms(url: &dyn Fn(&str) -> String) {
    use lrl_store::backend::cache::CachedBackend;
    use lrl_store::fs::space::Reserve;

    let scratch = tempfile::tempdir().unwrap();
    lrl_testing::backend_conformance::conformance(&storage(url("plain"), scratch.path()));
    let below = storage(url("copied"), scratch.path());
    lrl_testing::backend_conformance::conformance(
        &CachedBackend::new(std::sync::Arc::new(below), scratch.path().join("copies"), Reserve::NONE).unwrap(),
    );
}

#[cfg(not(feature = "s3"))]
fn conforms(_: &dyn Fn(&str) -> String) {
    println!("skipped: built without buckets");
}

#[test]
fn a_bucket_conforms_with_and_without_copies() {
    let bucket = Bucket::start();
    bucket.page(100);
    conforms(&|prefix| bucket.url(prefix));
    assert!(bucket.names().is_empty() && bucket.open_uploads() == 0);
}

/// A server that is not ours, ended with the test.
pub struct Moto(Child, String);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Moto {
    pub fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().ok()?;
        let mut moto = Self(child, format!("127.0.0.1:{port}"));
        for _ in 0..600 {
            // Its port may have been taken meanwhile, by a test that runs at the same time.
            if moto.0.try_wait().unwrap().is_some() {
                return Self::start();
            }
            if let Ok(mut stream) = std::net::TcpStream::connect(&moto.1) {
                let request = format!(
                    "PUT /{BUCKET} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    moto.1
                );
                std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
                let mut answer = String::new();
                std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                return Some(moto);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }

    /// Returns the URL of a store on it.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://{}", self.1)
    }
}

#[test]
fn a_server_that_is_not_ours_conforms_too() {
    // Any other server: LRL_TEST_BUCKET='s3://bucket/prefix?endpoint=…', with the variables that hold its key.
    if let Ok(url) = std::env::var("LRL_TEST_BUCKET") {
        return conforms(&|prefix| url.replacen('?', &format!("/{prefix}?"), 1));
    }
    let Some(moto) = Moto::start() else {
        println!("skipped: there is no moto_server (pip install 'moto[server]')");
        return;
    };
    conforms(&|prefix| moto.url(prefix));
}

#[test]
fn a_store_in_a_bucket_is_made_on_purpose() {
    let bucket = Bucket::start();
    let lab = lab_in(&bucket);
    let run = lab.lrl("backup").expect(10);
    assert!(run.stderr.contains("lrl init"), "{}", run.stderr);
    assert!(bucket.names().is_empty());
    let run = lab.lrl("init").expect(1);
    assert!(run.stderr.contains("--no-encryption"), "{}", run.stderr);
    assert!(bucket.names().is_empty());
    lab.lrl("init --no-encryption").expect(0);
    assert_eq!(bucket.names(), ["history/one/config"]);
    assert!(lab.lrl("init --no-encryption").expect(1).stderr.contains("already"));
    // Other things are not buried in a store.
    bucket.change(|objects| _ = objects.insert("photos/a.jpg".into(), b"x".to_vec()));
    let other = format!("init --no-encryption --store {}", bucket.url("photos"));
    assert!(lab.lrl(&other).expect(1).stderr.contains("a.jpg"));
}

#[test]
fn every_verb_works_over_the_network_and_on_a_fresh_machine() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    lab.upload("big/noise.bin", &noise(12 << 20, 7));
    std::thread::sleep(Duration::from_millis(3100));
    lab.lrl("backup").expect(0);
    assert_eq!(bucket.open_uploads(), 0);
    let log = bucket.take_log();
    assert!(log.iter().all(|line| !line.contains("partNumber")), "a pack goes up with one request: {log:?}");
    let reads = log.iter().filter(|line| line.starts_with("GET") && line.contains("/packs/")).count();
    assert_eq!(reads, 0, "the archive is written from what was just stored, without a download: {log:?}");

    // Nothing changed: the config, the lists of index files, candidates and snapshots, the new snapshot. A second later: the same one would be looked
    // for among all snapshots.
    std::thread::sleep(Duration::from_millis(1100));
    let run = lab.lrl("backup --json").expect(0).json();
    let log = bucket.take_log();
    assert_eq!(database(&run)["unchanged"], true);
    assert_eq!(log.len(), 7, "{log:#?}");

    lab.upload("new/words.txt", b"words\n");
    lab.database().execute("UPDATE users SET display_name = 'Bob'", []).unwrap();
    lab.lrl("backup --tag second").expect(0);
    let log = bucket.take_log();
    assert!(log.len() <= 9, "{log:#?}");

    let mut fresh = Lab::empty();
    reach(&mut fresh, &bucket);
    fresh.lrl("restore --data-dir there --backup b").expect(0);
    assert_eq!(fresh.lrl("restore --data-dir there --backup b --dry-run").code, 0);
    for file in ["lrl.db", "assets/big/noise.bin", "assets/new/words.txt", "assets/ab12/v1.txt"] {
        if file != "lrl.db" {
            assert!(
                fs::read(fresh.path("there").join(file)).unwrap() == fs::read(lab.path("data").join(file)).unwrap()
            );
        }
    }
    let name: String = rusqlite::Connection::open(fresh.path("there/lrl.db"))
        .unwrap()
        .query_row("SELECT display_name FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(name, "Bob");

    for verb in [
        "check --read-data",
        "drill --snapshot latest",
        "status",
        "stats",
        "snapshots",
        "ls latest",
        "diff latest~1 latest",
    ] {
        fresh.lrl(verb).expect(0);
    }
    assert!(fresh.lrl("find words.txt").expect(0).stdout.contains("words.txt"));
    assert_eq!(fresh.lrl("dump latest assets/new/words.txt").expect(0).stdout, "words\n");
    fresh.lrl("export latest --out set").expect(0);
    fresh.lrl("import set --source copy").expect(0);
    let records = |bucket: &Bucket| bucket.names().iter().filter(|name| name.contains("/drills/")).count();
    let before = records(&bucket);
    let run = lab.lrl("drill").expect(0);
    assert!(!run.stderr.contains("not recorded"), "{}", run.stderr);
    assert_eq!(records(&bucket), before + 1);
    assert!(lab.lrl("status --json").expect(0).json()["last_drill"].is_object());
    assert_eq!(lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 4);

    lab.lrl("forget latest~2").expect(0);
    let before = bucket.names();
    lab.lrl("check --repair").expect(0);
    let unrecorded =
        |names: Vec<String>| names.into_iter().filter(|name| !name.contains("/checks/")).collect::<Vec<_>>();
    assert_eq!(unrecorded(bucket.names()), unrecorded(before));
    // What a check left that was killed goes with the next; nothing else does.
    let dead = lab.path("home/.cache/lrl/check-dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("block"), b"x").unwrap();
    fs::File::open(&dead).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    lab.lrl("check").expect(0);
    assert!(!dead.exists());
    // Without any copies the next run still knows all.
    fs::remove_dir_all(lab.path("home/.cache/lrl")).unwrap();
    assert_eq!(lab.lrl("backup --json").expect(0).json()["sequence"], 4);
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn an_error_says_what_is_wrong_and_what_to_do() {
    let bucket = Bucket::start();
    let mut lab = initialised(&bucket);
    let says = |lab: &Lab, code: i32, words: &[&str]| {
        let run = lab.lrl("snapshots").expect(code);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "{word}: {}", run.stderr));
    };
    for (status, code, words) in [
        (403, "RequestTimeTooSkewed", ["clock", "config"]),
        (503, "SlowDown", ["slow down", "later"]),
        (403, "AccessDenied", ["may not do this", "docs/REMOTE.md"]),
        (400, "AuthorizationHeaderMalformed", ["region", "AWS_REGION"]),
        (403, "SignatureDoesNotMatch", ["does not accept the key", "AWS_SECRET_ACCESS_KEY"]),
        (403, "ExpiredToken", ["does not accept the key", "AWS_SESSION_TOKEN"]),
        (404, "NoSuchBucket", ["no bucket", "?endpoint="]),
    ] {
        bucket.fault(move |_, _| Some(Fault::Says(status, code)));
        says(&lab, if status == 404 { 10 } else { 1 }, &words);
    }
    bucket.fault(|_, _| Some(Fault::Gone));
    says(&lab, 1, &["cannot be reached"]);
    // One page of a listing that fails is no shorter listing.
    bucket.fault(|_, target| target.contains("list-type").then_some(Fault::Says(500, "InternalError")));
    says(&lab, 1, &["cannot list"]);
    bucket.no_fault();
    lab.set("AWS_ACCESS_KEY_ID", "AKOTHER");
    says(&lab, 1, &["does not accept the key", "AWS_SECRET_ACCESS_KEY"]);
    lab.set("AWS_ACCESS_KEY_ID", "");
    says(&lab, 1, &["is not set", "AWS_ACCESS_KEY_ID"]);
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("LRL_STORE", &bucket.url("x").replace(BUCKET, "no-such-bucket"));
    says(&lab, 10, &["no bucket", "no-such-bucket"]);
    lab.set("LRL_STORE", &bucket.url("empty"));
    says(&lab, 10, &["no store", "lrl init"]);
    lab.set("LRL_STORE", &format!("s3://{BUCKET}/x?endpoint=http://127.0.0.1:9&retries=1"));
    says(&lab, 1, &["cannot be reached", "127.0.0.1:9", "refused"]);
    lab.set("LRL_STORE", &format!("s3://{BUCKET}/x?endpiont=http://127.0.0.1:9"));
    says(&lab, 1, &["endpiont", "endpoint=URL"]);
}

#[test]
fn a_lost_answer_and_a_hiccup_change_nothing() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    lab.upload("big/noise.bin", &noise(12 << 20, 7));
    let mut seen = std::collections::HashSet::new();
    // Each request that changes something is carried out once without an answer, and each other fails once.
    bucket.fault(move |method, target| {
        let first = seen.insert(format!("{method} {target}"));
        first.then_some(if method == "GET" { Fault::Says(503, "SlowDown") } else { Fault::Lost })
    });
    lab.lrl("backup").expect(0);
    bucket.no_fault();
    lab.lrl("check --read-data").expect(0);
    assert_eq!(lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn the_first_upload_that_fails_ends_them_all_and_says_why() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    for n in 0..6 {
        lab.upload(&format!("big/{n}.bin"), &noise(12 << 20, n));
    }
    for (status, code, words) in [
        (503, "SlowDown", ["cannot write", "/packs/", "asked to slow down", "later"]),
        (403, "AccessDenied", ["cannot write", "/packs/", "may not do this", "docs/REMOTE.md"]),
        (403, "RequestTimeTooSkewed", ["cannot write", "/packs/", "clock", "timedatectl"]),
    ] {
        let mut packs = 0;
        bucket.fault(move |method, target| {
            packs += u32::from(method == "PUT" && target.contains("/packs/"));
            (packs > 4 && method == "PUT").then_some(Fault::Says(status, code))
        });
        let run = lab.lrl("backup --snapshot-only").expect(1);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "{word}: {}", run.stderr));
        bucket.no_fault();
        assert_eq!(bucket.open_uploads(), 0, "{code}: what was half up is taken back");
        assert!(bucket.names().iter().all(|name| !name.contains("/snapshots/") && !name.contains("/index/")));
    }
    lab.lrl("backup --snapshot-only").expect(0);
    assert_eq!(listed(&lab), 1);
}

#[test]
fn a_snapshot_goes_up_after_its_index_and_that_after_all_packs() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    for n in 0..6 {
        lab.upload(&format!("big/{n}.bin"), &noise(12 << 20, n));
    }
    bucket.take_log();
    lab.lrl("backup --snapshot-only").expect(0);
    let log = bucket.take_log();
    let changes: Vec<_> = log.iter().filter(|line| line.starts_with("PUT") || line.starts_with("POST")).collect();
    let at =
        |what: &'static str| changes.iter().enumerate().filter(move |(_, line)| line.contains(what)).map(|(n, _)| n);
    let packs = at("/packs/").max().unwrap();
    assert!(at("/packs/").count() >= 12, "{changes:#?}");
    assert!(packs < at("/index/").min().unwrap() && at("/index/").max().unwrap() < at("/snapshots/").min().unwrap());
    // Nobody is ever alone in a bucket, so nothing is looked for that could be taken back.
    assert!(log.iter().all(|line| !line.starts_with("HEAD") || !line.contains("/packs/")), "{log:#?}");
    let (packs, bytes) = bucket.most_underway();
    assert!((2..=4).contains(&packs) && bytes <= 24 << 20, "{packs} packs and {bytes} bytes were on their way at once");
}

#[cfg(feature = "s3")]
#[test]
fn a_long_object_goes_up_in_equal_parts_and_is_taken_back_where_one_fails() {
    use lrl_store::backend::{Backend, Payload};

    let bucket = Bucket::start();
    let scratch = tempfile::tempdir().unwrap();
    let storage = storage(bucket.url("long"), scratch.path());
    let put = |name: &str| {
        let mut spool = storage.temp_object().unwrap();
        std::io::Write::write_all(&mut spool, &noise(23 << 20, 1)).unwrap();
        storage.put(name, Payload::TempObject(spool))
    };
    for failing in ["partNumber=3", "uploadId"] {
        bucket.fault(move |method, target| {
            let is_it = target.contains(failing) && (method == "POST" || failing != "uploadId");
            is_it.then_some(Fault::Says(403, "AccessDenied"))
        });
        let error = put("index/long").unwrap_err().to_string();
        assert!(error.contains("index/long") && error.contains("may not do this"), "{error}");
        bucket.no_fault();
        assert!(bucket.open_uploads() == 0 && bucket.names().is_empty(), "what was half up is taken back");
    }
    bucket.take_log();
    put("index/long").unwrap();
    let parts = bucket.take_log().iter().filter(|line| line.contains("partNumber")).count();
    assert_eq!(parts, 4, "of 5.75 MiB");
    assert!(storage.read("index/long").unwrap() == noise(23 << 20, 1));
}

/// Returns the snapshots that are listed, after a check that they are whole.
fn listed(lab: &Lab) -> usize {
    lab.lrl("check --read-data").expect(0);
    lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len()
}

#[test]
fn a_server_that_is_gone_half_way_leaves_nothing_half_listed() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    lab.lrl("backup").expect(0);
    for seed in 0..4 {
        lab.upload(&format!("big/{seed}.bin"), &noise(7 << 20, seed));
        let mut writes = 0;
        // Each time it is gone one write later.
        bucket.fault(move |method, _| {
            writes += u64::from(method != "GET" && method != "HEAD");
            (writes > seed).then_some(Fault::Gone)
        });
        let run = lab.lrl("backup").expect(1);
        assert!(run.stderr.contains("cannot be reached"), "{}", run.stderr);
        bucket.no_fault();
        assert_eq!(listed(&lab), 1);
    }
    lab.lrl("backup").expect(0);
    assert_eq!(listed(&lab), 2);
}

#[test]
fn an_interruption_ends_an_upload_that_hangs() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    bucket.take_log();
    bucket.fault(|method, _| (method == "PUT").then_some(Fault::Hangs));
    let mut child = lab.command(["backup"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !bucket.log_has("PUT") {
        std::thread::sleep(Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none());
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    bucket.no_fault();
    assert_eq!(listed(&lab), 0);
}

#[test]
fn several_sources_write_at_once() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    let children: Vec<_> = (0..3)
        .map(|n| {
            let line = format!("backup --source lab{n} --out out{n} --cache-dir cache{n}");
            lab.command(line.split(' ')).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    assert_eq!(listed(&lab), 3);
}

/// Removes the objects whose names hold a word; returns how many there were.
fn lose(bucket: &Bucket, word: &str) -> usize {
    let before = bucket.names().len();
    bucket.change(|objects| objects.retain(|name, _| !name.contains(word)));
    before - bucket.names().len()
}

#[test]
fn what_the_bucket_lost_is_noticed_and_stored_again() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    lab.lrl("backup").expect(0);
    // An index that is gone is noticed by the very next run, and written again.
    assert_eq!(lose(&bucket, "/index/"), 1);
    let run = lab.lrl("backup").expect(0);
    assert!(run.stderr.contains("an index was lost"), "{}", run.stderr);
    assert_eq!(listed(&lab), 2);
    // Packs are compared with the index by a full scan.
    assert!(lose(&bucket, "/packs/") > 0);
    assert_eq!(lab.lrl("check").code, 4, "the cache hides nothing");
    let run: Run = lab.lrl("backup --rescan").expect(0);
    assert!(run.stderr.contains("is missing or cut short"), "{}", run.stderr);
    let mut fresh = Lab::empty();
    reach(&mut fresh, &bucket);
    fresh.lrl("restore --data-dir there --backup b").expect(0);
    assert_eq!(fs::read(fresh.path("there/assets/ab12/v1.txt")).unwrap(), b"a few words\n");
}

#[test]
fn copies_that_are_damaged_cost_time_only() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    lab.lrl("backup").expect(0);
    for file in files(&lab.path("home/.cache/lrl")) {
        if !file.to_str().unwrap().contains("cache.db") {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes.iter_mut().skip(middle).take(64).for_each(|byte| *byte ^= 1);
            fs::write(&file, bytes).unwrap();
        }
    }
    let mut fresh = lab.command(["restore", "--data-dir", "there"]);
    assert_eq!(Run::from(fresh.output().unwrap()).expect(0).code, 0);
    assert_eq!(
        fs::read(lab.path("there/assets/cd34/v1.bin")).unwrap(),
        fs::read(lab.path("data/assets/cd34/v1.bin")).unwrap()
    );
    lab.upload("new.txt", b"new");
    lab.lrl("backup").expect(0);
    assert_eq!(listed(&lab), 2);
}

#[test]
fn copies_leave_a_small_disk_to_the_application() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    let Some(_disk) = Disk::mount(lab.path("cache"), "60m") else { return };
    lab.upload("big/noise.bin", &noise(12 << 20, 7));
    let kept = || files(&lab.path("cache")).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    for line in ["backup", "backup --rescan", "drill --snapshot latest", "check --read-data", "snapshots", "ls latest"]
    {
        lab.lrl(&format!("{line} --cache-dir cache")).expect(0);
        assert!(kept() < 1 << 20, "{line}: {:?}", files(&lab.path("cache")));
    }
    // No room at all for what must be written is told, and nothing is listed.
    let before = listed(&lab);
    lab.upload("big/more.bin", &noise(12 << 20, 8));
    let full = lab.lrl("backup --cache-dir cache --reserve 100%");
    assert!(full.code != 0 && full.stderr.contains("kept for the application"), "{} {}", full.code, full.stderr);
    assert_eq!(listed(&lab), before);
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_prefix_is_the_keys_own_and_encoded_once() {
    let bucket = Bucket::start();
    let mut lab = lab_in(&bucket);
    let prefixes = [
        "fleet/m\u{fc}ller",
        "fleet/kunden blog",
        "fleet/user~1",
        "fleet/a+b",
        "fleet/50%25",
        "fleet/[x]{y}^z",
        "fleet/a%3Fb",
        "fleet/.x",
    ];
    let keys = [
        "fleet/m\u{fc}ller",
        "fleet/kunden blog",
        "fleet/user~1",
        "fleet/a+b",
        "fleet/50%",
        "fleet/[x]{y}^z",
        "fleet/a?b",
        "fleet/.x",
    ];
    for (prefix, key) in prefixes.iter().zip(keys) {
        lab.set("LRL_STORE", &bucket.url(prefix));
        lab.lrl("init --no-encryption").expect(0);
        lab.lrl("backup -q --snapshot-only").expect(0);
        assert_eq!(lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 1, "{prefix}");
        lab.lrl("check").expect(0);
        assert!(bucket.names().contains(&format!("{key}/config")), "{key}: {:?}", bucket.names());
    }
    assert!(bucket.names().iter().all(|name| keys.iter().any(|key| name.starts_with(&format!("{key}/")))));
    // Encoded or not, it is the same one.
    lab.set("LRL_STORE", &bucket.url("fleet/kunden%20blog"));
    assert_eq!(lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 1);
    // None of them is passed over.
    let fleet = bucket.url("fleet/*");
    let lines = lab.run(["status", "--json", "--store", &fleet]).expect(0).json();
    assert_eq!(lines.as_array().unwrap().len(), keys.len(), "{lines}");
    bucket.change(|objects| {
        objects.insert("fleet/m\u{fc}ller/config".into(), b"{".to_vec());
    });
    let lines = lab.run(["status", "--json", "--store", &fleet]).expect(4).json();
    assert_eq!(lines.as_array().unwrap().iter().filter(|line| line["success"] == false).count(), 1, "{lines}");
    for bad in ["a//b", "a/../b", "./a", "a%00b", "a%ff", "a%0Ab", "a/%20b"] {
        lab.set("LRL_STORE", &bucket.url(bad));
        let run = lab.lrl("init --no-encryption").expect(1);
        assert!(run.stderr.contains("cannot be used"), "{bad}: {}", run.stderr);
    }
}

#[test]
fn a_url_loses_nothing_behind_a_number_sign() {
    let bucket = Bucket::start();
    let mut lab = lab_in(&bucket);
    lab.set("LRL_STORE", &bucket.url("shop#1"));
    for line in ["init --no-encryption", "snapshots"] {
        assert!(lab.lrl(line).expect(2).stderr.contains("write %23"));
    }
    lab.set("LRL_STORE", &bucket.url("shop%231"));
    lab.lrl("init --no-encryption").expect(0);
    assert!(bucket.names().contains(&"shop#1/config".to_string()));
}

#[test]
fn a_listing_that_is_cut_short_goes_on_where_it_broke_off() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    for n in 0..5 {
        lab.upload("again.txt", format!("{n}").as_bytes());
        lab.lrl("backup -q --snapshot-only").expect(0);
    }
    bucket.page(2);
    for fault in [Fault::Cut, Fault::Garbled] {
        let mut listings = 0;
        bucket.fault(move |method, target| {
            let is_list = method == "GET" && target.contains("list-type");
            listings += u32::from(is_list);
            (is_list && listings % 2 == 0).then_some(fault)
        });
        assert_eq!(lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 5);
        let fleet = bucket.url("history/*");
        assert_eq!(lab.run(["status", "--json", "--store", &fleet]).expect(0).json().as_array().unwrap().len(), 1);
        lab.lrl("check").expect(0);
        // One that never comes whole is an error in the end.
        bucket.fault(move |_, target| target.contains("list-type").then_some(fault));
        assert!(lab.lrl("snapshots").expect(1).stderr.contains("cannot list"));
        bucket.no_fault();
    }
}

#[test]
fn a_full_scan_of_a_bucket_reads_the_source_and_not_the_store() {
    let bucket = Bucket::start();
    let lab = initialised(&bucket);
    lab.lrl("backup --snapshot-only").expect(0);
    std::thread::sleep(Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    let unchanged = lab.lrl("backup --snapshot-only --json").expect(0).json();
    assert_eq!(unchanged["uploads_read"]["files_read"], 0, "{unchanged:#}");
    bucket.take_log();
    let scan = lab.lrl("backup --snapshot-only --rescan-every 0s --json").expect(0).json();
    assert!(scan["uploads_read"]["files_read"].as_u64().unwrap() > 0, "{scan:#}");
    assert_eq!(database(&scan)["unchanged"], false, "it was read: {scan:#}");
    let reads = bucket.take_log().iter().filter(|line| line.starts_with("GET") && line.contains("/packs/")).count();
    assert_eq!(reads, 0, "nothing is downloaded");
    // Once is enough.
    let next = lab.lrl("backup --snapshot-only --json").expect(0).json();
    assert_eq!(next["uploads_read"]["files_read"], 0, "{next:#}");
}
