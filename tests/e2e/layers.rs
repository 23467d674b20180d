//! Rules of the engine that the compiler does not check: a module uses lower layers only, and nothing prints or reads the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::repository;

/// Lowest first. A module may use its own layer and those before it.
const LAYERS: [(&str, &[&str]); 8] = [
    ("words", &["id", "error", "progress", "time"]),
    ("bytes", &["format", "chunk", "codec", "crypt"]),
    ("system", &["fs"]),
    ("source", &["source"]),
    ("backend", &["backend"]),
    ("store", &["store"]),
    ("set", &["set"]),
    ("verbs", &["ops"]),
];

/// Calls that the engine never makes: it has no terminal, no environment and no clock of its own.
const FORBIDDEN: [&str; 10] = [
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "dbg!",
    "stdout()",
    "stderr()",
    "env::var",
    "env::args",
    "SystemTime::now",
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

/// Returns the code of a file without its comments and its tests.
fn code(text: &str) -> String {
    let mut all = String::new();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    while let Some(line) = lines.next() {
        let Some(indent) = line.find("#[cfg(test)]") else {
            all.extend([line, "\n"]);
            continue;
        };
        // The item that follows ends with a semicolon, or with a brace as far in as it began: rustfmt sees to that.
        let end = format!("{}}}", " ".repeat(indent));
        let single = |line: &str| line.ends_with(';') && line.find(|c| c != ' ') == Some(indent);
        let _ = lines.find(|line| single(line) || line.trim_end() == end);
    }
    all
}

/// Returns the top-level modules that code names after `crate::`, also those in braces.
fn used(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut fresh = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                c if fresh && !c.is_whitespace() => {
                    modules.insert(word(&group[i..]));
                    fresh = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    modules.remove("");
    modules
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// Returns each engine file's name from `src/` on, its top-level module, and its code; not the files of tests alone.
fn engine() -> BTreeMap<String, (String, String)> {
    let root = repository().join("crates/lrl-store/src");
    let names = sources(&root).into_iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_string());
    let named = names.filter(|name| !name.split('/').any(|part| part.trim_end_matches(".rs") == "tests")).map(|name| {
        let module = name.split('/').next().unwrap().trim_end_matches(".rs").to_string();
        let code = code(&fs::read_to_string(root.join(&name)).unwrap());
        (name, (module, code))
    });
    named.collect()
}

#[test]
fn a_module_uses_only_its_own_layer_and_lower_ones() {
    let mut wrong = Vec::new();
    for (file, (module, code)) in engine().iter().filter(|(file, _)| *file != "lib.rs") {
        let Some(own) = layer(module) else {
            wrong.push(format!("{file}: {module} has no layer in the table"));
            continue;
        };
        for other in used(code) {
            match layer(&other) {
                Some(used) if used <= own => {}
                Some(used) => wrong.push(format!("{file} ({}) uses {other} ({})", LAYERS[own].0, LAYERS[used].0)),
                None => wrong.push(format!("{file} uses {other}, which has no layer in the table")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_is_silent_and_looks_at_nothing_by_itself() {
    let mut wrong = Vec::new();
    for (file, (_, code)) in engine() {
        wrong.extend(FORBIDDEN.iter().filter(|word| code.contains(**word)).map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_with_a_module_comment() {
    let mut silent = Vec::new();
    for directory in ["crates/lrl-store/src", "crates/lrl-cli/src", "crates/lrl-bench/src", "tests"] {
        for path in sources(&repository().join(directory)) {
            if !fs::read_to_string(&path).unwrap().starts_with("//! ") {
                silent.push(path);
            }
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn the_reader_of_use_lines_sees_every_form() {
    let text = "use crate::error::Error;\nuse crate::{id::{ChunkId, PackId}, store};\nfn f() { crate::ops::run() }\n\
                // use crate::comment;\nuse my_crate::other;\npub(crate) fn g() {}\n#[cfg(test)]\nmod tests;\nuse crate::set;\n\
                #[cfg(test)]\nmod more {\n    use crate::source;\n    fn h() {\n    }\n}\nuse crate::chunk;";
    assert_eq!(used(&code(text)).into_iter().collect::<Vec<_>>(), ["chunk", "error", "id", "ops", "set", "store"]);
}
