//! Rules of the engine that the compiler does not check: a module uses lower layers only, and nothing prints or reads the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::repository;

/// Lowest first. A module may use its own layer and those before it.
const LAYERS: [(&str, &[&str]); 8] = [
    ("words", &["id", "units", "hint", "error", "progress", "time", "budget"]),
    ("bytes", &["format", "chunk", "compression", "crypt"]),
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

/// Words of the command line. The engine gives a `Hint` in its own terms, and whoever shows an error chooses the words.
const COMMAND_LINE: [&str; 5] = ["`lrl ", "lrl.toml", "LRL_", "LAB_", "STORAGE_PATH"];

/// Files that have such words all the same, and why.
const DOCUMENTS: [(&str, &str); 3] = [
    ("ops::export::guide", "writes RESTORE.md, a document about lrl"),
    ("ops::export::site_guide", "the same for a site"),
    ("ops::export::incomplete_notice", "a line of that document"),
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

/// Splits what stands in braces at its commas.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Returns each path of a `use` line, taken apart.
pub fn paths(tree: &str) -> Vec<Vec<String>> {
    let segments = |path: &str| -> Vec<String> {
        path.split("::").map(|segment| segment.trim().to_string()).filter(|segment| !segment.is_empty()).collect()
    };
    let Some((before, group)) = tree.split_once('{') else {
        return vec![segments(tree.split(" as ").next().unwrap())];
    };
    let group = group.rsplit_once('}').unwrap().0;
    let below = parts(group).into_iter().flat_map(paths);
    below
        .map(|path| [segments(before), path].concat().into_iter().filter(|segment| segment != "self").collect())
        .collect()
}

pub type Module = Vec<String>;

/// Returns for each module the modules that its code names.
fn uses(files: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    files
        .iter()
        .map(|(module, code)| {
            let absolute = |path: &[String]| -> Option<Module> {
                match path.first()?.as_str() {
                    "crate" => Some(path[1..].to_vec()),
                    "super" => {
                        let up = path.iter().take_while(|segment| *segment == "super").count();
                        Some([&module[..module.len().checked_sub(up)?], &path[up..]].concat())
                    }
                    first => {
                        let child = [module.as_slice(), &[first.to_string()]].concat();
                        files.contains_key(&child).then(|| [module.as_slice(), path].concat())
                    }
                }
            };
            let mut named = BTreeSet::new();
            let mut imported: BTreeMap<String, Module> = BTreeMap::new();
            let mut rest = String::new();
            for statement in code.split(';') {
                let found = statement.rsplit_once("use ").filter(|(before, _)| !before.ends_with(word));
                let (before, tree) = found.unwrap_or((statement, ""));
                for path in paths(tree).iter().filter_map(|path| absolute(path)) {
                    imported.extend(path.last().map(|last| (last.clone(), path.clone())));
                    named.insert(path);
                }
                rest.extend([before, ";"]);
            }
            for path in rest.split(|c| !word(c) && c != ':').filter(|path| path.contains("::")) {
                let path: Vec<String> = path.split("::").map(String::from).collect();
                named.extend(absolute(&path));
                named.extend(imported.get(&path[0]).map(|start| [start.as_slice(), &path[1..]].concat()));
            }
            let file =
                |path: Module| (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|path| files.contains_key(path));
            let mut used: BTreeSet<Module> = named.into_iter().filter_map(file).collect();
            used.remove(module);
            (module.clone(), used)
        })
        .collect()
}

/// Returns the modules that a module uses, also by way of others.
fn reaches(uses: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&Module> = uses[from].iter().collect();
    while let Some(next) = waiting.pop() {
        if reached.insert(next.clone()) {
            waiting.extend(&uses[next]);
        }
    }
    reached
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

/// Returns the code of each file of a crate by its module; not that of files of tests alone.
pub fn modules(root: &str) -> BTreeMap<Module, String> {
    let root = repository().join(root);
    let named = sources(&root).into_iter().map(|path| {
        let name = path.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Module = name.iter().map(|part| part.to_str().unwrap().to_string()).collect();
        module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        (module, code(&fs::read_to_string(path).unwrap()))
    });
    named.filter(|(module, _)| !module.iter().any(|part| part == "tests")).collect()
}

fn engine() -> BTreeMap<Module, String> {
    modules("crates/lrl-store/src")
}

#[test]
fn a_module_uses_only_its_own_layer_and_lower_ones() {
    let mut wrong = Vec::new();
    for (module, used) in uses(&engine()).iter().filter(|(module, _)| !module.is_empty()) {
        let file = module.join("::");
        let Some(own) = layer(&module[0]) else {
            wrong.push(format!("{file}: {} has no layer in the table", module[0]));
            continue;
        };
        for other in used.iter().filter(|other| !other.is_empty()) {
            match layer(&other[0]) {
                Some(used) if used <= own => {}
                Some(used) => {
                    wrong.push(format!("{file} ({}) uses {} ({})", LAYERS[own].0, other.join("::"), LAYERS[used].0))
                }
                None => wrong.push(format!("{file} uses {}, which has no layer in the table", other.join("::"))),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for root in ["crates/lrl-store/src", "crates/lrl-cli/src", "crates/lrl-bench/src", "crates/lrl-testing/src"] {
        let uses = uses(&modules(root));
        for module in uses.keys().filter(|module| !module.is_empty()) {
            let reached = reaches(&uses, module);
            if reached.contains(module) {
                let back = uses[module].iter().filter(|next| reaches(&uses, next).contains(module));
                let back: Vec<String> = back.map(|next| next.join("::")).collect();
                circles.push(format!("{root}: {} uses {}", module.join("::"), back.join(", ")));
            }
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_engine_is_silent_and_looks_at_nothing_by_itself() {
    let mut wrong = Vec::new();
    for (module, code) in engine() {
        let file = module.join("::");
        wrong.extend(FORBIDDEN.iter().filter(|word| code.contains(**word)).map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns a word of the command line that is in the code, or the rest of a line that begins with an option.
fn command_line(code: &str) -> Option<&str> {
    let is_option = |at: usize| {
        let (before, after) = (&code[..at], &code[at + 2..]);
        after.starts_with(|c: char| c.is_ascii_lowercase())
            && !before.ends_with(|c: char| c == '-' || c.is_alphanumeric())
    };
    let option =
        || code.match_indices("--").find(|(at, _)| is_option(*at)).and_then(|(at, _)| code[at..].lines().next());
    COMMAND_LINE.iter().copied().find(|word| code.contains(word)).or_else(option)
}

#[test]
fn the_engine_does_not_know_the_command_line() {
    let code = engine();
    let found: BTreeMap<String, &str> =
        code.iter().filter_map(|(module, code)| Some((module.join("::"), command_line(code)?))).collect();
    let is_document = |file: &str| DOCUMENTS.iter().any(|(document, _)| file == *document);
    let wrong: Vec<_> = found.iter().filter(|(file, _)| !is_document(file)).collect();
    assert!(wrong.is_empty(), "a text names the command line: {wrong:?}");
    let idle: Vec<_> = DOCUMENTS.iter().filter(|(file, _)| !found.contains_key(*file)).collect();
    assert!(idle.is_empty(), "nothing there needs to be left out: {idle:?}");
}

#[test]
fn the_road_of_a_backup_is_on_one_screen() {
    let road = fs::read_to_string(repository().join("crates/lrl-store/src/ops/backup/mod.rs")).unwrap();
    assert!(road.lines().count() <= 150, "{} lines", road.lines().count());
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

/// Returns the paths that stand in a comment, as `set/{layout,growth}.rs` each for itself.
fn named_files(line: &str) -> Vec<String> {
    let Some((_, comment)) = line.split_once("//") else { return Vec::new() };
    let quoted = comment.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.contains('/') && text.ends_with(".rs") && !text.contains([' ', '*']));
    let each = |path: &str| match path.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?))) {
        Some((start, (names, end))) => names.split(',').map(|name| format!("{start}{name}{end}")).collect(),
        None => vec![path.to_string()],
    };
    paths.flat_map(each).collect()
}

#[test]
fn files_that_comments_name_are_there() {
    assert_eq!(named_files("x // `a/{b,c}.rs` and `d/e.rs`, `f.rs`"), ["a/b.rs", "a/c.rs", "d/e.rs"]);
    let roots =
        ["", "crates", "crates/lrl-store/src", "crates/lrl-cli/src", "tests/e2e"].map(|root| repository().join(root));
    let mut gone = Vec::new();
    for directory in ["crates", "tests/e2e"] {
        for path in sources(&repository().join(directory)) {
            let text = fs::read_to_string(&path).unwrap();
            let is_there = |name: &String| roots.iter().any(|root| root.join(name).exists());
            gone.extend(
                text.lines().flat_map(named_files).filter(|name| !is_there(name)).map(|name| (path.clone(), name)),
            );
        }
    }
    // Those of this test itself.
    gone.retain(|(path, _)| !path.ends_with("layers.rs"));
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn the_reader_of_paths_sees_every_form() {
    let file = |name: &str, text: &str| (name.split("::").map(String::from).collect::<Module>(), code(text));
    let text = "use crate::error::Error;\nuse crate::{id::{ChunkId, PackId}, store};\nfn f() { crate::ops::run(); store::deep::g(); super::up::h() }\n\
                // use crate::comment;\nuse my_crate::other;\npub(crate) fn g() {}\n#[cfg(test)]\nmod tests;\nuse crate::set;\n\
                #[cfg(test)]\nmod more {\n    use crate::source;\n    fn h() {\n    }\n}\nmod child;\nfn i() { child::j() }\nuse crate::chunk;";
    let others =
        ["error", "id", "ops", "store", "store::deep", "set", "source", "chunk", "comment", "a::up", "a::b::child"];
    let mut files: BTreeMap<Module, String> = others.iter().map(|name| file(name, "")).collect();
    files.extend([file("a::b", text)]);
    let used: Vec<String> = uses(&files)[&file("a::b", "").0].iter().map(|module| module.join("::")).collect();
    assert_eq!(used, ["a::b::child", "a::up", "chunk", "error", "id", "ops", "set", "store", "store::deep"]);
    files.extend([file("store::deep", "use crate::a::b;")]);
    assert!(reaches(&uses(&files), &file("a::b", "").0).contains(&file("a::b", "").0));
}

#[test]
fn words_of_the_command_line_are_found_in_every_form() {
    for text in ["use --force", "(--force)", "`--keep-sets 3`", "`lrl restore --undo`", "see lrl.toml", "LRL_KEY_FILE"]
    {
        assert!(command_line(&format!("let text = \"{text}\";")).is_some(), "{text}");
    }
    for text in ["a--b", "---", "-- a comment in SQL", "what another lrl does", "lrl store format 1: head"] {
        assert_eq!(command_line(&format!("let text = \"{text}\";")), None);
    }
}
