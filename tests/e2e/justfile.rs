//! The `justfile`: no recipe is defined twice, and every recipe named in a document exists.

use std::collections::BTreeSet;
use std::fs;

use crate::common::repository;

/// Returns the name of each recipe, in the order of the file: a line that begins at the margin and ends its head with a colon.
fn recipes(text: &str) -> Vec<&str> {
    let heads = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()) && !line.contains(":="));
    heads.filter_map(|line| line.split_once(':')?.0.split_whitespace().next()).collect()
}

/// Returns the recipes that a document names: `just NAME` within backticks, or at the start of a line.
fn named(text: &str) -> BTreeSet<&str> {
    let calls = text.split("`just ").skip(1).chain(text.lines().filter_map(|line| line.strip_prefix("just ")));
    calls.filter_map(|rest| rest.split(|c: char| c.is_whitespace() || c == '`').next()).collect()
}

#[test]
fn no_recipe_stands_twice_and_every_documented_one_is_there() {
    let text = fs::read_to_string(repository().join("justfile")).unwrap();
    let all = recipes(&text);
    let unique: BTreeSet<&str> = all.iter().copied().collect();
    assert!(unique.contains("gate") && unique.contains("soak") && unique.contains("fuzz"), "{all:?}");
    assert_eq!(all.len(), unique.len(), "just refuses a file in which a recipe stands twice: {all:?}");

    let mut seen = 0;
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/RELIABILITY.md",
        "docs/TESTING.md",
        "docs/BENCHMARKS.md",
        "fuzz/README.md",
    ] {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        for name in named(&text) {
            assert!(unique.contains(name), "{document} names `just {name}`: there is no such recipe");
            seen += 1;
        }
    }
    assert!(seen > 8, "{seen} recipes named");
}
