//! The watch of a source, in words and as a document.

use std::time::Duration;

use lrl_store::time::Time;
use serde_json::{Value, json};

use crate::cmd::shared::watch_state::Seen;
use crate::render::{entry, units};

/// Tells in a line how the watch is.
pub fn line(watch: &Seen, now: i64) -> String {
    let state = &watch.state;
    let looked = state.looked.map_or("no look yet".into(), |looked| format!("looked {}", units::age(looked, now)));
    if watch.died() {
        return format!("Watch: DIED (process {}, {looked})", state.pid);
    }
    if !watch.is_running {
        let ended = state.ended.map_or_else(String::new, |ended| format!(" {}", units::age(ended, now)));
        let left = if state.unsaved_since.is_some() { "; not everything was saved" } else { "; all was saved" };
        return format!("Watch: ended{ended}{left}");
    }
    let lag = match state.unsaved_since {
        None => "all is saved".to_string(),
        Some(_) => format!("lag {}", units::duration(Duration::from_secs(lag(watch, now)))),
    };
    let blind = state.blind.as_ref().map(|why| format!("; {}", units::safe(why))).unwrap_or_default();
    format!("Watch: runs (process {}, since {}), {lag}, {looked}{blind}", state.pid, units::moment(state.started))
}

/// Tells what is wrong with it, if something is.
pub fn wrong(watch: &Seen, now: i64) -> Option<String> {
    let state = &watch.state;
    if watch.died() {
        let looked = units::age(state.looked.unwrap_or(state.started), now);
        return Some(format!(
            "the watch (process {}) died: what has changed since its last look, {looked}, may not be saved; start it again",
            state.pid
        ));
    }
    let failing = state.failing.as_ref().filter(|_| watch.is_running)?;
    Some(format!(
        "the watch fails since {} ({}): {}",
        units::moment(failing.since),
        units::count(failing.tries, "try|tries"),
        units::safe(&failing.error)
    ))
}

/// Returns all of it as a document.
pub fn document(watch: &Seen, now: i64) -> Value {
    let state = &watch.state;
    let time = |secs: Option<i64>| secs.map(|secs| entry::iso(Time { secs, nanos: 0 }));
    json!({
        "running": watch.is_running, "died": watch.died(), "pid": state.pid, "started": time(Some(state.started)),
        "ended": time(state.ended), "lag_seconds": watch.lag(now), "unsaved_since": time(state.unsaved_since),
        "last_look": time(state.looked), "last_look_age_seconds": state.looked.map(|looked| (now - looked).max(0)),
        "snapshot": state.snapshot, "failing": state.failing, "blind": state.blind,
    })
}

fn lag(watch: &Seen, now: i64) -> u64 {
    watch.lag(now).and_then(|lag| u64::try_from(lag).ok()).unwrap_or_default()
}
