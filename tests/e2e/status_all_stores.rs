//! `lrl status --store '…/*'`: a line for each source of each store, even if some cannot be read.

use std::fs;

use serde_json::Value;

use crate::bucket::{Bucket, Fault, KEY};
use crate::common::Lab;

fn line<'a>(found: &'a Value, store: &str) -> &'a Value {
    let lines = found.as_array().unwrap();
    lines.iter().find(|line| line["store"].as_str().unwrap().ends_with(store)).unwrap_or_else(|| panic!("{found:#}"))
}

#[test]
fn a_bucket_of_stores_is_shown_line_by_line() {
    let bucket = Bucket::start();
    let mut lab = Lab::small();
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    let fleet = bucket.url("labs/*");
    let none = lab.lrl(&format!("status --store {fleet}")).expect(10);
    assert!(none.stderr.contains("one level below"), "{}", none.stderr);
    for name in ["ada", "bob", "new"] {
        lab.lrl(&format!("init --no-encryption --store {}", bucket.url(&format!("labs/{name}")))).expect(0);
    }
    let ada = bucket.url("labs/ada");
    lab.lrl(&format!("backup --snapshot-only --store {ada}")).expect(0);
    lab.lrl(&format!("drill --snapshot latest --store {ada}")).expect(0);
    lab.lrl(&format!("backup --snapshot-only --store {ada} --source second")).expect(0);
    lab.lrl(&format!("backup --snapshot-only --store {}", bucket.url("labs/bob"))).expect(0);
    bucket.change(|objects| _ = objects.insert("labs/photos/a.jpg".into(), b"x".to_vec()));
    // A store without a snapshot has no good backup.
    let run = lab.lrl(&format!("status --json --store {fleet}")).expect(4);
    let found = run.json();
    assert_eq!(found.as_array().unwrap().len(), 4, "{found:#}");
    assert_eq!(line(&found, "/bob")["status"]["snapshots"], 1);
    assert_eq!(line(&found, "/ada")["status"]["proven"], 1);
    assert_eq!(
        (&line(&found, "/new")["error"], &line(&found, "/new")["source"]),
        (&"no snapshot".into(), &Value::Null)
    );
    bucket.change(|objects| objects.retain(|name, _| !name.starts_with("labs/new/")));
    let run = lab.lrl(&format!("status --store {fleet}")).expect(0);
    assert_eq!(run.stdout.lines().count(), 4, "{}", run.stdout);
    assert!(run.stdout.contains("s3://lab-bucket/labs/ada") && run.stdout.contains("second"), "{}", run.stdout);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    lab.lrl(&format!("status --max-age 1s --store {fleet}")).expect(4);
    lab.lrl(&format!("status --max-age 1h --source second --store {fleet}")).expect(4);

    // One that cannot be read, and one that is encrypted, are lines.
    bucket.fault(|_, target| target.contains("labs/bob").then_some(Fault::Says(403, "AccessDenied")));
    let found = lab.lrl(&format!("status --json --store {fleet}")).expect(4).json();
    assert!(line(&found, "/bob")["error"].as_str().unwrap().contains("the key may not"), "{found:#}");
    assert_eq!(line(&found, "/ada")["success"], true);
    bucket.fault(|_, target| target.contains("list-type").then_some(Fault::Says(403, "AccessDenied")));
    lab.lrl(&format!("status --json --store {fleet}")).expect(1);
    bucket.no_fault();
    assert!(lab.lrl(&format!("backup --store {fleet}")).expect(1).stderr.contains("many stores"));
}

#[test]
fn a_directory_of_stores_is_shown_too() {
    let lab = Lab::small();
    for name in ["one", "two", "three"] {
        lab.lrl(&format!("backup --snapshot-only --store all/{name}")).expect(0);
    }
    lab.write("all/readme.txt", "no store");
    lab.write("all/empty/x", "no store either");
    fs::write(lab.path("all/two/config"), "nonsense").unwrap();
    let snapshot = fs::read_dir(lab.path("all/three/snapshots/lab")).unwrap().next().unwrap().unwrap().path();
    fs::write(snapshot, "nonsense").unwrap();
    let run = lab.lrl("status --store all/*").expect(4);
    let text = run.stdout;
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("damaged") && text.contains("1 unreadable document") && text.contains("ok"), "{text}");
    let found = lab.lrl("status --json --store all/*").expect(4).json();
    assert_eq!(line(&found, "/one")["success"], true);
    assert_eq!(line(&found, "/three")["status"]["snapshots"], 1);
    lab.lrl("status --store nowhere/*").expect(10);
}
