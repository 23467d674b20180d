//! `lrl config`: every setting in force, and where it comes from.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::args::ConfigArgs;
use crate::config::{self, Origin, Setting};
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::table::{Side, Table};
use crate::resolve::{self, Storage};
use crate::site::expand;

#[derive(Serialize)]
struct Report {
    success: bool,
    file: Option<String>,
    settings: Vec<Setting>,
}

/// Lists the settings as a table or as JSON; with `--expand`, the site.
pub fn run(context: &Context<'_>, args: &ConfigArgs) -> Result {
    if args.expand {
        return expand(context);
    }
    let mut settings = config::in_force(context.file, context.matches);
    let global = &context.cli.global;
    if let Some(store) = settings.iter_mut().find(|setting| setting.key == "store" && setting.values.is_empty()) {
        store.values.push(resolve::default_store(&global.backup).display().to_string());
    }
    settings.push(storage_path());
    let file = context.file.path.as_ref().map(|path| path.display().to_string());
    if context.term.is_json() {
        context.term.json(&Report { success: true, file, settings })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[("setting", Side::Left), ("value", Side::Left), ("from", Side::Left)]);
    for setting in settings {
        let value = if setting.values.is_empty() { "-".into() } else { setting.values.join(", ") };
        table.row([setting.key, value, origin(&setting.origin)]);
    }
    context.term.table(&table)?;
    Ok(Exit::Done)
}

/// Writes the site as an `lrl.toml`, or as JSON.
fn expand(context: &Context<'_>) -> Result {
    let site = context.site()?;
    let matches = context.matches.subcommand().map_or(context.matches, |(_, matches)| matches);
    let data_dir = matches.try_get_one::<PathBuf>("data_dir").ok().flatten().cloned().unwrap_or_default();
    if context.term.is_json() {
        let root = site.root.as_ref().map(|root| root.display().to_string());
        context.term.json(&json!({
            "success": true, "root": root, "data-dir": site.is_manual().then(|| data_dir.display().to_string()),
            "app": site.app.map(|app| &app.name), "source": site.source, "plain": site.plain,
            "database": site.databases, "files": site.files, "check": site.checks,
        }))?;
        return Ok(Exit::Done);
    }
    let text = expand::site(site, &data_dir).map_err(Failure::Usage)?;
    text.lines().try_for_each(|line| context.term.line(line))?;
    Ok(Exit::Done)
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Flag => "flag".into(),
        Origin::Environment(name) => format!("environment {name}"),
        Origin::File(path) => format!("file {}", path.display()),
        Origin::Default => "default".into(),
    }
}

/// The one setting that is a variable only, because the application has it so.
fn storage_path() -> Setting {
    let (key, storage) = ("STORAGE_PATH".to_string(), Storage::of_environment());
    let values = storage.to_back_up().map(|path| path.display().to_string()).into_iter().collect();
    let origin = match storage {
        Storage::Named(_) => Origin::Environment(key.clone()),
        Storage::Found(_) | Storage::Absent(_) => Origin::Default,
    };
    Setting { key, values, origin }
}
