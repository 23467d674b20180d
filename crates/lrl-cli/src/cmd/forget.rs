//! `lrl forget`: which snapshots go, and why the others stay.

use std::time::SystemTime;

use lrl_store::ops::forget::{self, Decision, Options, Plan, Policy};
use lrl_store::store::Store;
use lrl_store::time::{Time, time_of};
use serde_json::{Value, json};

use super::prune;
use super::shared::{choose, open};
use crate::args::ForgetArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::table::{Side, Table};
use crate::render::units::safe;
use crate::render::{entry, json, units};

/// Plans, shows the plan, and follows it.
pub fn run(context: &Context<'_>, args: &ForgetArgs) -> Result {
    // Who names snapshots means these; a policy from lrl.toml is another matter.
    let mut policy = if args.snapshots.is_empty() { policy(args) } else { Policy::default() };
    policy.bad_within_secs = args.keep_bad_within.as_secs();
    if policy.is_empty() && args.snapshots.is_empty() {
        let text = "lrl forget needs a policy that keeps something, as --keep-daily 7 or keep-daily in [policy] of lrl.toml, or the names \
                    of snapshots to remove";
        return Err(Failure::Usage(text.into()));
    }
    let store = open::open_to_delete(context, &context.paths()?, args.dry_run)?;
    let latest_of = args.snapshots.iter().any(|name| name.starts_with("latest") || name.starts_with("good"));
    let source = if latest_of { Some(context.cli.global.source.as_str()) } else { choose::named_source(context) };
    let mut options = Options::new(policy, time_of(SystemTime::now()));
    options.source = source.map(str::to_string);
    options.names = args.snapshots.clone();
    options.force = args.force;
    let plan = forget::plan(&store, &options, context.term)?;
    refuse_other_source(context, args, &store, &plan)?;
    show(context, args, &plan, || {
        if !args.dry_run {
            forget::apply(&store, &plan, context.term)?;
        }
        if !args.prune {
            return Ok(json!({}));
        }
        let forgotten = plan.removed().map(|name| name.id).collect();
        let how = prune::Settings { unused: &args.unused, bucket: &args.bucket, dry_run: args.dry_run };
        Ok(json!({ "prune": prune::prune(context, &store, &how, &forgotten)? }))
    })
}

/// Refuses to remove snapshots of another source by name, unless the command line names that source: a timestamp or a short id is soon that of
/// another one.
fn refuse_other_source(context: &Context<'_>, args: &ForgetArgs, store: &Store, plan: &Plan) -> Result<()> {
    let usual = &context.cli.global.source;
    let other = plan.removed().find(|name| name.source != *usual);
    let (false, false, Some(name)) = (args.snapshots.is_empty(), choose::is_source_given(context), other) else {
        return Ok(());
    };
    if store.sources()?.len() < 2 {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "snapshot {} is of source `{source}`, but this command is about source `{}`: nothing was forgotten; `--source {source}` says that it is meant",
        name.id.short(),
        safe(usual),
        source = safe(&name.source)
    )))
}

/// Returns the rules of the flags, and of `lrl.toml` below them.
pub fn policy(args: &ForgetArgs) -> Policy {
    let keep = args.keep.clone().unwrap_or_default();
    let mut policy = Policy::default();
    policy.last = args.keep_last;
    policy.hourly = args.keep_hourly;
    policy.daily = args.keep_daily;
    policy.weekly = args.keep_weekly;
    policy.monthly = args.keep_monthly;
    policy.yearly = args.keep_yearly;
    policy.within_secs = args.keep_within.unwrap_or_default().max(keep.all).as_secs();
    policy.thinned = keep.thinned.iter().map(|(period, age)| (*period, age.as_secs())).collect();
    policy.tags = args.keep_tag.clone();
    policy
}

/// Shows the plan, runs `act`, which returns what else belongs into the document, and says how it ended.
fn show(context: &Context<'_>, args: &ForgetArgs, plan: &Plan, act: impl FnOnce() -> Result<Value>) -> Result {
    let term = context.term;
    let removed = plan.removed().count() as u64;
    let kept = plan.decisions.len() as u64 - removed;
    let head = json!({ "dry_run": args.dry_run, "kept": kept, "removed": removed });
    json::list(term, head, "snapshots", |list| {
        plan.decisions.iter().try_for_each(|decision| list.item(|| to_json(decision)))?;
        if !term.is_json() && (args.dry_run || !context.cli.global.quiet) {
            table(context, args, plan)?;
        }
        let count = units::count(removed, "snapshot");
        if args.dry_run {
            term.line(format!("Dry run: {count} would be removed, {kept} kept."))?;
        }
        if !args.dry_run {
            term.say(format!("Removing {count}, keeping {kept}."));
        }
        let tail = act()?;
        if !args.dry_run && removed > 0 && !args.prune {
            term.say("Their room is still taken: `lrl prune` gives it back. Sets stay.");
        }
        Ok((tail, Exit::Done))
    })
}

fn table(context: &Context<'_>, args: &ForgetArgs, plan: &Plan) -> Result<()> {
    let columns = ["", "id", "time (UTC)", "number", "source", "state", "kept as", "tags"];
    let mut table = Table::new(&columns.map(|name| (name, if name == "number" { Side::Right } else { Side::Left })));
    // Of those that were not named only the fate of the named is news.
    let shown = plan.decisions.iter().filter(|decision| decision.remove || args.snapshots.is_empty());
    let cells = |Decision { name, time, tags, state, kept, remove }: &Decision| {
        let time = time.as_ref().map_or("cannot be read".into(), |(_, secs)| units::moment(*secs));
        let reasons: Vec<String> = kept.iter().map(ToString::to_string).collect();
        [
            if *remove { "remove" } else { "keep" }.into(),
            name.id.short(),
            time,
            name.sequence.to_string(),
            name.source.clone(),
            state.name().into(),
            reasons.join(", "),
            tags.join(" "),
        ]
    };
    // A history may be long: its rows are made twice, and none is held.
    shown.clone().for_each(|decision| table.measure(&cells(decision)));
    context.term.table(&table)?;
    shown.into_iter().try_for_each(|decision| context.term.line(table.shown(&cells(decision))))
}

fn to_json(decision: &Decision) -> Value {
    let reasons: Vec<String> = decision.kept.iter().map(ToString::to_string).collect();
    let (timestamp, secs) = decision.time.clone().unzip();
    json!({
        "action": if decision.remove { "remove" } else { "keep" },
        "id": decision.name.id, "short_id": decision.name.id.short(), "source": decision.name.source,
        "sequence": decision.name.sequence, "timestamp": timestamp, "time": secs.map(|secs| entry::iso(Time { secs, nanos: 0 })),
        "tags": decision.tags, "state": decision.state, "reasons": reasons,
    })
}
