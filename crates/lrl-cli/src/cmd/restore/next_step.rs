//! Commands that lrl suggests, as they work here: with the flags of this command line that say where things are.

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::context::Context;

/// Flags of every command that say where things are, and how they are opened.
const GLOBAL: [&str; 9] = [
    "config",
    "backup",
    "store",
    "source",
    "cache_dir",
    "password_file",
    "password_command",
    "key_file",
    "s3_credentials_file",
];
/// Those of `lrl restore`.
const RESTORE: [&str; 3] = ["target", "data_dir", "root"];

/// Completes each command in backquotes.
pub fn complete(context: &Context<'_>, text: &str) -> String {
    let mut parts = text.split('`');
    let mut done = parts.next().unwrap_or_default().to_string();
    for (at, part) in parts.enumerate() {
        done.push('`');
        done.push_str(part);
        if at % 2 == 0 && part.starts_with("lrl ") {
            done.push_str(&flags(context, part.starts_with("lrl restore")));
        }
    }
    done
}

fn flags(context: &Context<'_>, is_restore: bool) -> String {
    let matches = context.matches.subcommand().map_or(context.matches, |(_, sub)| sub);
    let ids = GLOBAL.iter().chain(RESTORE.iter().filter(|_| is_restore));
    ids.filter_map(|id| Some(format!(" --{} {}", id.replace('_', "-"), given(matches, id)?))).collect()
}

/// Returns the value of a flag that was given, quoted for a shell.
fn given(matches: &ArgMatches, id: &str) -> Option<String> {
    if matches.try_contains_id(id).is_err() || matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    let value = matches.get_raw(id)?.next()?.to_string_lossy().into_owned();
    Some(shlex::try_quote(&value).map_or_else(|_| value.clone(), |quoted| quoted.into_owned()))
}
