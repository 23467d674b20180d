//! What the engine offers to a program that embeds it: the list of its public items, and what each of them must say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::common::repository;
use crate::layers::{Module, modules, paths};

const ROOT: &str = "crates/lrl-store/src";
/// A program that embeds the engine has to learn no more than this.
const MOST_ITEMS: usize = 120;
const KINDS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];

/// An item that `lib.rs` lists: the path under which it is public, and where it comes from.
#[derive(Debug)]
struct Listed {
    public: String,
    from: Vec<String>,
}

/// Returns what `lib.rs` lists, from its code without comments; a line in `wrong` for what lists more than it names.
fn listed(lib: &str, wrong: &mut Vec<String>) -> Vec<Listed> {
    let mut modules: Vec<String> = Vec::new();
    let mut items = Vec::new();
    let mut lines = lib.lines().map(str::trim);
    let mut is_hidden = false;
    while let Some(line) = lines.next() {
        if line == "#[doc(hidden)]" {
            is_hidden = true;
            continue;
        }
        if line == "}" {
            modules.pop();
        }
        let hidden = std::mem::take(&mut is_hidden);
        let Some(public) = line.strip_prefix("pub ").filter(|_| !hidden) else { continue };
        if let Some(module) = public.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            modules.push(module.into());
        } else if let Some(tree) = public.strip_prefix("use ") {
            let mut tree = tree.to_string();
            while !tree.ends_with(';') {
                tree.extend([" ", lines.next().unwrap()]);
            }
            for mut from in paths(tree.trim_end_matches(';')) {
                let name = from.last().unwrap().clone();
                if name == "*" || tree.contains(" as ") {
                    wrong.push(format!("lib.rs: `{tree}` does not name what it lists"));
                }
                if from[0] == "crate" {
                    from.remove(0);
                }
                let public = [modules.as_slice(), &[name]].concat().join("::");
                items.push(Listed { public, from });
            }
        } else {
            wrong.push(format!("lib.rs: `{line}` is neither hidden nor a `pub use` nor a module of them"));
        }
    }
    items
}

/// Returns the declaration in one line, without its doc comment, and the doc comment and attributes before it.
fn declared(text: &str, is_it: impl Fn(&str) -> bool) -> Option<(String, Vec<&str>)> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| is_it(line))?;
    let end = (at..lines.len()).find(|end| lines[*end].ends_with(['{', ';', '}']))?;
    let before = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with(['/', '#']));
    Some((lines[at..=end].join(" "), before.copied().collect()))
}

/// Returns the kind of an item and the module that declares it: a module may only hand it on.
fn resolve(files: &BTreeMap<Module, String>, from: &[String]) -> Option<(&'static str, Module)> {
    let (name, module) = from.split_last()?;
    let code = files.get(module)?;
    // `id_type!` declares a struct whose name stands alone in its line.
    let is_id = code.contains("id_type!") && code.lines().any(|line| line.trim() == name);
    let by_name = KINDS.iter().find(|kind| code.lines().any(|line| is_declared(line, kind, name)));
    let kind = by_name.or(is_id.then_some(&"struct"));
    if let Some(kind) = kind {
        return Some((kind, module.to_vec()));
    }
    let handed_on = code.split(';').filter_map(|statement| statement.rsplit_once("pub use "));
    let path = handed_on.flat_map(|(_, tree)| paths(tree)).find(|path| path.last() == Some(name))?;
    let absolute = match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        "super" => [&module[..module.len() - 1], &path[1..]].concat(),
        _ => [module, &path].concat(),
    };
    resolve(files, &absolute)
}

fn is_declared(line: &str, kind: &str, name: &str) -> bool {
    let rest =
        line.strip_prefix("pub ").and_then(|rest| rest.strip_prefix(kind)?.strip_prefix(' ')?.strip_prefix(name));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn text_of(module: &[String]) -> String {
    let path = repository().join(ROOT).join(module.join("/"));
    fs::read_to_string(path.with_extension("rs")).or_else(|_| fs::read_to_string(path.join("mod.rs"))).unwrap()
}

/// Returns the methods of a type that its page shows, each with its declaration and what stands before it.
fn methods<'t>(text: &'t str, name: &str) -> Vec<(String, Vec<&'t str>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\nimpl") {
        let block = &rest[at + 1..];
        let (head, _) = block.split_once('\n').unwrap();
        let block = &block[..block.find("\n}").unwrap_or(block.len())];
        rest = &rest[at + 1 + head.len()..];
        let of = head.trim_start_matches("impl").trim_start_matches("<'_>").trim_start_matches("<'a>").trim();
        let of = of.trim_end_matches(" {");
        if of.split('<').next() != Some(name) || of.contains(" for ") {
            continue;
        }
        let mut lines = block;
        while let Some(at) = lines.find("\n    pub fn ") {
            let (before, after) = lines.split_at(at + 1);
            let (declaration, _) = declared(after, |line| line.starts_with("    pub fn ")).unwrap();
            let before = before.lines().rev().take_while(|line| line.trim_start().starts_with(['/', '#']));
            let before: Vec<&str> = before.collect();
            if !before.iter().any(|line| line.contains("doc(hidden)")) {
                found.push((declaration, before));
            }
            lines = &after[1..];
        }
    }
    found
}

fn is_fallible(declaration: &str) -> bool {
    declaration.rsplit_once("->").is_some_and(|(_, result)| result.trim_start().starts_with("Result<"))
}

#[test]
fn the_public_items_are_the_ones_on_the_list() {
    let files = modules(ROOT);
    let mut wrong = Vec::new();
    let items = listed(&files[&Module::new()], &mut wrong);
    let mut lines = BTreeSet::new();
    for Listed { public, from } in &items {
        match resolve(&files, from) {
            Some((kind, _)) => {
                lines.insert(format!("{public} {kind}\n"));
            }
            None => wrong.push(format!("{public}: nothing declares {}", from.join("::"))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let found: String = lines.into_iter().collect();
    let path = repository().join("tests/testdata/api.txt");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "the public items of lrl-store changed. If they should: UPDATE_DOCS=1 cargo test -p lrl-cli --test e2e api"
    );
    assert!(items.len() <= MOST_ITEMS, "{} public items, more than {MOST_ITEMS}", items.len());
}

#[test]
fn public_functions_say_how_they_fail_and_reports_must_be_looked_at() {
    let files = modules(ROOT);
    let mut wrong = Vec::new();
    for Listed { public, from } in listed(&files[&Module::new()], &mut Vec::new()) {
        let Some((kind, module)) = resolve(&files, &from) else { continue };
        let name = from.last().unwrap();
        let text = text_of(&module);
        let (declaration, before) = declared(&text, |line| is_declared(line, kind, name)).unwrap_or_default();
        let mut check = |what: &str, declaration: &str, before: &[&str]| {
            if is_fallible(declaration) && !before.iter().any(|line| line.trim() == "/// # Errors") {
                wrong.push(format!("{what} has no `# Errors`"));
            }
        };
        if kind == "fn" {
            check(&public, &declaration, &before);
        }
        let has = |attribute: &str| before.iter().any(|line| line.starts_with(attribute));
        // A store has its methods in several files.
        let texts =
            if name == "Store" { files.keys().map(|module| text_of_any(module)).collect() } else { vec![text.clone()] };
        for (declaration, before) in texts.iter().flat_map(|text| methods(text, name)) {
            check(&format!("{public}: {}", declaration.trim()), &declaration, &before);
        }
        if (name.ends_with("Options") || name == "Policy" || name == "Limits") && !has("#[non_exhaustive]") {
            wrong.push(format!("{public} is not #[non_exhaustive]: no option could be added"));
        }
        if name == "Report" && !(has("#[must_use") && has("#[non_exhaustive]")) {
            wrong.push(format!("{public} is not #[must_use] and #[non_exhaustive]: what failed could be overlooked"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn text_of_any(module: &[String]) -> String {
    if module.is_empty() { String::new() } else { text_of(module) }
}

#[test]
fn the_reader_of_lib_rs_sees_what_is_listed() {
    let lib = "#[doc(hidden)]\npub mod ops;\npub use a::{B, c};\npub mod verb {\n    pub use crate::ops::x::{\n        Options,\n        run,\n    };\n    \
               pub mod deep {\n        pub use crate::y::Z;\n    }\n}\n#[doc(hidden)]\npub use q::R;\npub use s::T;\n";
    let mut wrong = Vec::new();
    let names: Vec<String> = listed(lib, &mut wrong).into_iter().map(|item| item.public).collect();
    assert_eq!(names, ["B", "c", "verb::Options", "verb::run", "verb::deep::Z", "T"]);
    assert!(wrong.is_empty(), "{wrong:?}");
    let _ = listed("pub mod ops;\npub use a::*;\npub use a::b as c;\npub fn f() {}\n", &mut wrong);
    assert_eq!(wrong.len(), 4, "{wrong:?}");
}

#[test]
fn the_reader_of_methods_sees_a_fallible_one_without_its_errors() {
    let text = "\nimpl A {\n    /// Does.\n    pub fn a(&self) -> Result<u8> {\n    }\n\n    /// Does.\n    ///\n    /// # Errors\n    /// None.\n    pub fn b(\n        \
                &self,\n    ) -> Result<()> {\n    }\n\n    #[doc(hidden)]\n    pub fn c(&self) -> Result<()> {\n    }\n}\n\nimpl<'a> Ab<'a> {\n    pub fn d() {}\n}\n";
    let found = methods(text, "A");
    let silent: Vec<bool> =
        found.iter().map(|(_, before)| !before.iter().any(|line| line.contains("# Errors"))).collect();
    assert_eq!(silent, [true, false]);
    assert!(found.iter().all(|(declaration, _)| is_fallible(declaration)), "{found:?}");
    assert_eq!(methods(text, "Ab").len(), 1);
}
