//! The commands that restore a source, ready to copy, on this machine and on a new one.

use std::path::Path;

use lrl_store::backend::location::Location;
use lrl_store::ops::report::History;

use super::model::Advice;
use crate::context::store_word;
use crate::render::names::Names;
use crate::render::units::shell_word;

/// What the commands need to know.
pub struct Facts<'a> {
    /// The store.
    pub store: &'a Location,
    /// Whether the store is encrypted.
    pub is_encrypted: bool,
    /// The source.
    pub source: &'a str,
    /// Its history.
    pub history: &'a History,
    /// The directory that was backed up, where that is known here.
    pub data: Option<&'a Path>,
    /// The directory with sets, where there are some.
    pub sets: Option<&'a Path>,
}

/// Returns what to type, the first thing first.
pub fn advice(facts: &Facts<'_>, names: Names) -> Vec<Advice> {
    let store = names.or(store_word(facts.store), "STORE");
    let key = if facts.is_encrypted { " --key-file KEY" } else { "" };
    let on = format!("--store {store} --source {}{key}", names.or(shell_word(facts.source), "SOURCE"));
    let backups = facts.history.points.iter().filter(|point| !point.before_restore);
    let good = backups.rev().find(|point| point.state.is_good());
    let earlier = good.and_then(|point| point.timestamp.as_deref()).unwrap_or("20260114_120000");
    let is_site = facts.history.newest.as_ref().is_some_and(|newest| newest.is_site);
    let mut all = vec![
        advise(&format!("See what there is{}", needs(facts)), [format!("lrl snapshots {on}")]),
        advise(
            "Restore the newest good snapshot beside the live data, on any machine",
            [format!("lrl restore --target ./restored {on}")],
        ),
    ];
    if let Some(data) = facts.data {
        let flag = if is_site { "--root" } else { "--data-dir" };
        let data = names.or(shell_word(&data.to_string_lossy()), "DIR");
        all.push(advise(
            "Or in place: stop the application first. What is replaced is kept, and --undo brings it back",
            [
                format!("lrl restore --dry-run {flag} {data} {on}"),
                format!("lrl restore {flag} {data} {on}"),
                format!("lrl restore --undo {flag} {data} {on}"),
            ],
        ));
    }
    all.push(advise(
        "An earlier state: a timestamp or a time, as in 2026-11-12T14:00 or 3d",
        [format!("lrl restore {earlier} --target ./restored {on}")],
    ));
    all.push(advise(
        "One file or one database",
        [format!("lrl ls good {on}"), format!("lrl dump good PATH {on} > FILE")],
    ));
    all.push(advise("Prove that it can be restored", [format!("lrl drill --snapshot good {on}")]));
    if let Some(sets) = facts.sets {
        let sets = names.or(shell_word(&sets.to_string_lossy()), "BACKUPS");
        all.push(advise(
            "Without lrl: the sets need cp and tar only. Their directory, and how to write any other snapshot as one, with a guide beside it",
            [format!("ls {sets}"), format!("lrl export {earlier} --out ./set {on}")],
        ));
    }
    all
}

/// Tells what else the commands need, once.
fn needs(facts: &Facts<'_>) -> String {
    let mut needs = String::new();
    if facts.is_encrypted {
        needs.push_str(
            ". The store is encrypted: KEY stands for its key file; with a passphrase it is --password-file FILE",
        );
    }
    if facts.store.directory().is_none() {
        needs.push_str(
            ". The keys of the bucket come from variables, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    needs
}

fn advise<const N: usize>(what: &str, commands: [String; N]) -> Advice {
    Advice { what: what.into(), commands: commands.into() }
}

#[cfg(test)]
mod tests {
    use super::{Facts, advice};
    use crate::render::names::Names;
    use lrl_store::backend::location::Location;
    use lrl_store::ops::report::History;
    use std::path::Path;

    fn facts<'a>(store: &'a Location, history: &'a History) -> Facts<'a> {
        let (data, sets) = (Some(Path::new("/srv/it's data")), Some(Path::new("/srv/backups")));
        Facts { store, is_encrypted: true, source: "lab", history, data, sets }
    }

    #[test]
    fn commands_name_this_store_and_are_quoted() {
        let (store, history) = (Location::Directory("/srv/my store".into()), History::default());
        let all: Vec<String> =
            advice(&facts(&store, &history), Names::Shown).into_iter().flat_map(|advice| advice.commands).collect();
        let in_place = all.iter().find(|line| line.starts_with("lrl restore --dry-run")).unwrap();
        let words = shlex::split(in_place).unwrap();
        for word in ["/srv/it's data", "/srv/my store", "--data-dir", "lab"] {
            assert!(words.iter().any(|found| found == word), "{words:?}");
        }
    }

    #[test]
    fn no_name_is_left_where_names_are_left_out() {
        let (store, history) = (Location::Bucket("s3://k:p@secret/x?endpoint=http://h".into()), History::default());
        let all = advice(&facts(&store, &history), Names::Redacted);
        for line in all.iter().flat_map(|advice| &advice.commands) {
            assert!(["secret", "srv", "lab", "http"].iter().all(|name| !line.contains(name)), "{line}");
        }
        let shown = advice(&facts(&store, &history), Names::Shown);
        assert!(shown[0].commands[0].contains("s3://secret/x?endpoint=http://h"), "{}", shown[0].commands[0]);
    }
}
