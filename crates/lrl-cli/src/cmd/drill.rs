//! `lrl drill`: proof that sets or a snapshot can be restored, and what the manual prints about it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lrl_store::error::Error;
use lrl_store::ops::backup::time_of;
use lrl_store::ops::drill::{self, Check, Options, Report, Verification};
use lrl_store::ops::select::Need;
use lrl_store::set::found::manifests;
use lrl_store::store::Store;
use serde_json::{Value, json};

use super::{Context, store};
use crate::args::DrillArgs;
use crate::exit::{Exit, Result};
use crate::render::units;
use crate::resolve::{self, Paths};
use crate::term::Colour;

const PROGRAM: &str = concat!("lrl ", env!("CARGO_PKG_VERSION"));

/// Drills the manifests that are named, else the newest in the backup directory, or a snapshot.
pub fn run(context: &Context<'_>, args: &DrillArgs) -> Result {
    let paths = context.paths()?;
    let rule = "=".repeat(60);
    if let Some(wanted) = &args.snapshot {
        let store = store::open(context, &paths)?;
        let (name, snapshot) = store::select(context, &store, wanted, Need::default())?;
        context.term.say(format!("{rule}\nLittle Research Lab: Restore Drill\n{rule}\n"));
        context.term.say(format!("Using snapshot: {} of {}", name.id.short(), name.source));
        let options = options(args, Ok(&store));
        let report = drill::drill_snapshot(&store, &name, &snapshot, &options, context.term)?;
        render_set(context, &report);
        record(context, Ok(&store), &report);
        return end(context, &[report]);
    }
    let wanted = if args.manifest.is_empty() {
        let newest = found(context, &paths)?.into_iter().rfind(|path| path.is_file());
        let Some(newest) = newest else { return none(context, &paths, &rule) };
        vec![newest]
    } else {
        args.manifest.clone()
    };
    context.term.say(format!("{rule}\nLittle Research Lab: Restore Drill\n{rule}\n"));
    let mut stores = Stores { context, paths: &paths, open: None };
    let mut reports = Vec::with_capacity(wanted.len());
    for manifest in wanted {
        context.term.say(format!("Using manifest: {}", units::safe(&manifest.display().to_string())));
        let (store, is_its_own) = stores.of(&manifest)?;
        let report = drill::drill_set(&manifest, &options(args, store.clone()), context.term)?;
        render_set(context, &report);
        if is_its_own || report.snapshot.is_some() {
            record(context, store, &report);
        } else {
            context.term.note("the drill is not recorded: the set does not belong to the store");
        }
        reports.push(report);
    }
    end(context, &reports)
}

/// Lists the manifests of the backup directory. The shape of the document stays where there is no directory.
fn found(context: &Context<'_>, paths: &Paths) -> Result<Vec<PathBuf>> {
    let found = manifests(&paths.backup_dir);
    if let (Err(error @ Error::NoStore { .. }), true) = (&found, context.term.is_json()) {
        let errors = [error.to_string()];
        context.term.json(&json!({ "success": false, "verifications": [], "errors": errors, "sets": [] }))?;
    }
    Ok(found?)
}

fn options<'a>(args: &DrillArgs, store: Result<&'a Store, String>) -> Options<'a> {
    Options { temp: std::env::temp_dir(), required_tables: args.require_table.clone(), store }
}

/// The store beside a manifest, opened once for all manifests that share it.
struct Stores<'a> {
    context: &'a Context<'a>,
    paths: &'a Paths,
    open: Option<(PathBuf, Result<Store, String>)>,
}

impl Stores<'_> {
    /// Returns the store, or why there is none: a set can be drilled without, and only an interruption is an error. Says also
    /// whether the store is the set's own: beside it, or named.
    fn of(&mut self, manifest: &Path) -> Result<(Result<&Store, String>, bool)> {
        let beside = resolve::default_store(manifest.parent().unwrap_or(Path::new("")));
        let named = self.context.cli.global.store.is_some();
        let is_beside = !named && beside.join("config").is_file();
        let path = if is_beside { beside } else { self.paths.store.clone() };
        if self.open.as_ref().is_none_or(|(open, _)| *open != path) {
            // A second store is not opened before the first has given its lock back.
            self.open = None;
            let store = match store::open_at(self.context, &path) {
                Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
                Err(Error::NoStore { .. }) => Err("there is no store beside it".into()),
                other => other.map_err(|error| error.to_string()),
            };
            self.open = Some((path, store));
        }
        let store = match &self.open {
            Some((_, Ok(store))) => Ok(store),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err("there is no store beside it".into()),
        };
        let is_its_own = named || is_beside || store.is_err();
        Ok((store, is_its_own))
    }
}

fn none(context: &Context<'_>, paths: &Paths, rule: &str) -> Result {
    let error = format!("No manifest found in {}", paths.backup_dir.display());
    context.term.say(format!("{rule}\nLittle Research Lab: Restore Drill\n{rule}\n"));
    if context.term.is_json() {
        context.term.json(&json!({ "success": false, "verifications": [], "errors": [error], "sets": [] }))?;
    } else {
        verdict(context, false, std::slice::from_ref(&error));
        if context.cli.global.quiet {
            context.term.warn(error);
        }
        context.term.note("`lrl backup` makes a set; --backup DIR names another directory");
    }
    Ok(Exit::Failed)
}

fn render_set(context: &Context<'_>, report: &Report) {
    let term = context.term;
    if let Some(timestamp) = &report.timestamp {
        term.say(format!("Backup timestamp: {}", units::safe(timestamp)));
        term.say(format!("Backups to verify: {}", report.verifications.len()));
    }
    term.say("");
    for found in &report.verifications {
        term.say(format!("Verifying {}: {}", units::safe(&found.kind), units::safe(&found.name)));
        if let Some(error) = &found.error {
            term.say(format!("  [{}] {}", term.paint(Colour::Red, "FAIL"), units::safe(error)));
        }
        for check in &found.checks {
            for line in lines(context, check) {
                term.say(line);
            }
        }
        term.say("");
    }
}

fn lines(context: &Context<'_>, check: &Check) -> Vec<String> {
    let status = match check.passed {
        true => context.term.paint(Colour::Green, "PASS"),
        false => context.term.paint(Colour::Red, "FAIL"),
    };
    // A line of the manual stays as it is there; what else there is to say stands beneath.
    let own = matches!(check.name, "integrity_check" | "foreign_keys" | "asset_rows" | "matches_snapshot");
    let (beside, beneath) = match &check.note {
        Some(note) if own => (format!(" ({})", units::safe(note)), None),
        note => (String::new(), note.as_deref()),
    };
    let mut lines = vec![format!("  [{status}] {}{beside}", check.name)];
    let findings = check.facts.get("findings").and_then(Value::as_array).into_iter().flatten();
    let beneath =
        check.error.as_deref().into_iter().chain(beneath).map(|text| format!("         {}", units::safe(text)));
    lines.extend(beneath);
    lines.extend(findings.filter_map(Value::as_str).map(|text| format!("         - {}", units::safe(text))));
    lines
}

/// Prints the manual's closing lines.
fn verdict(context: &Context<'_>, success: bool, errors: &[String]) {
    let term = context.term;
    term.say("=".repeat(60));
    if success {
        term.say("RESTORE DRILL PASSED: All backups verified successfully!");
        return;
    }
    term.say("RESTORE DRILL FAILED: Some verifications failed.");
    if !errors.is_empty() {
        term.say("\nErrors:");
        for error in errors {
            term.say(format!("  - {}", units::safe(error)));
        }
    }
}

fn end(context: &Context<'_>, reports: &[Report]) -> Result {
    let term = context.term;
    let success = reports.iter().all(|report| report.success);
    let errors: Vec<String> = reports.iter().flat_map(|report| report.errors.iter().cloned()).collect();
    if term.is_json() {
        term.json(&json!({
            "success": success,
            "verifications": reports.iter().flat_map(verifications).collect::<Vec<_>>(),
            "errors": errors,
            "sets": reports.iter().map(|report| json!({
                "manifest": report.manifest.as_ref().map(|path| path.display().to_string()),
                "snapshot": report.snapshot.as_ref().map(|(id, _)| id.to_string()),
                "timestamp": report.timestamp,
                "success": report.success,
                "seconds": report.seconds,
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        verdict(context, success, &errors);
        if context.cli.global.quiet {
            reports.iter().for_each(|report| complain(context, report));
        }
    }
    let damaged = reports.iter().any(|report| !report.success && !report.missing);
    Ok(match (success, damaged) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Wrong,
        (false, false) => Exit::Failed,
    })
}

/// One JSON object for each file, with the manifest that it belongs to.
fn verifications(report: &Report) -> impl Iterator<Item = Value> {
    report.verifications.iter().filter_map(|found| {
        let mut value = serde_json::to_value(found).ok()?;
        if let (Some(manifest), Some(object)) = (&report.manifest, value.as_object_mut()) {
            object.insert("manifest".into(), manifest.display().to_string().into());
        }
        Some(value)
    })
}

/// With `--quiet` the verdict's lines are not there, but what is wrong is.
fn complain(context: &Context<'_>, report: &Report) {
    let wrong = |found: &Verification| {
        let failed = found.checks.iter().filter(|check| !check.passed);
        let failed = failed.map(|check| format!("{}: {}", check.name, check.error.as_deref().unwrap_or("failed")));
        found.error.iter().cloned().chain(failed).map(|text| format!("{}: {text}", found.file)).collect::<Vec<_>>()
    };
    for text in report.errors.iter().cloned().chain(report.verifications.iter().flat_map(wrong)) {
        context.term.warn(text);
    }
}

/// Writes the drill's record where there is a store that can be written; a drill is none the worse without.
fn record(context: &Context<'_>, store: Result<&Store, String>, report: &Report) {
    let store = match store {
        Ok(store) if store.is_locked() => store,
        Ok(_) => return context.term.note("the drill is not recorded: the store cannot be written"),
        Err(why) => return context.term.note(format!("the drill is not recorded: {why}")),
    };
    let record = report.record(&context.cli.global.source, time_of(SystemTime::now()), PROGRAM);
    if let Err(error) = store.add_drill(&record) {
        context.term.note(format!("the drill is not recorded: {error}"));
    }
}
