//! The benchmarks run end to end, and their document matches the results.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::repository;

/// Runs `lrl-bench` on the built binary.
fn bench(arguments: &[&str]) -> Result<(), String> {
    lrl_bench::run([&["lrl-bench"], arguments].concat()).map_err(|error| error.to_string())
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// A tiny comparison of all cases. restic and borg take half a second for each command: they are left to `just bench`.
fn compare(lrl: &str, root: &Path) -> Result<(), String> {
    let (docs, work) = (root.join("docs"), root.join("work"));
    let places = ["--lrl", lrl, "--docs", docs.to_str().unwrap(), "--work", work.to_str().unwrap()];
    let sizes = [
        "--scale",
        "0.005",
        "--rounds",
        "1",
        "--steps",
        "3",
        "--large-steps",
        "2",
        "--only",
        "lrl,tar+gzip",
        "--quiet",
    ];
    bench(&[&["compare"], &places[..], &sizes[..]].concat())
}

#[test]
fn a_tiny_comparison_measures_every_case_and_renders_again() {
    let root = tempfile::tempdir().unwrap();
    compare(env!("CARGO_BIN_EXE_lrl"), root.path()).unwrap();
    let docs = root.path().join("docs");
    let results: serde_json::Value = serde_json::from_str(&text(docs.join("bench/results.json"))).unwrap();
    let rows = results["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["failed"].is_null()), "{rows:?}");
    let measured =
        |case: &str, tool: &str| rows.iter().filter(|row| row["case"] == case && row["tool"] == tool).count();
    for case in
        ["first", "unchanged", "churn", "vacuum", "restore", "restore_deep", "restore_end", "verify", "tiny_unchanged"]
    {
        assert_eq!(measured(case, "lrl"), 1, "{case}");
    }
    assert_eq!(
        (measured("small_step", "lrl"), measured("large_step", "lrl"), measured("restore_db_3", "lrl")),
        (3, 2, 1)
    );
    let page = text(docs.join("BENCHMARKS.md"));
    let baseline = results["tools"].as_array().unwrap().len() == 2;
    for case in ["set_first", "set_little", "set_unchanged", "set_restore"] {
        assert_eq!((measured(case, "lrl"), measured(case, "tar+gzip")), (1, usize::from(baseline)), "{case}");
    }
    for part in
        ["**A trial at 0.005", "| restic | **left out**", "## To reach", "## What lrl loses", "No run failed", "`/"]
    {
        assert_eq!(page.contains(part), part != "`/", "{part} in\n{page}");
    }
    assert!(!page.contains(root.path().to_str().unwrap()), "names this machine's directories:\n{page}");
    assert_eq!(fs::read_dir(root.path().join("work")).unwrap().count(), 0, "leaves something behind");

    fs::remove_file(docs.join("BENCHMARKS.md")).unwrap();
    bench(&["render", "--docs", docs.to_str().unwrap()]).unwrap();
    assert_eq!(text(docs.join("BENCHMARKS.md")), page);
}

#[test]
fn a_database_that_grows_is_measured_in_both_modes() {
    let root = tempfile::tempdir().unwrap();
    let (docs, work) = (root.path().join("docs"), root.path().join("work"));
    let places = ["--docs", docs.to_str().unwrap(), "--work", work.to_str().unwrap()];
    let sizes = ["--lrl", env!("CARGO_BIN_EXE_lrl"), "--only", "lrl", "--mib", "2,4", "--rounds", "1", "--quiet"];
    bench(&[&["sizes"], &places[..], &sizes[..]].concat()).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text(docs.join("bench/sizes.json"))).unwrap();
    let rows = results["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["failed"].is_null()), "{rows:?}");
    for case in ["first", "writer", "row", "percent", "vacuum", "restore"] {
        let measured = rows.iter().filter(|row| row["case"] == case);
        let mut places: Vec<_> = measured.map(|row| format!("{} {}", row["mode"], row["mib"])).collect();
        places.sort();
        assert_eq!(places, ["\"rollback\" 2", "\"rollback\" 4", "\"wal\" 2", "\"wal\" 4"], "{case}");
    }
    let page = text(docs.join("SIZES.md"));
    for part in ["| 4 MiB, rollback | lrl |", "## To reach", "longest wait", "No run failed"] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    assert!(!page.contains(root.path().to_str().unwrap()), "names this machine's directories:\n{page}");
    assert_eq!(fs::read_dir(work).unwrap().count(), 0, "leaves something behind");
}

#[test]
fn a_wrong_result_counts_for_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    // Restores everything, then adds a byte to an upload.
    let script = "#!/bin/sh\n\"LRL\" \"$@\" || exit\ncase \"$1 $5\" in 'restore --data-dir') \
                  file=$(find \"$6\" -name 'v1.*' | head -1); printf x >> \"$file\";; esac\n";
    let lrl = root.path().join("lrl");
    fs::write(&lrl, script.replace("LRL", env!("CARGO_BIN_EXE_lrl"))).unwrap();
    fs::set_permissions(&lrl, fs::Permissions::from_mode(0o755)).unwrap();
    let error = compare(lrl.to_str().unwrap(), root.path()).unwrap_err();
    assert!(error.contains("runs failed"), "{error}");
    let page = text(root.path().join("docs/BENCHMARKS.md"));
    assert!(page.contains("## What failed") && page.contains("has other bytes"), "{page}");
    assert!(page.contains("| restore, on disk: faster than restic | at least 1.5 × | not measured |"), "{page}");
}

#[test]
fn the_document_is_what_its_results_say() {
    let docs = tempfile::tempdir().unwrap();
    fs::create_dir(docs.path().join("bench")).unwrap();
    for results in ["bench/results.json", "bench/sizes.json"] {
        let kept = repository().join("docs").join(results);
        if kept.exists() {
            fs::copy(kept, docs.path().join(results)).unwrap();
        }
    }
    bench(&["render", "--docs", docs.path().to_str().unwrap()]).unwrap();
    let mut names: Vec<_> = fs::read_dir(docs.path().join("bench")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let mut committed: Vec<_> =
        fs::read_dir(repository().join("docs/bench")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    committed.sort();
    assert_eq!(names, committed);
    let pages = ["BENCHMARKS.md", "SIZES.md"].map(std::path::PathBuf::from);
    let pages = pages.into_iter().filter(|page| repository().join("docs").join(page).exists());
    let names = names.iter().map(|name| Path::new("bench").join(name)).chain(pages);
    for name in names {
        let (made, kept) = (text(docs.path().join(&name)), text(repository().join("docs").join(&name)));
        assert!(made == kept, "{} is not what the results say: run `lrl-bench render`", name.display());
    }
}

#[test]
fn every_command_stays_within_its_memory_in_a_grown_store() {
    // A child's peak begins with what its parent holds, and beside other tests this process holds anything.
    const ALONE: &str = "LRL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let this = "bench::every_command_stays_within_its_memory_in_a_grown_store";
        let test = Command::new(std::env::current_exe().unwrap()).args([this, "--exact"]).env(ALONE, "1").output();
        let test = test.unwrap();
        let said = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let places = ["--lrl", env!("CARGO_BIN_EXE_lrl"), "--work", root.path().to_str().unwrap()];
    let sizes = ["--chunks", "30000", "--packs", "50", "--files", "300", "--large", "9000000"];
    bench(&[&["scale"], &places[..], &sizes[..]].concat()).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "nothing is left behind");
}
