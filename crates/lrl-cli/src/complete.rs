//! What a shell completes: commands and flags from the command line itself, and snapshots, sources and paths from the store. These are asked
//! of this program in a process of its own, which is ended when it takes too long: nobody waits for a bucket after a keystroke.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Arg, ValueHint};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;

use crate::args;

/// Longer than that nobody waits.
const MOST_TIME: Duration = Duration::from_secs(2);
/// More than that nobody reads.
const MOST: usize = 200;
/// Flags that say which store is meant, and how it is opened.
const PLACES: [&str; 11] = [
    "--backup",
    "--store",
    "--config",
    "--source",
    "--cache-dir",
    "--state-dir",
    "--store-id",
    "--password-file",
    "--password-command",
    "--key-file",
    "--s3-credentials-file",
];

/// Answers a shell that asks by `COMPLETE`, and ends the process then. To be called before any thread is started.
pub fn answer() {
    if std::env::var_os("COMPLETE").is_some() {
        CompleteEnv::with_factory(command).completer("lrl").complete();
    }
}

/// Returns the line that makes a shell ask; `None` for a shell that cannot.
pub fn registration(shell: &str) -> Option<Vec<u8>> {
    let shells = clap_complete::env::Shells::builtins();
    let shell = shells.completer(shell)?;
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "lrl", "lrl", "lrl", &mut script).ok()?;
    Some(script)
}

fn command() -> clap::Command {
    args::map_args(args::command(), &|arg| match kind(&arg) {
        Some(complete) => arg.add(ArgValueCompleter::new(complete)),
        None if is_path(&arg) => arg.value_hint(ValueHint::AnyPath),
        None => arg,
    })
}

type Complete = fn(&OsStr) -> Vec<CompletionCandidate>;

/// Returns what completes the values of a flag or argument from the store.
fn kind(arg: &Arg) -> Option<Complete> {
    match (arg.get_id().as_str(), arg.get_long()) {
        ("snapshot" | "snapshots" | "from" | "to", None) | ("snapshot", Some("snapshot")) => Some(snapshots),
        ("source", Some("source")) | ("retired", Some("retired")) => Some(sources),
        ("path", None | Some("only")) => Some(paths),
        _ => None,
    }
}

fn is_path(arg: &Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().any(|name| name.contains("DIR") || name.contains("FILE") || name.contains("PATH"))
}

fn snapshots(start: &OsStr) -> Vec<CompletionCandidate> {
    let start = start.to_string_lossy();
    let mut found: Vec<CompletionCandidate> = [("good", "the newest good one"), ("latest", "the newest")]
        .into_iter()
        .filter(|(name, _)| name.starts_with(&*start))
        .map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into())))
        .collect();
    let mut listed = ask(&["snapshots", "--last", "50"], &places(&words()), MOST);
    listed.reverse();
    for one in listed {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_string();
        let help = format!("{} {} {}", text("time"), text("source"), text("state"));
        // By its timestamp only where somebody began to type one.
        let names = [text("short_id"), text("timestamp")];
        let name = names.into_iter().find(|name| !name.is_empty() && name.starts_with(&*start));
        found.extend(name.map(|name| CompletionCandidate::new(name).help(Some(help.into()))));
    }
    found
}

fn sources(start: &OsStr) -> Vec<CompletionCandidate> {
    let start = start.to_string_lossy();
    let mut names = BTreeMap::new();
    // The beginning of a source's name is none.
    let mut flags = places(&words());
    flags.retain(|flag| !flag.to_string_lossy().starts_with("--source"));
    for one in ask(&["snapshots", "--last", "1"], &flags, MOST) {
        if let Some(name) = one["source"].as_str().filter(|name| name.starts_with(&*start)) {
            names.insert(name.to_string(), one["time"].as_str().unwrap_or_default().to_string());
        }
    }
    names.into_iter().map(|(name, time)| CompletionCandidate::new(name).help(Some(time.into()))).collect()
}

/// Completes one name at a time, as for files: what is below a directory once its `/` is there.
fn paths(start: &OsStr) -> Vec<CompletionCandidate> {
    let start = start.to_string_lossy();
    let dir = start.rfind('/').map_or("", |at| &start[..=at]);
    let words = words();
    let snapshot = snapshot_in(&words).unwrap_or_else(|| "good".into());
    let mut line = vec!["ls", &snapshot];
    line.extend((!dir.is_empty()).then(|| dir.trim_end_matches('/')));
    let mut names = BTreeMap::new();
    for one in ask(&line, &places(&words), 20 * MOST) {
        let Some(below) = one["path"].as_str().and_then(|path| path.strip_prefix(dir)) else { continue };
        let (name, is_dir) = match below.split_once('/') {
            Some((name, _)) => (name, true),
            None => (below, one["kind"] == "directory" || one["type"] == "directory"),
        };
        if !name.is_empty() && format!("{dir}{name}").starts_with(&*start) {
            *names.entry(format!("{dir}{name}")).or_insert(false) |= is_dir;
        }
        if names.len() >= MOST {
            break;
        }
    }
    names.into_iter().map(|(name, is_dir)| CompletionCandidate::new(if is_dir { name + "/" } else { name })).collect()
}

/// Returns the words of the line that is being completed.
fn words() -> Vec<String> {
    let all = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    all.skip_while(|word| word != "--").skip(1).collect()
}

/// Returns the snapshot that a line names before its path: the second word of its own, after the command.
fn snapshot_in(words: &[String]) -> Option<String> {
    // The last word is the one that is being completed.
    let before = &words[..words.len().saturating_sub(1)];
    let plain = before.windows(2).filter(|pair| {
        let is_value = PLACES.contains(&&*pair[0]) || pair[0] == "--only";
        !pair[1].starts_with('-') && !is_value
    });
    plain.map(|pair| pair[1].clone()).nth(1)
}

/// Returns the flags of a line that say which store is meant.
fn places(words: &[String]) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let name = word.split('=').next().unwrap_or_default();
        if PLACES.contains(&name) {
            if word.contains('=') {
                flags.push(word.into());
            } else if let Some(value) = rest.peek().filter(|value| !value.is_empty() && !value.starts_with('-')) {
                flags.push(format!("{word}={value}").into());
            }
        }
    }
    flags
}

/// Runs this program with `--json`, and returns the items of the list that it writes, line by line; up to `most` of them, and what came in time.
fn ask(line: &[&str], flags: &[OsString], most: usize) -> Vec<Value> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let child = Command::new(program)
        .args(line)
        .args(["--json", "--lock-wait=0"])
        .args(flags)
        .env_remove("COMPLETE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return Vec::new() };
    let (sender, lines) = mpsc::sync_channel(64);
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let item = line.trim().trim_end_matches(',');
                if let Ok(item @ Value::Object(_)) = serde_json::from_str(item)
                    && sender.send(item).is_err()
                {
                    break;
                }
            }
        });
    }
    let until = Instant::now() + MOST_TIME;
    let mut found = Vec::new();
    while found.len() < most
        && let Ok(item) = lines.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        found.push(item);
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    found
}

#[cfg(test)]
mod tests {
    use super::{places, snapshot_in};

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(String::from).collect()
    }

    #[test]
    fn the_flags_of_the_line_go_along() {
        let found = places(&words("lrl restore --store /s --only a --config=c.toml --key-file --source "));
        assert_eq!(found, ["--store=/s", "--config=c.toml"]);
    }

    #[test]
    fn the_snapshot_is_the_first_word_of_its_own() {
        for (line, snapshot) in [
            ("lrl ls latest~1 assets/a", Some("latest~1")),
            ("lrl ls --store /s abcd1234 a", Some("abcd1234")),
            ("lrl --store=/s dump good ", Some("good")),
            ("lrl restore --only a", None),
            ("lrl restore 2h --only a", Some("2h")),
        ] {
            assert_eq!(snapshot_in(&words(line)).as_deref(), snapshot, "{line}");
        }
    }
}
