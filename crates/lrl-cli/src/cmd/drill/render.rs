//! What the manual prints about drills, line for line, and what else there is to say.

use std::time::Duration;

use lrl_store::ops::drill::past_drills::Shrunk;
use lrl_store::ops::drill::{Check, Report, Verification};
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::render::units;
use crate::term::{Colour, Term};

/// Prints the checks of one set or snapshot.
pub fn report(context: &Context<'_>, report: &Report) {
    let term = context.term;
    if let Some(timestamp) = &report.timestamp {
        term.say(format!("Backup timestamp: {}", units::safe(timestamp)));
        term.say(format!("Backups to verify: {}", report.verifications.len()));
    }
    term.say("");
    for error in &report.errors {
        term.say(format!("  [{}] {}", term.paint(Colour::Red, "FAIL"), units::safe(error)));
    }
    if !report.errors.is_empty() {
        term.say("");
    }
    for found in &report.verifications {
        term.say(format!("Verifying {}: {}", units::safe(&found.kind), units::safe(&found.name)));
        if let Some(error) = &found.error {
            term.say(format!("  [{}] {}", term.paint(Colour::Red, "FAIL"), units::safe(error)));
        }
        found.checks.iter().flat_map(|check| lines(term, check)).for_each(|line| term.say(line));
        term.say("");
    }
}

fn lines(term: &Term, check: &Check) -> Vec<String> {
    let status = match check.passed {
        _ if check.skipped => term.paint(Colour::Yellow, "SKIP"),
        true => term.paint(Colour::Green, "PASS"),
        false => term.paint(Colour::Red, "FAIL"),
    };
    // A line of the manual stays as it is there; what else there is to say stands beneath.
    let own = matches!(
        check.name,
        "integrity_check" | "foreign_keys" | "asset_rows" | "rows" | "matches_snapshot" | "assertion"
    );
    let (beside, beneath) = match &check.note {
        Some(note) if own => (format!(" ({})", units::safe(note)), None),
        note => (String::new(), note.as_deref()),
    };
    let mut lines = vec![format!("  [{status}] {}{beside}", check.name)];
    let findings = findings(check);
    let beneath =
        check.error.as_deref().into_iter().chain(beneath).map(|text| format!("         {}", units::safe(text)));
    lines.extend(beneath);
    lines.extend(findings.map(|text| format!("         - {}", units::safe(text))));
    lines
}

/// What a check that failed found, one by one.
fn findings(check: &Check) -> impl Iterator<Item = &str> {
    let findings = check.facts.get("findings").filter(|_| !check.passed).and_then(Value::as_array);
    findings.into_iter().flatten().filter_map(Value::as_str)
}

/// Warns of what is no failure but wants a look; with `--quiet` of what failed too, because the checks' lines are not there.
pub fn warnings(context: &Context<'_>, report: &Report, asserts: bool) {
    let term = context.term;
    if context.cli.global.quiet && !context.term.is_json() {
        complaints(report).for_each(|text| term.warn(text));
    }
    let of = report.timestamp.as_deref().unwrap_or_default();
    if let (false, Some(_), Some(name)) = (report.success, &report.manifest, &report.snapshot) {
        let id = name.id.short();
        term.note(format!(
            "the set of {} fails; its snapshot {id} may be whole: `lrl drill --snapshot {id}` proves it, and makes it good if so. Then `lrl restore {id}` restores it, \
             `lrl export {id} --out DIR` writes this set again, and `lrl backup` writes a new one",
            units::safe(of)
        ));
    }
    if asserts && report.verifications.iter().all(|found| found.kind != "database") {
        term.note(format!("{}: there is no database, so nothing was asserted", units::safe(of)));
    }
    let before = report.before.as_ref().map(|before| before.timestamp.as_str()).unwrap_or_default();
    for Shrunk { database, table, rows, rows_before } in report.shrunk() {
        let database = database.map(|path| format!(" of {}", units::safe(&path))).unwrap_or_default();
        term.warn(format!(
            "{of}: the table {table}{database} has {rows} rows, it had {rows_before} in {before}, which was drilled before it"
        ));
    }
}

/// Findings of one check that are shown with `--quiet`.
const FINDINGS: usize = 5;

fn complaints(report: &Report) -> impl Iterator<Item = String> {
    let wrong = |found: &Verification| {
        let failed = found.checks.iter().filter(|check| !check.passed);
        let failed = failed.flat_map(|check| {
            let error = format!("{}: {}", check.name, check.error.as_deref().unwrap_or("failed"));
            let found = findings(check).take(FINDINGS).map(|text| format!("{}: {text}", check.name));
            std::iter::once(error).chain(found)
        });
        found.error.iter().cloned().chain(failed).map(|text| format!("{}: {text}", found.file)).collect::<Vec<_>>()
    };
    report.errors.iter().cloned().chain(report.verifications.iter().flat_map(wrong))
}

/// Prints the manual's closing lines.
pub fn verdict(term: &Term, success: bool, errors: &[&String]) {
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

/// One JSON object for each file, with the manifest or snapshot that it belongs to.
pub fn verifications(report: &Report) -> impl Iterator<Item = Value> {
    report.verifications.iter().filter_map(|found| {
        let mut value = serde_json::to_value(found).ok()?;
        let owner = match (&report.manifest, &report.snapshot) {
            (Some(manifest), _) => Some(("manifest", manifest.display().to_string())),
            (None, Some(name)) => Some(("snapshot", name.id.to_string())),
            (None, None) => None,
        };
        if let (Some((key, owner)), Some(object)) = (owner, value.as_object_mut()) {
            object.insert(key.into(), owner.into());
        }
        Some(value)
    })
}

/// What stays of one drill when the next begins.
#[derive(Serialize)]
pub struct DrillOutcome {
    manifest: Option<String>,
    snapshot: Option<String>,
    timestamp: Option<String>,
    pub success: bool,
    seconds: f64,
    restore_seconds: Option<f64>,
    age_seconds: Option<u64>,
    before: Option<String>,
    shrunk: Vec<Shrunk>,
    #[serde(skip)]
    pub missing: bool,
    #[serde(skip)]
    pub errors: Vec<String>,
}

impl DrillOutcome {
    pub fn of(report: Report, now: i64) -> Self {
        Self {
            manifest: report.manifest.as_ref().map(|path| path.display().to_string()),
            snapshot: report.snapshot.as_ref().map(|name| name.id.to_string()),
            success: report.success,
            seconds: report.seconds,
            restore_seconds: report.restore_seconds(),
            age_seconds: report.age_seconds(now),
            before: report.before.as_ref().map(|before| before.timestamp.clone()),
            shrunk: report.shrunk(),
            missing: report.missing,
            timestamp: report.timestamp,
            errors: report.errors,
        }
    }

    /// Says what it came to, in one line.
    pub fn line(&self) -> String {
        let name = self.timestamp.as_ref().or(self.snapshot.as_ref()).or(self.manifest.as_ref());
        let mut text = format!(
            "{}: {}",
            units::safe(name.map_or("", |name| name)),
            if self.success { "passed" } else { "FAILED" }
        );
        if let Some(seconds) = self.restore_seconds {
            text.push_str(&format!("; the data came back in {seconds:.1} s"));
        }
        if let Some(age) = self.age_seconds {
            text.push_str(&format!("; it is {} old", units::duration(Duration::from_secs(age))));
        }
        text
    }
}
