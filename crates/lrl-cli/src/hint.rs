//! What the engine advises, in words of the command line, and the messages that it comes with.

use std::borrow::Cow;

use lrl_store::error::Error;
use lrl_store::hint::{Hint, Message};
use lrl_store::progress::Problem;
use serde_json::{Value, json};

/// Returns an error's text with what helps.
pub fn error(error: &Error) -> String {
    joined(error, error.hints(), &str::to_string)
}

/// Returns an error's text with what helps, each suggestion as `complete` makes it.
pub fn completed(error: &Error, complete: &dyn Fn(&str) -> String) -> String {
    joined(error, error.hints(), complete)
}

/// Returns a message with what helps.
pub fn message(message: &Message) -> String {
    joined(message, message.hints(), &str::to_string)
}

/// Returns messages with what helps.
pub fn messages(messages: &[Message]) -> Vec<String> {
    messages.iter().map(message).collect()
}

/// Returns the document of problems.
pub fn problems(problems: &[Problem]) -> Value {
    problems
        .iter()
        .map(|problem| json!({ "path": problem.path, "reason": message(&problem.reason), "lost": problem.lost }))
        .collect()
}

fn joined(text: impl ToString, hints: &[Hint], complete: &dyn Fn(&str) -> String) -> String {
    let mut all = text.to_string();
    for hint in hints {
        all.push_str("; ");
        all.push_str(&complete(&words(hint)));
    }
    all
}

/// Returns a hint in words of the command line.
pub fn words(hint: &Hint) -> Cow<'static, str> {
    let text = match hint {
        Hint::AddKey => "`lrl key add` adds one",
        Hint::Backup => "`lrl backup` makes one",
        Hint::BucketKey => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with --s3-credentials-file (docs/REMOTE.md)"
        }
        Hint::BuildWith(feature) => {
            return format!(
                "it needs the feature `{feature}`: cargo install --path crates/lrl-cli --features {feature}"
            )
            .into();
        }
        Hint::Check => "`lrl check` tells more",
        Hint::CheckData => "`lrl check --read-data` tells more",
        Hint::CompareRows(table) => {
            return format!("`lrl diff SNAPSHOT live --rows {table}` shows what differs").into();
        }
        Hint::Drill(id) => {
            return format!("`lrl drill --snapshot {id}` tells whether it can be restored, and makes it good if so")
                .into();
        }
        Hint::DumpTable(table) => {
            return format!("`lrl dump SNAPSHOT --table {table} --into FILE.sqlite` gives its rows as a database")
                .into();
        }
        Hint::Export(id) => return format!("`lrl export {id}` makes it again").into(),
        Hint::FollowLink(path) => {
            return format!("--follow-link '{path}' stores a directory in its place").into();
        }
        Hint::Force => "--force does it all the same",
        Hint::ForceNamed => "one that is named is used with --force",
        Hint::GiveUp(id) => return format!("`lrl forget {id} --force` gives it up").into(),
        Hint::ListFiles(stamp) => return format!("`lrl ls {stamp}` lists what it holds").into(),
        Hint::ListKeys => "`lrl key list` shows them",
        Hint::ListSnapshots => "`lrl snapshots` lists them, and what each holds",
        Hint::MakeSpace => {
            "make room (`lrl restore --clean` removes what earlier restores kept; older sets), or restore to another disk with --target"
        }
        Hint::NameCacheDir => "name one with --cache-dir",
        Hint::NameDataDir => "--data-dir and STORAGE_PATH name the directories of the data",
        Hint::NameSource => "--source NAME names one",
        Hint::NoTriggers => "--no-triggers writes them without",
        Hint::OnlyPruner => "if no other machine prunes or repairs it, say so there with --only-pruner",
        Hint::OtherPlace => "name another place with --store, --backup or --cache-dir",
        Hint::OtherStore => "name another place with --store",
        Hint::OtherTarget => "a restore to another --data-dir, or with --target, works",
        Hint::OwnerIsSet => "--owner does that",
        Hint::RemoveKept => "`lrl restore --clean` removes them",
        Hint::PathsOfLab => "--only takes lrl.db, assets and what is below it",
        Hint::Repair => "`lrl check --repair` moves it out of the way",
        Hint::RepairConfig => "`lrl check --repair` makes the config again if this was a store",
        Hint::RestoreInParts => "--path restores one part at a time",
        Hint::RestorePath { snapshot, path } => {
            return format!("`lrl restore {snapshot} --path {path}` brings it back").into();
        }
        Hint::SetOwner => "--owner USER:GROUP names one that can",
        Hint::SkipDamaged => "--skip-damaged restores what it has",
        Hint::StorageAsBefore => "set STORAGE_PATH as it was",
        Hint::TakeKeyAway => {
            "`lrl init --encrypt` makes an encrypted one; if it should not be, take the key away (LRL_PASSWORD_FILE, LRL_PASSWORD_COMMAND, \
             LRL_KEY_FILE, lrl.toml)"
        }
        Hint::UndoRestore => "`lrl restore --undo` puts back what was there",
        Hint::WhereRows => "name fewer with --where",
        Hint::WithoutReplace => "leave --replace out",
    };
    text.into()
}
