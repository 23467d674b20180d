//! The command line of another verb, as the user would type it: with the flags that were given to this one, over the same file.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use crate::args::{self, Cli};
use crate::config;
use crate::context::{Context, Left};
use crate::exit::{Failure, Result};
use crate::site::merge;
use crate::term::Term;

/// A parsed command line.
pub struct Line {
    /// The flags.
    pub cli: Cli,
    /// The same with the source of each value.
    pub matches: ArgMatches,
}

impl Line {
    /// Returns what the verb works with: over the same file, with a terminal of its own.
    pub fn context<'a>(&'a self, outer: &Context<'a>, term: &'a Term) -> Context<'a> {
        let site = merge::of_verb(&self.matches, outer.file);
        Context { cli: &self.cli, matches: &self.matches, file: outer.file, site, term, left: Left::default() }
    }
}

/// Flags that do not concern what is done, but how this run is told of, and the file, which has been read.
const OWN: [&str; 4] = ["config", "json", "quiet", "verbose"];

/// Parses the command line of a verb with `extra` words of its own, which win over those that were given.
pub fn line(context: &Context<'_>, verb: &str, extra: &[String]) -> Result<Line> {
    let mut words: Vec<OsString> = vec!["lrl".into(), verb.into()];
    let flag = |word: &str| word.split_once('=').map_or(word, |(flag, _)| flag).to_string();
    let own: Vec<String> = extra.iter().map(|word| flag(word)).collect();
    words.extend(given(context, verb).into_iter().filter(|word| !own.contains(&flag(&word.to_string_lossy()))));
    words.extend(extra.iter().map(OsString::from));
    let parsed = args::parse(&words).and_then(|first| config::parse_over(context.file, &words, &first));
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| Line { cli, matches }));
    parsed.map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::Usage(format!("lrl {verb}: {first}"))
    })
}

/// What `--out` of the verbs that back up is: the directory of the sets. For every other verb it is where it writes itself.
const BACKS_UP: [&str; 2] = ["backup", "watch"];

/// Returns the flags that were given on this command line and that a verb takes as well.
pub fn given(context: &Context<'_>, verb: &str) -> Vec<OsString> {
    let (of, own) = context.matches.subcommand().unwrap_or(("", context.matches));
    let is_same = |id: &str| id != "out" || of == verb || BACKS_UP.contains(&of) && BACKS_UP.contains(&verb);
    let command = args::command();
    let of_verb = command.find_subcommand(verb).into_iter().flat_map(clap::Command::get_arguments);
    let mut words = Vec::new();
    for arg in command.get_arguments().chain(of_verb) {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        let raw = own.try_get_raw(id).ok().flatten().filter(|_| !OWN.contains(&id) && is_same(id));
        let raw = raw.filter(|_| own.value_source(id) == Some(ValueSource::CommandLine));
        for value in raw.into_iter().flatten() {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            words.push(word);
        }
    }
    words
}
