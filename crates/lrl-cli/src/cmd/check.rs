//! `lrl check`: what is damaged in the store, and whom that concerns; with `--repair`, what was done about it and what stays lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::format::repair::Loss;
use lrl_store::ops::check::{self, Checked, Finding, Options, ReadData, Report};
use lrl_store::ops::recover_chunks::{HealSources, Origin};
use lrl_store::ops::repair::{self, Claimant, Moved, Repaired};
use lrl_store::set::directory::manifests;
use lrl_store::source::files::walk::Root;
use lrl_store::store::key_slots;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::copy::is_same;
use super::shared::{open, same_store};
use crate::args::CheckArgs;
use crate::args::values::Subset;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::units;
use crate::resolve::{Paths, default_store};
use crate::term::Colour;

/// Names of one kind that are printed at most; `--json` has all.
const SHOWN: usize = 20;

/// Checks the store, and repairs it if asked to; exit 4 when anything is wrong in the end.
pub fn run(context: &Context<'_>, args: &CheckArgs) -> Result {
    let paths = context.paths()?;
    same_store::require_backup_dir(context, &paths)?;
    let read_data = match (args.read_data, args.read_data_subset) {
        (true, _) => ReadData::All,
        (false, None) => ReadData::No,
        (false, Some(Subset::Slice { part, of })) => ReadData::Slice { part, of },
        (false, Some(Subset::Percent(percent))) => ReadData::Percent(percent),
        (false, Some(Subset::Bytes(bytes))) => ReadData::Bytes(bytes),
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let record = Some((time_of(SystemTime::now()), concat!("lrl ", env!("CARGO_PKG_VERSION"))));
    let mut options = Options::new(read_data);
    options.seed = since.as_nanos() as u64;
    options.lock_wait = context.cli.global.lock_wait;
    options.record = record;
    let place = paths.store.to_string();
    // Local copies prove nothing about a bucket.
    let (storage, _copies) = open::fresh_backend(context, &paths.store)?;
    same_store::compare_storage(context, &paths.store, &*storage)?;
    if args.repair {
        let healing = healing(context, &paths, &args.from)?;
        let repaired = match paths.store.directory() {
            Some(_) => repair::repair_from(Arc::clone(&storage), &options, Some(&healing), context.term)?,
            None => {
                let claimant = Claimant {
                    backend: open::backend(context, &paths.store)?,
                    owner: open::owner(),
                    token: open::token()?,
                    only_pruner: args.only.only_pruner,
                    now: time_of(SystemTime::now()),
                };
                let storage = Arc::clone(&storage);
                repair::repair_in_bucket(storage, &options, Some(&healing), &claimant, context.term)?
            }
        };
        if repaired.config {
            // The id went with the old config.
            same_store::remember(context, &paths.store, &key_slots::store_id(&*storage)?);
        }
        return render_repair(context, &place, read_data, repaired);
    }
    let beside = Some(paths.backup_dir.as_path()).filter(|dir| dir.is_dir());
    let report = check::check_with_sets(storage, &options, beside, context.term)?;
    if let Some(why) = &report.unrecorded {
        context.term.note(format!("the check is not recorded: {why}"));
    }
    if context.term.is_json() {
        context.term.json(&document(&place, &report))?;
        return Ok(exit(&report));
    }
    findings(context, &report)?;
    losses(context, &report)?;
    verdict(context, &place, read_data, &report)?;
    if report.is_store_wrong {
        // What only the packs' bytes show, a repair that does not read them does not see.
        let read = if read_data == ReadData::No { "" } else { "--read-data " };
        context.term.note(format!("`lrl check {read}--repair` repairs what can be, and deletes nothing"));
    }
    Ok(exit(&report))
}

/// Finds out what the places are in which a repair looks for what is lost. The sets beside the store need not be named.
fn healing(context: &Context<'_>, paths: &Paths, from: &[PathBuf]) -> Result<HealSources> {
    let mut origins = Vec::new();
    for named in from {
        let before = origins.len();
        match Location::parse(named.clone())? {
            place @ Location::Bucket(_) => {
                origins.push(Origin::Store(Box::new(open::open_place(context, &place, None)?)))
            }
            Location::Directory(dir) => {
                if dir.is_file() {
                    origins.push(Origin::Set(dir.clone()));
                }
                for store_dir in [dir.clone(), default_store(&dir)] {
                    if store_dir.join("snapshots").is_dir()
                        && !is_same(&Location::Directory(store_dir.clone()), &paths.store)
                    {
                        let place = Location::Directory(store_dir);
                        origins.push(Origin::Store(Box::new(open::open_place(context, &place, None)?)));
                    }
                }
                let database = Some(dir.join("lrl.db")).filter(|path| path.is_file());
                let mut uploads: Vec<Root> = ["assets", "storage"]
                    .into_iter()
                    .map(|name| Root { name: name.into(), path: dir.join(name) })
                    .filter(|root| root.path.is_dir())
                    .collect();
                let second = paths.storage.to_back_up().filter(|path| path.is_dir());
                if (database.is_some() || !uploads.is_empty()) && uploads.iter().all(|root| root.name != "storage") {
                    uploads.extend(second.map(|path| Root { name: "storage".into(), path: path.to_path_buf() }));
                }
                if database.is_some() || !uploads.is_empty() {
                    origins.push(Origin::Live { database, uploads });
                }
                if dir.is_dir() {
                    origins.extend(manifests(&dir)?.into_iter().rev().map(Origin::Set));
                }
            }
        }
        if origins.len() == before {
            return Err(Error::not_found(format!(
                "{} is no backup directory with sets, no data directory and no other store: nothing was changed",
                named.display()
            ))
            .into());
        }
    }
    let beside = Some(&paths.backup_dir).filter(|dir| dir.is_dir());
    if let Some(dir) = beside {
        origins.extend(manifests(dir)?.into_iter().rev().map(Origin::Set));
    }
    let above = paths.store.directory().and_then(Path::parent).filter(|dir| !dir.as_os_str().is_empty());
    Ok(HealSources {
        origins,
        scratch: beside.map(PathBuf::as_path).or(above).unwrap_or(Path::new(".")).to_path_buf(),
        program: concat!("lrl ", env!("CARGO_PKG_VERSION")).into(),
        busy: Duration::from_secs(30),
        now: SystemTime::now(),
    })
}

fn exit(report: &Report) -> Exit {
    if report.wrong { Exit::Wrong } else { Exit::Done }
}

fn document(place: &str, report: &Report) -> Value {
    let (wrong, notes): (Vec<_>, Vec<_>) = report.findings.iter().partition(|finding| finding.wrong);
    json!({
        "success": !report.wrong, "store": place, "checked": report.checked, "errors": wrong, "notes": notes,
        "more_findings": report.more, "lost": report.lost, "more_lost": report.more_lost,
        "quarantine": report.quarantine,
    })
}

fn render_repair(context: &Context<'_>, place: &str, read_data: ReadData, repaired: Repaired) -> Result {
    let term = context.term;
    let Repaired { found, left, renamed, moved, saved, healed, notes, listed, config, failed } = repaired;
    if term.is_json() && failed.is_none() {
        let mut document = document(place, &left);
        document["repair"] = json!({
            "found": self::document(place, &found), "renamed": renamed, "moved": moved, "saved": saved,
            "healed": healed, "notes": notes,
            "listed_packs": listed, "config": config,
        });
        term.json(&document)?;
        return Ok(exit(&left));
    }
    findings(context, &found)?;
    if config {
        term.line("The config is made again.")?;
    }
    names(context, "Have their own names again", &renamed)?;
    if saved.chunks > 0 {
        let (chunks, packs) = (units::count(saved.chunks, "chunk"), units::count(saved.packs, "new pack"));
        term.line(format!("Saved out of damaged packs: {chunks}, in {packs} ({}).", units::size(saved.bytes)))?;
    }
    if healed.chunks > 0 {
        let (chunks, packs) = (units::count(healed.chunks, "lost chunk"), units::count(healed.packs, "new pack"));
        term.line(format!("Found again: {chunks}, in {packs} ({}).", units::size(healed.bytes)))?;
    }
    notes.iter().for_each(|note| term.note(note));
    if listed > 0 {
        term.line(format!("Listed in the index again: {}.", units::count(listed, "pack")))?;
    }
    names(context, "Moved out of the way", &moved)?;
    if let Some(error) = failed {
        term.warn(
            "there is no room to repair the rest: free some and run it again; what is damaged and could not be saved \
             stays where it is",
        );
        return Err(error.into());
    }
    losses(context, &left)?;
    verdict(context, place, read_data, &left)?;
    if !left.lost.is_empty() {
        term.note("`lrl backup` stores again what the source still has; run `lrl check` after it");
        term.note("for the rest: `lrl check --repair --from DIR` looks in sets, live data and other stores, or `lrl forget SNAPSHOT` gives the snapshot up");
    }
    Ok(exit(&left))
}

fn findings(context: &Context<'_>, report: &Report) -> Result<()> {
    for line in report.findings.iter().flat_map(|finding| lines(context, finding)) {
        context.term.line(line)?;
    }
    if report.more > 0 {
        context.term.line(format!("{} are not shown", units::count(report.more, "more finding")))?;
    }
    Ok(())
}

fn names(context: &Context<'_>, title: &str, moved: &[Moved]) -> Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    context.term.line(format!("{title}:"))?;
    for Moved { object, to } in moved.iter().take(SHOWN) {
        context.term.line(format!("  {} -> {}", units::safe(object), units::safe(to)))?;
    }
    match moved.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => context.term.line(format!("  and {more} more")),
    }
}

fn losses(context: &Context<'_>, report: &Report) -> Result<()> {
    // What one bad pack takes along is mostly the same in every snapshot: those that lost the same are one line.
    let same = |a: &Loss, b: &Loss| {
        (&a.source, a.database, &a.files, a.more_files) == (&b.source, b.database, &b.files, b.more_files)
    };
    let groups: Vec<&[Loss]> = report.lost.chunk_by(same).collect();
    for group in groups.iter().take(SHOWN) {
        context.term.line(lost(group))?;
    }
    let hidden: usize = groups.iter().skip(SHOWN).map(|group| group.len()).sum();
    if report.more_lost + hidden as u64 > 0 {
        let count = units::count(report.more_lost + hidden as u64, "more snapshot is|more snapshots are");
        context.term.line(format!("{count} not whole"))?;
    }
    Ok(())
}

/// Says what the snapshots of one group have lost.
fn lost(group: &[Loss]) -> String {
    let [loss, ..] = group else { return String::new() };
    let mut what = Vec::new();
    if loss.database {
        what.push("its database".to_string());
    }
    if !loss.files.is_empty() {
        let names: Vec<_> = loss.files.iter().map(|name| units::safe(name)).collect();
        let rest = if loss.more_files > 0 { format!(" and {} more", loss.more_files) } else { String::new() };
        what.push(format!("{}{rest}", names.join(", ")));
    }
    let (source, short) = (units::safe(&loss.source), loss.snapshot.short());
    let what = what.join(", and of its uploads ");
    match group.last().filter(|last| last.sequence != loss.sequence) {
        None => format!("Snapshot {source} {} ({short}) has lost {what}", loss.sequence),
        Some(last) => format!(
            "{} of {source}, {} ({short}) to {} ({}), have each lost {what}",
            units::count(group.len() as u64, "snapshot"),
            loss.sequence,
            last.sequence,
            last.snapshot.short()
        ),
    }
}

fn verdict(context: &Context<'_>, place: &str, read_data: ReadData, report: &Report) -> Result<()> {
    let term = context.term;
    let quarantine = &report.quarantine;
    if quarantine.count > 0 {
        let (count, size) = (units::count(quarantine.count, "file"), units::size(quarantine.bytes));
        let mut text = format!("{place}/quarantine holds {count} ({size}) that a repair moved there; ");
        if !quarantine.snapshots.is_empty() {
            let shown: Vec<_> = quarantine.snapshots.iter().take(SHOWN).map(|name| units::safe(name)).collect();
            text.push_str(&format!("documents of the snapshots {} are among them; ", shown.join(", ")));
        }
        text.push_str(&format!("once nothing is missed, `rm -r {place}/quarantine` gives the room back"));
        term.say(format!("{}: {text}", term.paint(Colour::Yellow, "note")));
    }
    term.say(looked_at(&report.checked, read_data));
    if report.wrong {
        let wrong = report.findings.iter().filter(|finding| finding.wrong).count() as u64;
        let count = units::count(wrong, "thing is|things are");
        term.line(term.paint(Colour::Red, &format!("{count} wrong in {place}.")))?;
    } else {
        term.say(term.paint(Colour::Green, "No errors found."));
    }
    Ok(())
}

fn lines(context: &Context<'_>, finding: &Finding) -> Vec<String> {
    let label = match finding.wrong {
        true => context.term.paint(Colour::Red, "error"),
        false => context.term.paint(Colour::Yellow, "note"),
    };
    let detail = finding.detail.strip_prefix(&format!("{} ", finding.object)).unwrap_or(&finding.detail);
    let mut lines = vec![format!("{label}: {}: {}", units::safe(&finding.object), units::safe(detail))];
    let mut more = |what: &str, names: &[String], more: u64| {
        if names.is_empty() {
            return;
        }
        let names: Vec<_> = names.iter().map(|name| units::safe(name)).collect();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("  {what}: {}{rest}", names.join(", ")));
    };
    more("affects the snapshots", &finding.snapshots, finding.more_snapshots);
    more("files that are lost there", &finding.files, finding.more_files);
    lines
}

fn looked_at(checked: &Checked, read_data: ReadData) -> String {
    let mut text = format!(
        "Checked {}, {} with {}, {} of {}",
        units::count(checked.snapshots, "snapshot"),
        units::count(checked.index_files, "index|indexes"),
        units::count(checked.index_records, "chunk"),
        units::count(checked.packs, "pack"),
        units::size(checked.pack_bytes)
    );
    text.push_str(&match read_data {
        ReadData::No => "; the data in them was not read (--read-data does)".into(),
        _ => format!(
            "; read {} whole ({}), and {} against its SHA-256",
            units::count(checked.packs_read, "pack"),
            units::size(checked.bytes_read),
            units::count(checked.databases_read, "newest database")
        ),
    });
    if checked.sets > 0 {
        let read = if checked.set_bytes_read > 0 {
            format!(", {} read", units::size(checked.set_bytes_read))
        } else {
            String::new()
        };
        text.push_str(&format!("; {}{read}", units::count(checked.sets, "set")));
    }
    text
}
