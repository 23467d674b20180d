//! Several sources in one store: what one of them is restored or forgotten by is never silently another one's.

use std::fs;

use crate::common::Lab;

/// A lab and another application in one store; returns the id and timestamp of the newest snapshot of the other.
fn two_sources(other: &str) -> (Lab, String, String) {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    fs::create_dir_all(lab.path("elsewhere/data/assets")).unwrap();
    fs::copy(lab.path("data/lrl.db"), lab.path("elsewhere/data/lrl.db")).unwrap();
    // Timestamps are taken once in a source, not in a store.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let run =
        lab.lrl(&format!("backup --snapshot-only --data-dir elsewhere/data --source {other} --json")).expect(0).json();
    let id = run["snapshot"]["id"].as_str().or(run["snapshot"].as_str()).unwrap()[..8].to_string();
    (lab, id, run["timestamp"].as_str().unwrap().to_string())
}

#[test]
fn a_snapshot_of_another_source_is_restored_in_place_only_if_the_source_is_named() {
    let (lab, id, stamp) = two_sources("wiki");
    let before = fs::read(lab.path("data/lrl.db")).unwrap();
    for name in [&id, &stamp] {
        for line in [
            format!("restore {name}"),
            format!("restore {name} --table users"),
            format!("restore {name} --dry-run --db-only"),
        ] {
            let run = lab.lrl(&line).expect(2);
            for word in ["of source `wiki`", "about source `lab`", "--source wiki", "--target DIR"] {
                assert!(run.stderr.contains(word), "{line}: {}", run.stderr);
            }
        }
        assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), before);
        assert!(!lab.path("data/lrl.db.pre-restore").exists());
        lab.lrl(&format!("restore {name} --target looked-at --force")).expect(0);
        lab.lrl(&format!("restore {name} --source wiki --dry-run")).expect(0);
        lab.lrl(&format!("restore {name} --source wiki --table users")).expect(0);
        let run = lab.lrl(&format!("forget {name} --force")).expect(2);
        assert!(
            run.stderr.contains("of source `wiki`") && run.stderr.contains("nothing was forgotten"),
            "{}",
            run.stderr
        );
    }
    lab.write("lrl.toml", "source = \"wiki\"\n");
    lab.lrl(&format!("restore {id} --dry-run")).expect(0);
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    lab.lrl(&format!("forget {id} --source wiki --force")).expect(0);
    // One source alone cannot be mistaken.
    lab.lrl("backup --snapshot-only --store alone --source wiki").expect(0);
    let id = lab.lrl("snapshots --store alone --json").expect(0).json()["snapshots"][0]["short_id"]
        .as_str()
        .unwrap()
        .to_string();
    lab.lrl(&format!("restore {id} --store alone --dry-run")).expect(0);
}

#[test]
fn a_site_is_not_overwritten_by_the_source_of_the_settings_where_it_is_another_one() {
    let lab = Lab::small();
    for site in ["one", "two"] {
        fs::create_dir(lab.path(site)).unwrap();
        fs::copy(lab.path("data/lrl.db"), lab.path(site).join("app.db")).unwrap();
        // The name of the directory is that of the source.
        lab.lrl(&format!("backup --snapshot-only --root {site}")).expect(0);
    }
    lab.write("lrl.toml", "source = \"one\"\n");
    for name in ["", "good", "0s", "latest"] {
        let run = lab.lrl(&format!("restore {name} --root two --dry-run")).expect(2);
        let is_told = run.stderr.contains("two is backed up as source `two`") && run.stderr.contains("--source one");
        assert!(is_told, "{}", run.stderr);
        lab.lrl(&format!("restore {name} --root one --dry-run")).expect(0);
        lab.lrl(&format!("restore {name} --root two --source two --dry-run")).expect(0);
        lab.lrl(&format!("restore {name} --root two --source one --dry-run")).expect(0);
        lab.lrl(&format!("restore {name} --target three --dry-run")).expect(0);
        lab.lrl(&format!("restore {name} --root three --dry-run")).expect(0);
    }
}
