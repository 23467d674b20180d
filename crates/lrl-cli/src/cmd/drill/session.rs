//! The drills of one run: how each is made, told and recorded, and what they come to.

use std::time::{Instant, SystemTime};

use lrl_store::ops::drill::{Assertion, Options, Report};
use lrl_store::store::Store;
use lrl_store::time::{Time, time_of};
use serde_json::{Map, Value, json};

use super::render::{self, DrillOutcome};
use super::site::SiteChecks;
use crate::args::DrillArgs;
use crate::cmd::drill::records::Books;
use crate::cmd::shared::heading::heading;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::json::{self, List};
use crate::render::units;

/// One run of the command.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) args: &'a DrillArgs,
    pub(super) assertions: Vec<Assertion>,
    pub(super) site: SiteChecks,
    pub(super) started: Instant,
}

impl Run<'_> {
    pub(super) fn options<'o>(&'o self, store: Result<&'o Store, String>) -> Options<'o> {
        let mut options = Options::new(std::env::temp_dir(), store);
        options.required_tables = self.args.require_table.clone();
        options.required = &self.site.required;
        options.assertions = &self.assertions;
        options.checks = &self.site.checks;
        options.root = self.site.root.clone();
        options.skip = self.args.skip_check.clone();
        options
    }

    /// Prints the heading, lets `act` drill, which returns what else belongs into the document, and tells how it ended.
    pub(super) fn each(&self, act: impl FnOnce(&mut Drills, &mut List<'_>) -> Result<Value>) -> Result {
        let term = self.context.term;
        heading(self.context, "Restore Drill");
        json::list(term, json!({}), "verifications", |list| {
            let mut drills = Drills { ended: Vec::new(), undrilled: 0, books: Books::default() };
            let more = act(&mut drills, list)?;
            drills.end(self, more)
        })
    }
}

/// What the drills came to so far.
pub(super) struct Drills {
    pub(super) ended: Vec<DrillOutcome>,
    /// How many could not be drilled at all, for reasons that are not theirs.
    pub(super) undrilled: u64,
    pub(super) books: Books,
}

impl Drills {
    /// Tells of one drill and records it.
    pub(super) fn add(
        &mut self,
        run: &Run<'_>,
        mut report: Report,
        store: Result<&Store, String>,
        list: &mut List<'_>,
    ) -> Result<()> {
        let (context, now) = (run.context, now());
        // It is compared with the drill before, which may find more, and then told.
        self.books.enter(context, &mut report, store, now);
        render::report(context, &report);
        render::warnings(context, &report, !run.assertions.is_empty() || !run.site.checks.is_empty());
        render::verifications(&report).try_for_each(|value| list.item(|| value))?;
        self.ended.push(DrillOutcome::of(report, now.secs));
        Ok(())
    }

    pub(super) fn end(self, run: &Run<'_>, more: Value) -> Result<(Value, Exit)> {
        let success = self.undrilled == 0 && self.ended.iter().all(|ended| ended.success);
        let damaged = self.ended.iter().any(|ended| !ended.success && !ended.missing);
        let errors: Vec<&String> = self.ended.iter().flat_map(|ended| &ended.errors).collect();
        render::verdict(run.context.term, success, &errors);
        self.ended.iter().for_each(|ended| run.context.term.say(ended.line()));
        let mut tail = json!({ "errors": errors, "sets": self.ended });
        if let (Value::Object(tail), Value::Object(more)) = (&mut tail, more) {
            more.get("history").and_then(Value::as_object).into_iter().for_each(|history| {
                run.context.term.say(history_line(history));
            });
            tail.extend(more);
        }
        let exit = match (success, damaged) {
            (true, _) => Exit::Done,
            (false, true) => Exit::Wrong,
            (false, false) => Exit::Failed,
        };
        Ok((tail, exit))
    }
}

pub(super) fn now() -> Time {
    time_of(SystemTime::now())
}

/// Says what it came to, in one line.
fn history_line(history: &Map<String, Value>) -> String {
    let number = |key: &str| history.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!(
        "Drilled {} of {}: {} passed, {} failed",
        number("drilled"),
        units::count(number("snapshots"), "snapshot"),
        number("passed"),
        number("failed")
    );
    if number("not_drilled") > 0 {
        text.push_str(&format!(", {} could not be drilled", number("not_drilled")));
    }
    text
}
