//! The language of the repository: sources, help texts and documents use the field's words, and none of these habits of speech.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::repository;

/// Each with what to write instead.
const TICS: [(&str, &str); 12] = [
    ("says whether", "returns whether, shows whether"),
    ("so many", "up to N, the number of, this many"),
    ("lean on", "depend on, rely on"),
    ("leans on", "depends on, relies on"),
    ("leaning on", "depending on"),
    ("leaned on", "depended on"),
    ("written down", "recorded, scheduled for deletion"),
    ("near at hand", "cached locally"),
    ("who only writes", "with a write-only key"),
    ("that only writes", "with a write-only key"),
    ("taken over", "reused"),
    ("further name", "hard link"),
];

/// What is searched, from the repository's root.
const SEARCHED: [&str; 14] = [
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "crates",
    "contrib",
    "fuzz",
    "examples",
    "tests",
    "justfile",
    "demo",
    ".ci",
    "Cargo.toml",
];

/// What is not searched: this file.
const ALLOWED: [&str; 1] = ["tests/e2e/language.rs"];

fn texts(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            texts(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_none_or(|e| ["rs", "md", "py", "toml", "sh"].iter().any(|known| e == *known)) {
        found.push(path.into());
    }
}

/// Returns the tics in a text, with their lines. Line breaks and the marks of comments count as blanks.
fn tics(text: &str) -> Vec<(usize, &'static str)> {
    let mut joined = String::with_capacity(text.len());
    let mut starts = Vec::new();
    for line in text.lines() {
        starts.push(joined.len());
        let words = line.trim().trim_start_matches(['/', '#', '!', '>']).trim_start();
        joined.push_str(&words.to_lowercase());
        joined.push(' ');
    }
    let line = |at: usize| starts.partition_point(|start| *start <= at);
    let mut found: Vec<_> = TICS
        .iter()
        .flat_map(|(tic, _)| joined.match_indices(tic).map(|(at, _)| (line(at), *tic)).collect::<Vec<_>>())
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn no_source_or_document_has_the_known_tics() {
    let root = repository();
    let mut files = Vec::new();
    SEARCHED.iter().for_each(|path| texts(&root.join(path), &mut files));
    let allowed = ALLOWED.map(|path| root.join(path));
    files.retain(|path| {
        !allowed.iter().any(|allowed| path.starts_with(allowed)) && !path.ends_with("proptest-regressions")
    });
    assert!(files.len() > 100, "{}", files.len());
    let mut found = Vec::new();
    for path in files {
        // Samples of binary formats are no prose.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        for (line, tic) in tics(&text) {
            let better = TICS.iter().find(|(known, _)| *known == tic).unwrap().1;
            found.push(format!("{name}:{line}: \"{tic}\": write {better}"));
        }
    }
    assert!(found.is_empty(), "{} tics\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_tic_is_found_across_lines_and_in_capitals() {
    assert_eq!(tics("/// Says whether\n/// it is so\n// many files\nplain"), [(1, "says whether"), (2, "so many")]);
    assert!(tics("returns whether\nthe number of").is_empty());
}
