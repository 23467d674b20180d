//! `lrl setup`: a look at a directory, and the `lrl.toml` that it proposes.

mod file;
mod json;

use std::path::Path;

use lrl_store::error::{Error, Place};
use lrl_store::progress::Observer;

use crate::args::SetupArgs;
use crate::config;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::table::{Side, Table};
use crate::site::detect::Detector;
use crate::site::fitting;
use crate::site::preset::{self, Preset};
use crate::site::proposal::{self, Proposal};
use crate::site::scan::{Watch, scan};
use crate::term::Term;

/// Proposes a configuration, prints or writes it.
pub fn run(context: &Context<'_>, args: &SetupArgs) -> Result {
    let term = context.term;
    if args.list_apps {
        return list_apps(term);
    }
    let dir = &args.dir;
    if !dir.is_dir() {
        return Err(Error::NoStore { what: Place::Directory, path: dir.clone() }.into());
    }
    let target = dir.join(config::FILE);
    if args.write && target.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!(
            "{} is there already, and is not replaced: without --write the proposal is printed",
            target.display()
        )));
    }
    if args.app.is_none() && is_manual(dir) {
        return manual(term, dir);
    }
    let watching = Watching(term);
    let scratch = std::env::temp_dir();
    let mut detector = Detector::new(&scratch, &watching);
    let mut notes = Vec::new();
    let recognised = match args.app {
        Some(_) => None,
        None => {
            let mut detected = detector.detect(dir)?;
            notes.extend(
                detected
                    .unread
                    .iter()
                    .map(|(path, why)| format!("{}: its tables could not be read: {why}", path.display())),
            );
            if detected.best.len() > 1 {
                let names: Vec<&str> = detected.best.iter().map(|one| one.preset.name.as_str()).collect();
                notes.push(format!("Several presets fit: {}; --app NAME chooses one", names.join(", ")));
                detected.best.clear();
            }
            detected.best.pop()
        }
    };
    let app = args.app.or(recognised.as_ref().map(|one| one.preset));
    if app.is_none() {
        for (below, one) in detector.detect_below(dir)? {
            let preset = one.preset;
            notes.push(format!("{} looks like {}: `lrl setup {0}`", below.display(), preset.title));
        }
    }
    let (exclude, secret) = proposal::patterns(app);
    let scan = scan(dir, &Watch { exclude: &exclude, secret: &secret }, &watching)?;
    let (checks, more) = match app {
        Some(app) => fitting::checks(app, dir, &scratch, &watching)?,
        None => Default::default(),
    };
    notes.extend(more);
    let by = recognised.map(|one| one.by).unwrap_or_default();
    let proposal = Proposal { app, by, scan: &scan, checks, notes };
    let written = if args.write { Some(file::write(&target, &proposal.text())?) } else { None };
    show(term, dir, &proposal, written.as_deref())?;
    for one in scan.oddities.items.iter().filter(|one| one.lost) {
        term.warn(format!("{} {}", dir.join(String::from_utf8_lossy(&one.path).as_ref()).display(), one.reason));
    }
    Ok(if scan.is_whole() { Exit::Done } else { Exit::Incomplete })
}

/// Passes on interruptions only: what is found is part of the proposal.
struct Watching<'a>(&'a Term);

impl Observer for Watching<'_> {
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

fn is_manual(dir: &Path) -> bool {
    dir.join("lrl.db").is_file() && dir.join("assets").is_dir()
}

/// Tells that the manual's layout needs no file.
fn manual(term: &Term, dir: &Path) -> Result {
    let command = match dir == Path::new("./data") || dir == Path::new("data") {
        true => "lrl backup".to_string(),
        false => format!("lrl backup --data-dir {}", shell(dir)),
    };
    if term.is_json() {
        term.json(&serde_json::json!({
            "success": true, "dir": dir.display().to_string(), "layout": "manual", "command": command, "written": null,
        }))?;
        return Ok(Exit::Done);
    }
    term.line(format!(
        "{} has lrl.db and assets/, the operations manual's layout: nothing is needed, and nothing was written.",
        dir.display()
    ))?;
    term.line(format!("Back it up with: {command}"))?;
    Ok(Exit::Done)
}

fn show(term: &Term, dir: &Path, proposal: &Proposal<'_>, written: Option<&Path>) -> Result<()> {
    if term.is_json() {
        return term.json(&json::document(dir, proposal, written));
    }
    let Some(path) = written else {
        proposal.text().lines().try_for_each(|line| term.line(line))?;
        let place = dir.join(config::FILE);
        term.note(match place.symlink_metadata() {
            Ok(_) => format!("nothing was written; {} is there already", place.display()),
            Err(_) => format!("nothing was written; --write makes {}", place.display()),
        });
        return Ok(());
    };
    let databases = proposal.scan.databases.count();
    let what = proposal.app.map_or("a site", |app| app.title.as_str());
    term.line(format!(
        "Wrote {}: {what} with {} and {}. Look it through, then:",
        path.display(),
        crate::render::units::count(databases, "database"),
        crate::render::units::count(proposal.scan.files, "file")
    ))?;
    term.line(format!("  lrl backup --config {} --dry-run", shell(path)))
}

/// Quotes a path for a shell.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map_or(text.clone(), |quoted| quoted.into_owned())
}

fn list_apps(term: &Term) -> Result {
    if term.is_json() {
        let one = |preset: &Preset| {
            serde_json::json!({
                "name": preset.name, "aliases": preset.aliases, "title": preset.title, "read_from": preset.read_from,
            })
        };
        let apps: Vec<_> = preset::all().iter().map(one).collect();
        term.json(&serde_json::json!({ "success": true, "apps": apps }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[("name", Side::Left), ("application", Side::Left), ("read from", Side::Left)]);
    for preset in preset::all() {
        let names = std::iter::once(&preset.name).chain(&preset.aliases).cloned().collect::<Vec<_>>();
        table.row([names.join(", "), preset.title.clone(), preset.read_from.clone()]);
    }
    term.table(&table)?;
    Ok(Exit::Done)
}
