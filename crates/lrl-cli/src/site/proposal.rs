//! A proposed `lrl.toml`: what was found, as rules with comments. Names come from strangers: all of them are escaped.

use std::fmt::{Display, Write};

use lrl_store::source::files::include::Includes;
use lrl_store::units::size;

use super::expand::{self, quoted};
use super::fitting::Fitted;
use super::found::{FoundDatabase, Heap, Scan};
use super::preset::Preset;
use super::rules::{DatabaseRule, FilesRule, Place, literal};
use crate::render::units;

/// Patterns of secrets that any application may have.
pub const SECRETS: [&str; 7] = ["*.pem", "*.key", ".env", "*.env", "master.key", "app.ini", "rsa_key*"];

/// Of what is only mentioned in comments, up to this number is.
const MENTIONED: usize = 20;
/// Databases without a preset get a table of their own up to this number.
const TABLES: usize = 8;

/// What is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// The preset that it is made from.
    pub app: Option<&'static Preset>,
    /// What that was recognised by; none if somebody named it.
    pub by: Vec<String>,
    /// What was found.
    pub scan: &'a Scan,
    /// The preset's checks.
    pub checks: Vec<Fitted>,
    /// What to look at besides, for people.
    pub notes: Vec<String>,
}

fn rules_of(app: Option<&Preset>) -> impl Iterator<Item = &FilesRule> {
    app.and_then(|app| app.tables.files.as_ref()).into_iter().flatten()
}

fn secrets_of(app: Option<&Preset>) -> Vec<String> {
    rules_of(app).flat_map(|rule| rule.secret.iter().cloned()).collect()
}

/// Returns the patterns that a look needs for a preset: what it leaves out, and its secrets with the general ones.
pub fn patterns(app: Option<&Preset>) -> (Vec<String>, Vec<String>) {
    let exclude = rules_of(app).flat_map(|rule| rule.exclude.iter().cloned()).collect();
    let mut secret = secrets_of(app);
    for general in SECRETS {
        if !secret.iter().any(|known| known == general) {
            secret.push(general.into());
        }
    }
    (exclude, secret)
}

impl Proposal<'_> {
    /// Returns the rules for databases: the preset's, else one for each that was found, if these are few.
    pub fn databases(&self) -> Vec<DatabaseRule> {
        if let Some(rules) = self.app.and_then(|app| app.tables.databases.clone()) {
            return rules;
        }
        let found = &self.scan.databases;
        let paths: Option<Vec<String>> =
            found.items.iter().map(|one| String::from_utf8(one.path.clone()).ok()).collect();
        let paths = paths.filter(|_| found.count() <= TABLES as u64).unwrap_or_default();
        paths.into_iter().map(|path| DatabaseRule { place: Place::Path(path), require_tables: Vec::new() }).collect()
    }

    /// Returns the patterns of secrets: the preset's, and general ones that cover something.
    pub fn secrets(&self) -> Vec<String> {
        let of_app = secrets_of(self.app).len();
        let covers = |n: usize| self.scan.secrets.get(n).is_some_and(|found| found.count() > 0);
        let wanted = |(n, _): &(usize, String)| *n < of_app || covers(*n);
        patterns(self.app).1.into_iter().enumerate().filter(wanted).map(|(_, pattern)| pattern).collect()
    }

    /// Returns the text of the file.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.database_tables(&mut out);
        self.files_table(&mut out);
        self.to_look_at(&mut out);
        for Fitted { check, unfit } in &self.checks {
            out.push('\n');
            let text = expand::check(check);
            match unfit {
                None => out.push_str(&text),
                Some(reason) => {
                    comment(&mut out, format!("This check does not fit the database: {reason}"));
                    text.lines().for_each(|line| comment(&mut out, line));
                }
            }
        }
        out
    }

    fn head(&self, out: &mut String) {
        let scan = self.scan;
        match self.app {
            Some(app) => {
                comment(
                    out,
                    format!("{}, by the preset {:?}, which was read from {}.", app.title, app.name, app.read_from),
                );
                if !self.by.is_empty() {
                    comment(out, format!("Recognised by {}.", self.by.join(", ")));
                }
            }
            None => {
                comment(out, "No application was recognised: `lrl setup --list-apps` shows those that have a preset.")
            }
        }
        let bytes = scan.databases.items.iter().map(|one| one.size_bytes).sum();
        comment(
            out,
            format!(
                "Found {} ({}) and {} ({}) in {}.",
                units::count(scan.databases.count(), "database"),
                size(bytes),
                units::count(scan.files, "file"),
                size(scan.bytes),
                directories(scan.directories)
            ),
        );
        out.push_str("\n# Relative to the directory of this file.\nroot = \".\"\n");
        if let Some(app) = self.app {
            let _ = writeln!(out, "app = {}", quoted(&app.name));
            if !app.plain.is_empty() {
                let _ = writeln!(out, "plain = {}", expand::list(&app.plain));
            }
        }
    }

    fn database_tables(&self, out: &mut String) {
        let found = &self.scan.databases.items;
        let mut shown = vec![false; found.len()];
        for rule in self.databases() {
            out.push('\n');
            let mut is_there = false;
            for (one, shown) in found.iter().zip(&mut shown).filter(|(one, _)| covers(&rule.place, &one.path)) {
                comment(out, described(one));
                (*shown, is_there) = (true, true);
            }
            if !is_there {
                comment(out, "not found now");
            }
            out.push_str(&expand::database(&rule));
        }
        let others: Vec<String> =
            found.iter().zip(&shown).filter(|(_, shown)| !**shown).map(|(one, _)| described(one)).collect();
        mention(
            out,
            "Other databases; all of them are copied under SQLite's locks, without being named here:",
            others,
            self.scan.databases.more,
        );
    }

    fn files_table(&self, out: &mut String) {
        let rules = self.app.and_then(|app| app.tables.files.clone()).unwrap_or_default();
        out.push_str(
            "\n# What is stored as files. `exclude` and `secret` are patterns in gitignore syntax.\n[[files]]\n",
        );
        match rules.first().map(|rule| &rule.place) {
            Some(Place::Pattern(pattern)) => _ = writeln!(out, "pattern = {}", quoted(pattern)),
            Some(Place::Path(path)) => _ = writeln!(out, "path = {}", quoted(path)),
            None => out.push_str("path = \".\"\n"),
        }
        self.excludes(out);
        let secrets = self.secrets();
        if !secrets.is_empty() {
            out.push_str("# Restored so that only their owner can read them. Sets are not encrypted: keep these files in mind.\n");
            let _ = writeln!(out, "secret = {}", expand::list(&secrets));
            let found: Vec<String> =
                self.scan.secrets.iter().flat_map(|list| &list.items).map(|path| units::path(path)).collect();
            let more = self.scan.secrets.iter().map(|list| list.more).sum();
            mention(out, "Found:", found, more);
        }
        for rule in rules.iter().skip(1) {
            out.extend(["\n", &expand::files(rule)]);
        }
    }

    fn excludes(&self, out: &mut String) {
        let (excluded, caches) = (&self.scan.excluded, &self.scan.caches);
        if excluded.is_empty() && caches.items.is_empty() && self.scan.own.is_empty() {
            return;
        }
        out.push_str("exclude = [\n");
        if !self.scan.own.is_empty() {
            out.push_str("    # Backups and stores of lrl itself:\n");
            self.scan.own.iter().for_each(|pattern| _ = writeln!(out, "    {},", quoted(pattern)));
        }
        for heap in excluded {
            let found = if heap.files == 0 { "not found now".into() } else { amount(heap) };
            let _ = writeln!(out, "    {},  # {found}", quoted(&heap.pattern));
        }
        if !caches.items.is_empty() {
            out.push_str(
                "    # These look as if they could be made again. Nothing is left out because of its name alone:\n",
            );
            for heap in caches.items.iter().take(MENTIONED) {
                let _ = writeln!(out, "    # {},  # {}", quoted(&literal(&heap.pattern)), amount(heap));
            }
            let more = caches.more + caches.items.len().saturating_sub(MENTIONED) as u64;
            if more > 0 {
                let _ = writeln!(out, "    # and {more} more");
            }
        }
        out.push_str("]\n");
    }

    fn to_look_at(&self, out: &mut String) {
        let mut lines = self.notes.clone();
        lines.extend(self.app.iter().flat_map(|app| app.notes.iter().cloned()));
        let name = |path: &[u8]| units::path(path);
        let out_of = &self.scan.links_out;
        for link in out_of.items.iter().take(MENTIONED) {
            let (path, target) = (name(&link.path), name(&link.target));
            lines.push(format!("{path} is a link to {target}, out of this directory: only the link is stored"));
        }
        let more = out_of.more + out_of.items.len().saturating_sub(MENTIONED) as u64;
        if more > 0 {
            lines.push(format!("{} out of this directory", units::count(more, "more link")));
        }
        let odd = &self.scan.oddities;
        lines.extend(odd.items.iter().take(MENTIONED).map(|one| format!("{} {}", name(&one.path), one.reason)));
        let more = odd.more + odd.items.len().saturating_sub(MENTIONED) as u64;
        if more > 0 {
            lines.push(format!("{} could not be looked at, or hold no data", units::count(more, "more name")));
        }
        mention_all(out, "To look at:", lines);
    }
}

/// Returns whether a rule's place is, or matches, a path.
pub fn covers(place: &Place, path: &[u8]) -> bool {
    match place {
        Place::Path(text) => text.as_bytes() == path,
        Place::Pattern(text) => {
            Includes::new(std::slice::from_ref(text)).is_ok_and(|pattern| pattern.wants(path, false))
        }
    }
}

/// Describes a database in one line.
fn described(one: &FoundDatabase) -> String {
    let mode = if one.is_wal { "WAL" } else { "rollback journal" };
    let wal = if one.wal_bytes > 0 { format!(" of {}", size(one.wal_bytes)) } else { String::new() };
    format!(
        "{}: {}, pages of {}, {mode}{wal}",
        units::path(&one.path),
        size(one.size_bytes),
        size(one.page_size.into())
    )
}

fn amount(heap: &Heap) -> String {
    format!("{} in {}", size(heap.bytes), units::count(heap.files, "file"))
}

fn directories(count: u64) -> String {
    if count == 1 { "1 directory".into() } else { format!("{count} directories") }
}

fn comment(out: &mut String, text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(out, "# {}", units::safe(&text));
}

fn mention(out: &mut String, head: &str, mut lines: Vec<String>, more: u64) {
    let more = more + lines.len().saturating_sub(MENTIONED) as u64;
    lines.truncate(MENTIONED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    mention_all(out, head, lines);
}

fn mention_all(out: &mut String, head: &str, lines: Vec<String>) {
    if !lines.is_empty() {
        out.push('\n');
        comment(out, head);
        lines.iter().for_each(|line| comment(out, format!("  {line}")));
    }
}
