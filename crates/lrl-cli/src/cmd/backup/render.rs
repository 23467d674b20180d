//! Tells what a backup did: the lines of the manual, notes, one document for `--json`.

use std::path::PathBuf;
use std::time::Duration;

use lrl_store::format::snapshot::{Database, Shrink, THE_DATABASE};
use lrl_store::ops::backup::{DatabaseOutput, Distrust, FullScan, Options, Report, SetOutput, Sets};
use lrl_store::ops::judgement::judge;
use lrl_store::source::database::{HeldFor, Method};
use serde::Serialize;

use super::sets;
use crate::cmd::backup::copy_to::Second;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::hint;
use crate::render::{entry, units};
use crate::resolve::Paths;

/// The application's users notice a lock that is held for longer.
pub(super) const LONG_LOCK: Duration = Duration::from_secs(4);

/// The worse of the two ends counts.
pub(super) fn with_second(exit: Exit, second: Option<&Second>) -> Exit {
    second.map_or(exit, |second| exit.worse(second.exit()))
}

/// Tells which patterns left nothing out: most likely they were meant to. Those of a preset are for what may come.
pub fn unused(context: &Context<'_>, options: &Options) {
    let preset = context.site().ok().and_then(|site| site.app);
    let rules: Vec<_> = preset.iter().filter_map(|preset| preset.tables.files.as_ref()).flatten().collect();
    let is_of_preset = |pattern: &str| rules.iter().any(|rule| rule.exclude.iter().any(|known| known == pattern));
    for unused in options.excludes.unused().iter().filter(|_| options.uploads.is_some()) {
        let text = format!("the exclude pattern {:?} leaves nothing out", unused.pattern);
        match unused.in_file || is_of_preset(unused.pattern) {
            true => context.term.detail(text),
            false => context.term.note(text),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    success: bool,
    timestamp: &'a str,
    backup_dir: String,
    snapshot: String,
    sequence: u64,
    source: &'a str,
    added_bytes: u64,
    manifest: Option<String>,
    backups: serde_json::Value,
    uploads_read: Option<serde_json::Value>,
    full_scan: Option<serde_json::Value>,
    state: &'static str,
    shrunk: &'a [Shrink],
    because_of_failed: Option<&'static str>,
    sets: Option<&'a Sets>,
    problems: serde_json::Value,
    vanished: Option<serde_json::Value>,
    set_error: Option<String>,
    pub(super) second_store: Option<serde_json::Value>,
}

/// Tells the story of a backup; returns how it ended.
pub(super) fn render(context: &Context<'_>, paths: &Paths, report: &Report) -> Exit {
    let term = context.term;
    let lost = report.problems.iter().filter(|problem| problem.lost).count();
    let snapshot = &report.snapshot;
    let shrunk = !snapshot.shrunk.is_empty();
    let mut exit = if report.interrupted { Exit::Interrupted } else { Exit::Done };
    if lost > 0 || report.vanished.is_some() || shrunk {
        exit = exit.worse(Exit::Incomplete);
    }
    if report.set_error.is_some() {
        exit = exit.worse(Exit::SetFailed);
    }
    let set = report.set.as_ref();
    for part in &snapshot.databases {
        term.say(format!("Backing up database: {}", units::safe(&part.source_path)));
        match output_of(set, part) {
            Some(out) => term.say(format!("  -> {} ({} bytes)", out.path.display(), out.size_bytes)),
            None => term.say(format!("  -> snapshot ({} bytes)", part.size_bytes)),
        }
    }
    if let Some(half) = &snapshot.files {
        let what = if snapshot.root.is_none() { "assets" } else { "files" };
        term.say(format!("Backing up {what}: {}", units::safe(&half.shown_source())));
        match set.and_then(|set| set.assets.as_ref()) {
            Some(out) => {
                term.say(format!(
                    "  -> {} ({} files, {} bytes)",
                    out.path.display(),
                    out.file_count,
                    out.archive_size_bytes
                ));
            }
            None => term.say(format!("  -> snapshot ({} files, {} bytes)", half.files, half.bytes)),
        }
    }
    if let Some(set) = set {
        term.say(format!("\nManifest: {}", set.manifest.display()));
    }
    match exit {
        Exit::Done => term.say("\nBackup completed successfully!"),
        Exit::Interrupted => {
            term.say("\nInterrupted. Snapshot and set are complete; the next backup removes the older sets that are too many.");
        }
        _ if report.set_error.is_some() => term.say("\nThe snapshot is stored, but its set could not be written."),
        _ if lost == 0 && shrunk => {
            term.say("\nBackup completed, but it is much smaller than before (see the warning).")
        }
        _ if lost == 0 => term.say("\nBackup completed, but earlier snapshots have vanished (see the warning)."),
        _ => term
            .say(format!("\nBackup completed, but with {} (see the warnings).", units::count(lost as u64, "problem"))),
    }
    term.say(format!("Backup directory: {}", paths.backup_dir.display()));
    let (added, place) = (units::size(report.added_bytes), &paths.store);
    term.say(format!(
        "Snapshot: {} (number {} of {}), {added} added to {place}",
        report.name.id.short(),
        snapshot.sequence,
        snapshot.source
    ));
    cost(context, report);
    if let Some(found) = &report.sets {
        sets::render(context, found);
    }
    if let Some((sequence, id)) = &report.vanished {
        term.warn(format!(
            "snapshot {} (number {sequence} of {}), the newest that this machine knew, is no longer in {place}: somebody removed it, or put an older \
             store in its place; `lrl snapshots` shows what is there",
            id.short(),
            snapshot.source
        ));
    }
    for shrink in &snapshot.shrunk {
        term.warn(format!("{shrink} (in snapshot {})", shrink.against.short()));
    }
    if shrunk {
        term.warn(format!(
            "the backup has shrunk suspiciously: it is kept as {}, and `lrl restore` passes it over until one is accepted. Is a disk not mounted, \
             a table emptied? If it is meant: `lrl backup --accept-shrink`",
            judge(snapshot, None, None).state
        ));
    }
    if let Some(error) = &report.set_error {
        term.warn(format!("the set was not written: {}", hint::error(error)));
        if error.is_full() {
            term.note(exit::NO_ROOM);
        }
        term.note(format!("`lrl export {} --out DIR` makes it from the snapshot", report.name.id.short()));
    }
    exit
}

/// Returns the copy of a database in the set.
fn output_of<'a>(set: Option<&'a SetOutput>, part: &Database) -> Option<&'a DatabaseOutput> {
    set?.databases.iter().find(|out| out.of == part.path)
}

/// Returns what reading a database kept from the application.
fn held(held: HeldFor) -> String {
    if held.wal.is_zero() {
        return format!("the application's writes waited {} ms at most", held.locked.as_millis());
    }
    format!("the application's writes did not wait, its WAL was held for {} ms", held.wal.as_millis())
}

/// Says what was read, what was proved unchanged, and how long the application had to wait.
pub(super) fn cost(context: &Context<'_>, report: &Report) {
    let term = context.term;
    for part in &report.snapshot.databases {
        let name = if part.path == THE_DATABASE { "Database".into() } else { units::path(&part.path) };
        match report.databases_read.get(&part.path) {
            None => term.say(format!("{name}: unchanged, not read ({})", units::size(part.size_bytes))),
            Some(read) => {
                term.say(format!("{name}: read; {}", held(read.held)));
                term.detail(match read.method {
                    Method::Pages => "the database was read page by page, under SQLite's own lock",
                    Method::Clone => "the database was cloned under SQLite's own lock, and read from the clone",
                    Method::ChangedPages => "only the pages were read that the WAL names, under SQLite's own lock",
                    Method::BackupApi => "the database was read by SQLite's backup API",
                    Method::PlainFile => "the database was read as a plain file",
                    Method::RecoveredCopy => "a crash left a journal: the database was recovered in a copy of both",
                });
                if read.held.locked > LONG_LOCK {
                    let seconds = read.held.locked.as_secs_f64();
                    term.warn(format!("{name}: the database was locked for {seconds:.1} s"));
                }
            }
        }
    }
    if report.snapshot.files.is_some() {
        let read = report.uploads_read;
        let amount = |files, bytes| (units::count(files, "file"), units::size(bytes));
        let (files_read, bytes_read) = amount(read.files_read, read.bytes_read);
        let (files, bytes) = amount(read.files_proved, read.bytes_proved);
        let what = if report.snapshot.root.is_none() { "Uploads" } else { "Files" };
        term.say(format!("{what}: {files_read} read ({bytes_read}), {files} unchanged, not read ({bytes})"));
    }
    match report.distrust {
        Some(Distrust::Drill(time)) => term.say(format!(
            "The last drill failed ({}): everything was read, and what the store had lost is stored again",
            units::moment(time.secs)
        )),
        Some(Distrust::Check(time)) => term.say(format!(
            "The last check found damage ({}): everything was read, and what the store had lost is stored again",
            units::moment(time.secs)
        )),
        None => {}
    }
    match report.full_scan {
        Some(FullScan::Due(age)) => {
            term.say(format!("Full scan: everything was read, the last time was {} ago", units::duration(age)));
        }
        Some(FullScan::Unknown) => term.say("Full scan: everything was read, the last time is not known"),
        Some(FullScan::Asked) | None => {}
    }
}

pub(super) fn document<'a>(paths: &Paths, report: &'a Report, exit: Exit) -> Document<'a> {
    let snapshot = &report.snapshot;
    let mut backups = Vec::new();
    let path = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    for part in &snapshot.databases {
        let out = output_of(report.set.as_ref(), part);
        let read = report.databases_read.get(&part.path);
        let mut object = serde_json::json!({
            "type": "database", "source": part.source_path, "backup": path(out.map(|out| &out.path)),
            "size_bytes": part.size_bytes, "sha256": part.sha256, "unchanged": read.is_none(),
            "read": read.map(|read| serde_json::json!({
                "method": read.method, "locked_ms": read.held.locked.as_millis() as u64, "wal_held_ms": read.held.wal.as_millis() as u64, "schema_error": read.schema_error,
                "changed_unseen": read.changed_unseen,
            })),
        });
        if let Some(object) = object.as_object_mut() {
            entry::put_name(object, "path", &part.path);
        }
        backups.push(object);
    }
    if let Some(half) = &snapshot.files {
        let out = report.set.as_ref().and_then(|set| set.assets.as_ref());
        backups.push(serde_json::json!({
            "type": "assets", "source": half.shown_source(), "backup": path(out.map(|out| &out.path)),
            "file_count": half.files, "total_source_size_bytes": half.bytes,
            "archive_size_bytes": half.archive.as_ref().map(|a| a.size_bytes), "sha256": half.archive.as_ref().map(|a| a.sha256.as_str()),
        }));
    }
    let read = report.uploads_read;
    Document {
        success: exit == Exit::Done,
        timestamp: &snapshot.timestamp,
        backup_dir: paths.backup_dir.display().to_string(),
        snapshot: report.name.id.to_string(),
        sequence: snapshot.sequence,
        source: &snapshot.source,
        added_bytes: report.added_bytes,
        manifest: path(report.set.as_ref().map(|set| &set.manifest)),
        backups: backups.into(),
        uploads_read: snapshot.files.as_ref().map(|_| {
            serde_json::json!({
                "files_read": read.files_read, "bytes_read": read.bytes_read,
                "files_unchanged": read.files_proved, "bytes_unchanged": read.bytes_proved,
                "files_changed_unseen": read.files_changed_unseen,
            })
        }),
        full_scan: report.full_scan.map(|scan| match scan {
            FullScan::Asked => serde_json::json!({ "because": "asked", "last_seconds_ago": null }),
            FullScan::Due(age) => serde_json::json!({ "because": "due", "last_seconds_ago": age.as_secs() }),
            FullScan::Unknown => serde_json::json!({ "because": "unknown", "last_seconds_ago": null }),
        }),
        state: judge(snapshot, None, None).state.name(),
        shrunk: &snapshot.shrunk,
        because_of_failed: report.distrust.map(|why| match why {
            Distrust::Drill(_) => "drill",
            Distrust::Check(_) => "check",
        }),
        sets: report.sets.as_ref(),
        problems: hint::problems(&report.problems),
        vanished: report
            .vanished
            .map(|(sequence, id)| serde_json::json!({ "sequence": sequence, "snapshot": id.to_string() })),
        set_error: report.set_error.as_ref().map(hint::error),
        second_store: None,
    }
}
