//! `lrl schedule`: units for systemd or a file for cron that do `lrl run` every night, and a service for `lrl watch`, with the settings that are
//! in force here.

mod cron;
mod files;
mod needs;
mod quote;
mod systemd;

use std::path::{Path, PathBuf};

use lrl_store::error::Error;
use serde_json::{Value, json};

use self::files::Written;
use self::needs::Needs;
use self::systemd::Choices;
use crate::args::ScheduleArgs;
use crate::args::values::Form;
use crate::config;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::known_stores;

const SYSTEM_UNITS: &str = "/etc/systemd/system";
const CRON_FILES: &str = "/etc/cron.d";
/// The name of the units, and of the file for cron.
const UNIT_NAME: &str = "lrl-run";
const WATCH_NAME: &str = "lrl-watch";
const CRON_NAME: &str = "lrl";

/// Writes, shows or removes what runs lrl.
pub fn run(context: &Context<'_>, args: &ScheduleArgs) -> Result {
    if args.on_failure_unit.is_some() && args.form == Form::Cron {
        return Err(Failure::Usage("--on-failure-unit names a unit of systemd; cron mails what a run prints".into()));
    }
    if args.watch && args.form == Form::Cron {
        return Err(Failure::Usage("--watch is for systemd: cron does not keep a program running".into()));
    }
    if args.remove {
        return remove(context, args);
    }
    let site = Needs::of(context)?;
    let of = format!("{} {}", quote::text(&site.config)?, quote::text(&site.directory)?);
    let marker = files::marker(&of);
    if args.user && args.form == Form::Cron {
        return show_line(context, args, &site);
    }
    let mut files = Vec::new();
    if args.form != Form::Cron {
        let choices = Choices { at: &args.at, user: args.user, on_failure: args.on_failure_unit.as_deref() };
        let [service, timer, watch] = units(args)?;
        files.push(Written { path: service, text: systemd::service(&site, &choices, &marker)? });
        files.push(Written { path: timer, text: systemd::timer(&site, &choices, &marker)? });
        if args.watch {
            files.push(Written { path: watch, text: systemd::watch(&site, &choices, &marker)? });
        }
    }
    if args.form != Form::Systemd {
        let user = (!args.user).then_some("root");
        let text = format!("{marker}{}", cron::lines(&site, &args.at, user)?);
        files.push(Written { path: cron_file(args), text });
    }
    let next = next(args);
    if args.form == Form::Print {
        for file in &files {
            context.term.line(format!("==> {} <==\n{}", file.path.display(), file.text))?;
        }
    } else {
        files::check(&files, &of)?;
        // In a unit everything else is read-only: a run there could not make them.
        for dir in &site.own {
            known_stores::create_private(dir).map_err(Error::io("create", dir))?;
        }
        files::write(&files)?;
        files.iter().for_each(|file| context.term.say(format!("Wrote {}", file.path.display())));
    }
    notes(context, &site);
    document(context, &files, args.form != Form::Print, &next)?;
    if args.form != Form::Print {
        told(context, &next);
    }
    Ok(Exit::Done)
}

/// Returns where the service, the timer and the service that watches are.
fn units(args: &ScheduleArgs) -> Result<[PathBuf; 3]> {
    let dir = match (&args.out, args.user) {
        (Some(out), _) => out.clone(),
        (None, false) => SYSTEM_UNITS.into(),
        (None, true) => config::user_directory()
            .map(|dir| dir.join("systemd/user"))
            .ok_or_else(|| Failure::Usage("HOME is not set: name the directory for the units with --out".into()))?,
    };
    let name = args.name.as_deref().unwrap_or(UNIT_NAME);
    let watch = watch_name(args);
    Ok([format!("{name}.service"), format!("{name}.timer"), format!("{watch}.service")].map(|name| dir.join(name)))
}

/// Returns the name of the service that watches.
fn watch_name(args: &ScheduleArgs) -> String {
    args.name.as_ref().map_or_else(|| WATCH_NAME.to_string(), |name| format!("{name}-watch"))
}

fn cron_file(args: &ScheduleArgs) -> PathBuf {
    if args.user {
        // For display only: a user's crontab is edited by `crontab -e`.
        return "crontab -e".into();
    }
    let dir = args.out.as_deref().unwrap_or(Path::new(CRON_FILES));
    dir.join(args.name.as_deref().unwrap_or(CRON_NAME))
}

/// Returns the commands to type next.
fn next(args: &ScheduleArgs) -> Vec<String> {
    if args.form == Form::Cron {
        return Vec::new();
    }
    let user = if args.user { " --user" } else { "" };
    let name = args.name.as_deref().unwrap_or(UNIT_NAME);
    let mut next = vec![
        format!("systemctl{user} daemon-reload"),
        format!("systemctl{user} enable --now {name}.timer"),
        format!("systemctl{user} start {name}.service"),
    ];
    if args.watch {
        next.push(format!("systemctl{user} enable --now {}.service", watch_name(args)));
    }
    if args.user {
        next.push("loginctl enable-linger".into());
    }
    next
}

fn told(context: &Context<'_>, next: &[String]) {
    if next.is_empty() {
        context
            .term
            .say("cron takes it up by itself, and mails what a run prints; `lrl run --list` shows what is due.");
        return;
    }
    context.term.say("Next, type:");
    next.iter().for_each(|command| context.term.say(format!("  {command}")));
}

/// Tells what a scheduled run would not find as it is.
fn notes(context: &Context<'_>, site: &Needs) {
    for secret in site.secrets.iter().filter(|secret| !secret.file.is_file()) {
        let file = secret.file.display();
        context.term.warn(format!("{file} is not there: without it the service does not start"));
    }
    for path in site.writes.iter().filter(|path| !path.is_dir()) {
        let path = path.display();
        context.term.note(format!("{path} is not there yet: `lrl run` once by hand makes what it needs"));
    }
    let keys =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT_KEY"];
    for name in keys.into_iter().filter(|name| site.bucket && std::env::var_os(name).is_some()) {
        context.term.note(format!(
            "{name} is set here, and is not written into a unit or crontab that others can read: put it into the service's \
             EnvironmentFile, or make it known to cron; or name a file with it as s3-credentials-file in lrl.toml"
        ));
    }
}

/// A crontab of a user is edited by `crontab -e` only.
fn show_line(context: &Context<'_>, args: &ScheduleArgs, site: &Needs) -> Result {
    let lines = cron::lines(site, &args.at, None)?;
    notes(context, site);
    if context.term.is_json() {
        context.term.json(
            &json!({ "success": true, "written": false, "files": [], "crontab": lines, "next": ["crontab -e"] }),
        )?;
        return Ok(Exit::Done);
    }
    context.term.line(lines.trim_end())?;
    context.term.note("add it with `crontab -e`");
    Ok(Exit::Done)
}

fn document(context: &Context<'_>, files: &[Written], written: bool, next: &[String]) -> Result<()> {
    if !context.term.is_json() {
        return Ok(());
    }
    let files: Vec<Value> =
        files.iter().map(|file| json!({ "path": file.path.display().to_string(), "text": file.text })).collect();
    context.term.json(&json!({ "success": true, "written": written, "files": files, "next": next }))
}

fn remove(context: &Context<'_>, args: &ScheduleArgs) -> Result {
    if args.form == Form::Print {
        return Err(Failure::Usage("--remove goes with systemd or cron: print writes nothing".into()));
    }
    if args.form == Form::Cron && args.user {
        return Err(Failure::Usage("remove the line with `crontab -e`: lrl does not edit crontabs of users".into()));
    }
    let paths = if args.form == Form::Cron { vec![cron_file(args)] } else { units(args)?.to_vec() };
    let mut removed = files::remove(&paths)?;
    let mut next = Vec::new();
    if args.form == Form::Systemd && !removed.is_empty() {
        let [_, timer, watch] = units(args)?;
        let user = if args.user { " --user" } else { "" };
        let name = args.name.as_deref().unwrap_or(UNIT_NAME);
        next.push(format!("systemctl{user} stop {name}.timer"));
        if removed.contains(&watch) {
            next.push(format!("systemctl{user} stop {}.service", watch_name(args)));
        }
        next.push(format!("systemctl{user} daemon-reload"));
        removed.extend(files::unlink(&timer, "timers.target.wants")?);
        let wants = if args.user { "default.target.wants" } else { "multi-user.target.wants" };
        removed.extend(files::unlink(&watch, wants)?);
    }
    if context.term.is_json() {
        let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
        context.term.json(&json!({ "success": true, "removed": removed, "next": next }))?;
        return Ok(Exit::Done);
    }
    removed.iter().for_each(|path| context.term.say(format!("Removed {}", path.display())));
    match (removed.is_empty(), next.is_empty()) {
        (true, _) => context.term.say("There is nothing to remove."),
        (false, true) => {}
        (false, false) => told(context, &next),
    }
    Ok(Exit::Done)
}
