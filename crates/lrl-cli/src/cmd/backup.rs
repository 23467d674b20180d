//! `lrl backup`: the snapshot and the manual's set, and what the manual prints.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lrl_store::error::Error;
use lrl_store::format::snapshot::Shrink;
use lrl_store::fs::durable;
use lrl_store::ops::backup::{self, Distrust, FullScan, Options, Report, Sets};
use lrl_store::ops::judgement::judge;
use lrl_store::ops::ls;
use lrl_store::ops::restore;
use lrl_store::ops::select::Need;
use lrl_store::source::database::Method;
use lrl_store::source::files::exclude::Excludes;
use lrl_store::source::files::walk::Root;
use serde::Serialize;

use super::second::{self, Second};
use super::{Context, dry, sets, status, store};
use crate::args::BackupArgs;
use crate::args::values::{Every, KeepSets};
use crate::exit::{self, Exit, Result};
use crate::render::units;
use crate::resolve::Paths;

/// Waiting longer than this for the application's own lock helps nobody: it means that the application hangs.
const BUSY: Duration = Duration::from_secs(30);
/// The application's users notice a lock that is held for longer.
const LONG_LOCK: Duration = Duration::from_secs(4);

/// Backs up, unless a young enough snapshot is there.
pub fn run(context: &Context<'_>, args: &BackupArgs) -> Result {
    let paths = context.paths()?;
    let term = context.term;
    if !paths.data_dir.is_dir() {
        return Err(Error::NoStore { what: "data directory", path: paths.data_dir }.into());
    }
    if let Some(age) = args.if_older_than {
        let need = Need { database: !args.half.assets_only, uploads: !args.half.db_only };
        if let Some(young) = status::younger_than(context, &paths, age, need)? {
            return nothing_to_do(context, args, &paths, &young);
        }
    }
    if restore::is_unfinished(&paths.data_dir, paths.storage.to_restore())? {
        let dir = paths.data_dir.display();
        let text = format!(
            "a restore into {dir} was killed half way, so that its database and uploads are no pair; nothing was backed up. \
             `lrl restore --undo --data-dir {dir}` takes it back, or restore again"
        );
        return Err(Error::Refused(text).into());
    }
    let options = options(context, args, &paths)?;
    if args.dry_run {
        return dry::run(context, &paths, options);
    }
    refuse_uploads_as_target(&options, &paths)?;
    store::refuse_gone(context, &paths.store)?;
    durable::create_dir(&paths.backup_dir)?;
    let created = store::create_if_missing(context, &paths.store)?;
    let store = store::open_to_fill(context, &paths, args.free.reserve)?;
    heading(context);
    if created {
        term.detail(format!("made a new store at {}", paths.store));
    }
    if !args.half.db_only
        && let Some(notice) = paths.storage.notice()
    {
        term.note(notice);
    }
    let report = backup::backup(&store, &options, term)?;
    store::remember(context, &paths.store, &store.config().store_id);
    unused(context, &options);
    let exit = render(context, &paths, &report);
    let second = second::copy(context, args, &store);
    let exit = with_second(exit, second.as_ref());
    if term.is_json() {
        let mut document = document(&paths, &report, exit);
        document.second_store = second.as_ref().map(Second::document);
        term.json(&document)?;
    }
    Ok(exit)
}

/// The newest snapshot is young enough; the second store may still lack it.
fn nothing_to_do(context: &Context<'_>, args: &BackupArgs, paths: &Paths, young: &str) -> Result {
    context.term.say(format!("Nothing to do: {young}"));
    let second = match args.copy_to.is_some() && !args.dry_run {
        true => second::copy(context, args, &store::open(context, paths)?),
        false => None,
    };
    let exit = with_second(Exit::Done, second.as_ref());
    if context.term.is_json() {
        context.term.json(&serde_json::json!({
            "success": exit == Exit::Done, "skipped": true, "reason": young,
            "second_store": second.as_ref().map(Second::document),
        }))?;
    }
    Ok(exit)
}

/// The worse of the two ends counts.
fn with_second(exit: Exit, second: Option<&Second>) -> Exit {
    second.map_or(exit, |second| exit.worse(second.exit()))
}

/// Tells which patterns left nothing out: most likely they were meant to.
pub fn unused(context: &Context<'_>, options: &Options) {
    for unused in options.excludes.unused().iter().filter(|_| options.uploads.is_some()) {
        let text = format!("the exclude pattern {:?} leaves nothing out", unused.pattern);
        match unused.in_file {
            true => context.term.detail(text),
            false => context.term.note(text),
        }
    }
}

/// Prints the manual's heading.
pub fn heading(context: &Context<'_>) {
    let rule = "=".repeat(60);
    context.term.say(format!("{rule}\nLittle Research Lab: Backup\n{rule}\n"));
}

/// Refuses, before anything is made there, to keep backups in an uploads directory itself: they would be backed up, and restored away.
fn refuse_uploads_as_target(options: &Options, paths: &Paths) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    for root in options.uploads.iter().flatten() {
        let places = paths.store.directory().into_iter().chain([&*paths.backup_dir]);
        if let Some(place) = places.into_iter().find(|place| real(place) == real(&root.path)) {
            let text =
                format!("{} is the uploads directory itself; keep backups in another directory", place.display());
            return Err(Error::Refused(text).into());
        }
    }
    Ok(())
}

fn options(context: &Context<'_>, args: &BackupArgs, paths: &Paths) -> Result<Options> {
    let mut roots = vec![Root { name: "assets".into(), path: paths.assets() }];
    if let Some(path) = paths.storage.to_back_up() {
        roots.push(Root { name: "storage".into(), path: path.to_path_buf() });
    }
    let mut skip = vec![paths.backup_dir.clone()];
    skip.extend(paths.store.directory().map(Path::to_path_buf));
    // STORAGE_PATH may name the data directory: the live database is no upload, whichever half is asked for.
    skip.extend(["", "-wal", "-shm", "-journal"].map(|suffix| {
        let mut path = paths.database().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Ok(Options {
        database: (!args.half.assets_only).then(|| paths.database()),
        uploads: (!args.half.db_only).then_some(roots),
        skip,
        excludes: Excludes::new(&args.exclude, &args.exclude_file)?
            .and_follow(args.follow_link.iter().map(|path| ls::clean(&units::typed_path(path.as_bytes()))).collect()),
        out: (!args.snapshot_only).then(|| paths.backup_dir.clone()),
        scratch: paths.backup_dir.clone(),
        source: context.cli.global.source.clone(),
        tags: args.tag.clone(),
        host: host.trim().to_string(),
        program: concat!("lrl ", env!("CARGO_PKG_VERSION")).into(),
        rescan: args.rescan,
        max_shrink_percent: args.max_shrink,
        accept_shrink: args.accept_shrink,
        rescan_every: match args.rescan_every {
            Every::Never => None,
            Every::Time(time) => Some(time),
        },
        settle: args.settle_time,
        keep_sets: match args.keep_sets {
            KeepSets::All => None,
            KeepSets::Newest(count) => Some(count),
        },
        reserve: args.free.reserve,
        lock_wait: context.cli.global.lock_wait,
        busy: context.cli.global.lock_wait.min(BUSY),
        now: SystemTime::now(),
    })
}

#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    timestamp: &'a str,
    backup_dir: String,
    snapshot: String,
    sequence: u64,
    source: &'a str,
    added_bytes: u64,
    manifest: Option<String>,
    backups: serde_json::Value,
    database_read: Option<serde_json::Value>,
    database_unchanged: Option<bool>,
    uploads_read: Option<serde_json::Value>,
    full_scan: Option<serde_json::Value>,
    state: &'static str,
    shrunk: &'a [Shrink],
    because_of_failed: Option<&'static str>,
    sets: Option<&'a Sets>,
    problems: &'a [lrl_store::progress::Problem],
    vanished: Option<serde_json::Value>,
    set_error: Option<String>,
    second_store: Option<serde_json::Value>,
}

/// Tells the story of a backup; returns how it ended.
fn render(context: &Context<'_>, paths: &Paths, report: &Report) -> Exit {
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
    if let Some(half) = &snapshot.database {
        term.say(format!("Backing up database: {}", units::safe(&half.path)));
        match set.and_then(|set| set.database.as_ref()) {
            Some(out) => term.say(format!("  -> {} ({} bytes)", out.path.display(), out.size_bytes)),
            None => term.say(format!("  -> snapshot ({} bytes)", half.size_bytes)),
        }
    }
    if let Some(half) = &snapshot.uploads {
        term.say(format!("Backing up assets: {}", units::safe(&half.shown_source())));
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
        term.warn(format!("the set was not written: {error}"));
        if error.is_full() {
            term.note(exit::NO_ROOM);
        }
        term.note(format!("`lrl export {} --out DIR` makes it from the snapshot", report.name.id.short()));
    }
    exit
}

/// Says what was read, what was proved unchanged, and how long the application had to wait.
fn cost(context: &Context<'_>, report: &Report) {
    let term = context.term;
    if let Some(half) = &report.snapshot.database {
        match &report.database_read {
            None => term.say(format!("Database: unchanged, not read ({})", units::size(half.size_bytes))),
            Some(read) => {
                term.say(format!(
                    "Database: read; the application's writes waited {} ms at most",
                    read.locked.as_millis()
                ));
                term.detail(match read.method {
                    Method::Pages => "the database was read page by page, under SQLite's own lock",
                    Method::BackupApi => "the database was read by SQLite's backup API",
                    Method::PlainFile => "the database was read as a plain file",
                    Method::RecoveredCopy => "a crash left a journal: the database was recovered in a copy of both",
                });
                if read.locked > LONG_LOCK {
                    term.warn(format!("the database was locked for {:.1} s", read.locked.as_secs_f64()));
                }
            }
        }
    }
    if report.snapshot.uploads.is_some() {
        let read = report.uploads_read;
        let amount = |files, bytes| (units::count(files, "file"), units::size(bytes));
        let (files_read, bytes_read) = amount(read.files_read, read.bytes_read);
        let (files, bytes) = amount(read.files_proved, read.bytes_proved);
        term.say(format!("Uploads: {files_read} read ({bytes_read}), {files} unchanged, not read ({bytes})"));
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

fn document<'a>(paths: &Paths, report: &'a Report, exit: Exit) -> Document<'a> {
    let snapshot = &report.snapshot;
    let mut backups = Vec::new();
    let path = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    if let Some(half) = &snapshot.database {
        let out = report.set.as_ref().and_then(|set| set.database.as_ref());
        backups.push(serde_json::json!({
            "type": "database", "source": half.path, "backup": path(out.map(|out| &out.path)),
            "size_bytes": half.size_bytes, "sha256": half.sha256,
        }));
    }
    if let Some(half) = &snapshot.uploads {
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
        database_read: report.database_read.as_ref().map(|read| {
            serde_json::json!({
                "method": read.method, "locked_ms": read.locked.as_millis() as u64, "schema_error": read.schema_error,
                "changed_unseen": read.changed_unseen,
            })
        }),
        database_unchanged: snapshot.database.as_ref().map(|_| report.database_read.is_none()),
        uploads_read: snapshot.uploads.as_ref().map(|_| {
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
        problems: &report.problems,
        vanished: report
            .vanished
            .map(|(sequence, id)| serde_json::json!({ "sequence": sequence, "snapshot": id.to_string() })),
        set_error: report.set_error.as_ref().map(ToString::to_string),
        second_store: None,
    }
}
