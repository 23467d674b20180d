//! `lrl watch`: sleeps until something changes, and makes a snapshot of it, until it is told to end.

mod acts;
mod application;
mod chores;
mod clock;
mod round;
mod service;
mod sleep;
mod thin;
mod troubles;
mod turns;

use std::sync::Arc;

use clap::parser::ValueSource;
use lrl_store::error::{Error, Place};
use lrl_store::ops::watch::timing::{Moment, Times, Timing};
use lrl_store::ops::watch::{WalFollower, Watcher};
use serde_json::json;

use self::application::Application;
use self::chores::Chores;
use self::clock::Clock;
use self::round::Rounds;
use self::service::Service;
use self::thin::Thin;
use self::troubles::Troubles;
use self::turns::Turns;
use super::backup;
use super::shared::open;
use super::shared::watch_state::{self, WatchState};
use crate::args::WatchArgs;
use crate::context::Context;
use crate::exit::{self, Exit, Failure, Result};
use crate::resolve::Paths;
use crate::{notify, signal};

/// Watches until the end is asked for.
pub fn run(context: &Context<'_>, args: &WatchArgs) -> Result {
    if args.backup.dry_run {
        return Err(Failure::Usage(
            "a watch has no dry run: `lrl backup --dry-run` shows what a snapshot would hold".into(),
        ));
    }
    let of_verb = context.matches.subcommand().map_or(context.matches, |(_, matches)| matches);
    if of_verb.value_source("if_older_than") == Some(ValueSource::CommandLine) {
        return Err(Failure::Usage(
            "--if-older-than is for `lrl backup`: --at-most-every says how often a watch acts".into(),
        ));
    }
    let paths = context.paths()?;
    backup::require_data(context, &paths)?;
    require_store(context, &paths)?;
    let rounds = Rounds::new(context)?;
    let thin = Thin::new(context, args)?;
    let options = backup::options(context, &args.backup, &paths)?;
    let source = context.cli.global.source.clone();
    let lock = watch_state::lock(context, &source)?;
    // From here on the first signal is not for the engine.
    let attendant = signal::attend().map_err(Error::io("wait for", "signals"))?;
    let service = Arc::new(Service::of_environment());
    let beats = Arc::clone(&service);
    signal::set_heartbeat(move || beats.beat());
    let clock = Clock::start();
    let watcher = Watcher::new(&options);
    let before = watch_state::read(context, &source).unwrap_or_default();
    if let Some(telling) = notify::prepare(context, "watch") {
        telling.run_on_start(context);
    }
    let application = Application::start(&args.when.command, attendant)?;
    let turns = Turns {
        context,
        args,
        source,
        options: &options,
        rounds,
        chores: Chores::new(args, thin, &clock),
        watcher,
        follower: WalFollower::new(&options),
        timing: Timing::new(times(args)),
        state: WatchState {
            pid: std::process::id(),
            started: clock.wall(),
            set: before.set,
            owes_set: before.owes_set,
            pruned: before.pruned,
            ..WatchState::default()
        },
        clock,
        attendant,
        service,
        application,
        troubles: Troubles::default(),
        lock,
        saved: None,
        woken: None,
        databases: None,
        asked_store: Moment::ZERO,
        verdict: None,
        count: turns::Count::default(),
    };
    let (exit, count) = turns.run()?;
    if context.term.is_json() {
        context.term.json(&json!({
            "success": exit == Exit::Done, "exit_code": exit::application().unwrap_or(exit.code()), "source": context.cli.global.source,
            "snapshots": count.snapshots, "added_bytes": count.added, "snapshot": count.newest,
        }))?;
    }
    Ok(exit)
}

fn times(args: &WatchArgs) -> Times {
    Times {
        quiet_for: args.when.quiet_for,
        at_most_every: args.when.at_most_every,
        at_least_every: args.when.at_least_every,
        idle_end: args.when.exit_when_idle,
    }
}

/// Fails where a wrong setting would make every round fail; a store that cannot be reached is waited for.
fn require_store(context: &Context<'_>, paths: &Paths) -> Result<()> {
    match open::look(context, paths) {
        Ok(None) if paths.store.directory().is_none() => {
            Err(Error::NoStore { what: Place::Store, path: paths.store.to_string().into() }.into())
        }
        Ok(_) => Ok(()),
        Err(failure) => match failure.exit(false) {
            Exit::Usage | Exit::NoStore | Exit::WrongKey => Err(failure),
            _ => Ok(()),
        },
    }
}
