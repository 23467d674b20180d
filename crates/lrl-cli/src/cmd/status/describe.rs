//! What is wrong with a source, in a line each; without names where nobody else is to read them.

use std::time::Duration;

use lrl_store::ops::copy::last_copied::LastCopied;
use lrl_store::ops::select::Need;
use lrl_store::ops::status::{Condition, Newest};
use lrl_store::time::Time;

use crate::render::names::Names;
use crate::render::units;

/// Tells what is wrong in a store.
pub fn condition(condition: &Condition, now: Time, names: Names) -> String {
    let time = |secs: u64| units::duration(Duration::from_secs(secs));
    // Reasons and checks name paths, tables and queries.
    let told = |text: String| names.or(text, String::new());
    match condition {
        Condition::NoGood(Need { database: true, uploads: false }) => "there is no good backup of the database".into(),
        Condition::NoGood(Need { database: false, uploads: true }) => "there is no good backup of the uploads".into(),
        Condition::NoGood(_) => "there is no good backup".into(),
        Condition::NewestNotGood(Newest { name, judgement, .. }) => {
            let why = told(format!(": {}", judgement.reason));
            format!("the newest snapshot {} is {}{why}", name.id.short(), judgement.state)
        }
        Condition::NewestFromFuture(Newest { name, .. }, ahead) => format!(
            "the newest snapshot {} is {} ahead of the clock, which went back or was wrong then: set it right, and back up; until then a missed \
             run does not show",
            name.id.short(),
            time(*ahead)
        ),
        Condition::TooOld(age, limit) => {
            format!("the last good backup is {} old, more than {}", time(*age), units::duration(*limit))
        }
        Condition::DrillFailed(drill) => format!(
            "the last drill FAILED, {}{}",
            units::age(drill.finished.secs, now.secs),
            told(format!(": {}", drill.failed_checks.join(", ")))
        ),
        Condition::DrillTooOld(Some(age), limit) => {
            format!("the last passed drill is {} old, more than {}", time(*age), units::duration(*limit))
        }
        Condition::DrillTooOld(None, limit) => {
            format!("no drill has passed yet, and one every {} is asked for", units::duration(*limit))
        }
        Condition::CheckFailed(at) => {
            format!("the last check found damage, {}; `lrl check` tells more", units::age(at.secs, now.secs))
        }
        Condition::CheckTooOld(Some(age), limit) => {
            format!("the last check without a finding is {} old, more than {}", time(*age), units::duration(*limit))
        }
        Condition::CheckTooOld(None, limit) => {
            format!("no check has passed yet, and one every {} is asked for", units::duration(*limit))
        }
    }
}

/// Tells that a second store lacks too much.
pub fn copy(copy: &LastCopied, behind: u64, age: u64, limit: Duration, names: Names) -> String {
    format!(
        "the second store {}lacks {}, the oldest of them {} old, more than {}",
        names.or(format!("{} ", units::safe(&copy.place)), String::new()),
        units::count(behind, "snapshot"),
        units::duration(Duration::from_secs(age)),
        units::duration(limit)
    )
}
