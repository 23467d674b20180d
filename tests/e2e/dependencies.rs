//! docs/DEPENDENCIES.md has one correct line for each package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::common::repository;

/// Returns the names below a heading like `[dependencies]`, without the workspace's own crates.
fn packages(manifest: &str, headings: &[&str]) -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join(manifest)).unwrap();
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = headings.contains(&line);
        } else if let Some((name, _)) = line.split_once(['=', '.']).filter(|_| inside && !line.starts_with('#')) {
            names.insert(name.trim().to_string());
        }
    }
    names.retain(|name| !name.starts_with("lrl-"));
    names
}

/// Returns package → owner.
fn documented() -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository().join("docs/DEPENDENCIES.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>());
    cells.map(|cells| (cells[0].clone(), cells[1].clone())).collect()
}

#[test]
fn every_package_has_its_line_and_no_line_is_left_over() {
    let used: BTreeSet<String> = [
        "crates/lrl-store/Cargo.toml",
        "crates/lrl-cli/Cargo.toml",
        "crates/lrl-bench/Cargo.toml",
        "crates/lrl-testing/Cargo.toml",
    ]
    .into_iter()
    .flat_map(|manifest| packages(manifest, &["[dependencies]", "[dev-dependencies]", "[build-dependencies]"]))
    .collect();
    assert!(used.len() > 20, "{used:?}");
    assert_eq!(documented().into_keys().collect::<BTreeSet<_>>(), used);
    assert_eq!(packages("Cargo.toml", &["[workspace.dependencies]"]), used, "packages that no crate uses, or unlisted");
}

#[test]
fn owners_use_what_they_own() {
    for (package, owner) in documented() {
        let path = repository().join("crates").join(&owner);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{package}: {}: {e}", path.display()));
        assert!(text.contains(&package.replace('-', "_")) || text.contains(&package), "{owner} does not use {package}");
    }
}
