//! The command line: every command and flag, parsed without any I/O. Flags under the headings [`SETTINGS`] and [`SHARED`] are
//! the keys of `lrl.toml` as well: this is the one table of settings.
//!
//! The first paragraph of a flag's docstring is its help in `-h`, all paragraphs are its help in `--help`.

pub mod backup;
pub mod check;
pub mod config;
pub mod copy;
pub mod diff;
pub mod drill;
pub mod dump;
pub mod examples;
pub mod export;
pub mod find;
pub mod forget;
pub mod headings;
mod help;
pub mod import;
pub mod init;
pub mod keep;
pub mod key;
pub mod ls;
pub mod man;
pub mod max_age;
pub mod notify;
pub mod prune;
pub mod report;
pub mod restore;
pub mod restore_rows;
pub mod rows;
pub mod run;
pub mod schedule;
pub mod setup;
pub mod shared;
pub mod snapshots;
pub mod sql;
pub mod status;
pub mod step;
pub mod ui;
pub mod values;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use backup::BackupArgs;
pub use check::CheckArgs;
pub use config::ConfigArgs;
pub use copy::CopyArgs;
pub use diff::DiffArgs;
pub use drill::DrillArgs;
pub use export::ExportArgs;
pub use find::FindArgs;
pub use forget::ForgetArgs;
pub use headings::{COMMON, SETTINGS, SHARED};
pub use import::ImportArgs;
pub use init::InitArgs;
pub use key::{KeyArgs, KeyVerb, NewCredentialArgs, NewKeyArgs};
pub use ls::LsArgs;
pub use notify::NotifyArgs;
pub use prune::PruneArgs;
pub use restore::RestoreArgs;
pub use run::RunArgs;
pub use schedule::ScheduleArgs;
pub use setup::SetupArgs;
pub use shared::{AppArgs, BucketArgs, DataArgs, FreeArgs, HalfArgs, LimitArgs, OnlyPrunerArgs, UnusedArgs};
pub use snapshots::SnapshotsArgs;
pub use status::StatusArgs;
pub use watch::WatchArgs;

use help::{paragraphs, point_to_long_help, unwrap_help};
use report::ReportArgs;
use ui::UiArgs;

/// Help is at most this wide, however wide the terminal is.
const WIDTH: usize = 100;

/// Backups of a small site's database and uploads that cost little and are proven to restore.
#[derive(Debug, Parser)]
#[command(name = "lrl", version, max_term_width = WIDTH, after_long_help = examples::TOP, subcommand_required = true)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Backup directory: holds the sets, and the store unless --store names another
    #[arg(long, global = true, value_name = "DIR", default_value = "./backups", value_parser = values::directory_parser(), hide_short_help = true, help_heading = SHARED)]
    pub backup: PathBuf,
    /// Store to use, if it is not `store` in the backup directory.
    ///
    /// A directory, or a bucket as s3://bucket/prefix?endpoint=URL&region=NAME.
    #[arg(long, global = true, value_name = "PATH|URL", value_parser = values::place_parser(), env = "LRL_STORE", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
    pub store: Option<PathBuf>,
    /// Directory for local copies of what is in a bucket [default: lrl in the user's cache directory]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true, help_heading = SHARED)]
    pub cache_dir: Option<PathBuf>,
    /// Directory in which lrl remembers the id of each store [default: lrl in the user's state directory].
    ///
    /// This is how a disk that is not mounted is told from a new store.
    #[arg(long, global = true, value_name = "DIR", env = "LRL_STATE_DIR", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
    pub state_dir: Option<PathBuf>,
    /// Id that the store must have, or its first digits (at least 8).
    ///
    /// `lrl init --json` and `lrl stats --json` show it. A store with another id is refused.
    #[arg(long, global = true, value_name = "ID", value_parser = values::store_id, hide_short_help = true, help_heading = SHARED)]
    pub store_id: Option<String>,
    /// File with the passphrase of an encrypted store, in its first line
    #[arg(long, global = true, value_name = "FILE", env = "LRL_PASSWORD_FILE", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
    pub password_file: Option<PathBuf>,
    /// Program that prints the passphrase, with its arguments; it is not run by a shell
    #[arg(long, global = true, value_name = "COMMAND", env = "LRL_PASSWORD_COMMAND", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
    pub password_command: Option<String>,
    /// Key file of an encrypted store, as written by `lrl key make-file`
    #[arg(long, global = true, value_name = "FILE", env = "LRL_KEY_FILE", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
    pub key_file: Option<PathBuf>,
    /// File with the access key of a bucket, in the form of ~/.aws/credentials.
    ///
    /// Its profile is `default`, unless AWS_PROFILE or `profile=` in the bucket's URL names another one.
    #[arg(long, global = true, value_name = "FILE", env = "LRL_S3_CREDENTIALS_FILE", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
    pub s3_credentials_file: Option<PathBuf>,
    /// Source: whose history in the store is meant; check and stats cover all sources.
    ///
    /// Of a site the name of its preset or root, unless the settings name it.
    #[arg(long, global = true, value_name = "NAME", default_value = "lab", value_parser = values::source, hide_short_help = true, help_heading = SHARED)]
    pub source: String,
    /// Read times that name a snapshot in UTC, in place of the local time zone
    #[arg(long, global = true, hide_short_help = true, help_heading = SHARED)]
    pub utc: bool,
    /// How long to wait for another lrl that holds the store (as in 90s, 30m, 2h; 0 does not wait)
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", value_parser = values::duration, hide_short_help = true, help_heading = SHARED)]
    pub lock_wait: Duration,
    /// Read settings from this file [default: ./lrl.toml, else lrl/lrl.toml in the user's configuration directory].
    ///
    /// A file named here is used even if other users can write it.
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON)]
    pub config: Option<PathBuf>,
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true, help_heading = COMMON)]
    pub json: bool,
    /// Print only what was asked for, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = COMMON)]
    pub quiet: bool,
    /// Print more on standard error: which settings, store and snapshot are used
    #[arg(short, long, global = true, help_heading = COMMON)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Store a snapshot of the database and the uploads, and write its set
    #[command(after_long_help = examples::BACKUP)]
    Backup(Box<BackupArgs>),
    /// Restore a snapshot or a set in place, keeping what it replaces as *.pre-restore
    #[command(after_long_help = examples::RESTORE)]
    Restore(RestoreArgs),
    /// Prove that a set or a snapshot can be restored; changes nothing
    #[command(after_long_help = examples::DRILL)]
    Drill(DrillArgs),
    /// Write a snapshot as a set, which cp and tar can restore
    #[command(after_long_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Import sets of the old scripts as snapshots with their own times
    #[command(after_long_help = examples::IMPORT)]
    Import(ImportArgs),
    /// List snapshots
    #[command(after_long_help = examples::SNAPSHOTS)]
    Snapshots(SnapshotsArgs),
    /// List the contents of a snapshot
    #[command(after_long_help = examples::LS)]
    Ls(LsArgs),
    /// Show what changed between two snapshots
    #[command(after_long_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Find the snapshots that contain an upload
    #[command(after_long_help = examples::FIND)]
    Find(FindArgs),
    /// Write one file or table of a snapshot to standard output
    #[command(after_long_help = examples::DUMP)]
    Dump(dump::DumpArgs),
    /// Run a query in a database of a snapshot; changes nothing
    #[command(after_long_help = examples::SQL)]
    Sql(sql::SqlArgs),
    /// Count the rows of tables in each snapshot: when did they vanish?
    #[command(after_long_help = examples::ROWS)]
    Rows(rows::RowsArgs),
    /// Verify the store, and repair it with --repair
    #[command(after_long_help = examples::CHECK)]
    Check(CheckArgs),
    /// Copy snapshots from one store to another
    #[command(after_long_help = examples::COPY)]
    Copy(CopyArgs),
    /// Remove snapshots, by name or by policy
    #[command(after_long_help = examples::FORGET)]
    Forget(ForgetArgs),
    /// Delete data that no snapshot needs
    #[command(after_long_help = examples::PRUNE)]
    Prune(PruneArgs),
    /// Do what is due: backup, copy, drill, forget, prune and check, by [policy] in lrl.toml
    #[command(after_long_help = examples::RUN)]
    Run(RunArgs),
    /// Run `lrl run` every night, by systemd or cron
    #[command(after_long_help = examples::SCHEDULE)]
    Schedule(ScheduleArgs),
    /// Make a snapshot whenever the data changes, until it is told to end
    #[command(after_long_help = examples::WATCH)]
    Watch(Box<WatchArgs>),
    /// Show how much space the store takes, and how much it saves
    #[command(after_long_help = examples::STATS)]
    Stats,
    /// Show the age of the last good backup, drill and check
    #[command(after_long_help = examples::STATUS)]
    Status(StatusArgs),
    /// Write a page that shows whether all is well, and what to do if not
    #[command(after_long_help = examples::REPORT)]
    Report(ReportArgs),
    /// Look around in a browser: state, snapshots, files; read-only, on this machine only
    #[command(after_long_help = examples::UI)]
    Ui(UiArgs),
    /// Create an empty store
    #[command(after_long_help = examples::INIT)]
    Init(InitArgs),
    /// List, add, change and remove the keys of an encrypted store
    #[command(after_long_help = examples::KEY, subcommand_required = true, arg_required_else_help = true)]
    Key(KeyArgs),
    /// Look at a directory and propose an lrl.toml for it
    #[command(after_long_help = examples::SETUP)]
    Setup(SetupArgs),
    /// Show the settings in force and where each comes from
    #[command(after_long_help = examples::CONFIG)]
    Config(ConfigArgs),
    /// Print a shell completion script
    #[command(after_long_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    #[command(after_long_help = examples::MAN)]
    Man(man::ManArgs),
}

impl Verb {
    /// Returns who is told of a run; nobody of one that only plans, or that a person starts.
    pub fn notify(&self) -> Option<&NotifyArgs> {
        let (notify, dry_run) = match self {
            Self::Backup(args) => (&args.notify, args.dry_run),
            Self::Copy(args) => (&args.notify, args.dry_run),
            Self::Drill(args) => (&args.notify, false),
            Self::Check(args) => (&args.notify, false),
            Self::Forget(args) => (&args.notify, args.dry_run),
            Self::Prune(args) => (&args.notify, args.dry_run),
            Self::Run(args) => (&args.notify, args.list),
            Self::Watch(args) => (&args.backup.notify, false),
            _ => return None,
        };
        Some(notify).filter(|_| !dry_run)
    }

    /// Returns the name of a command that a timer starts.
    pub fn timed_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Backup(_) => "backup",
            Self::Copy(_) => "copy",
            Self::Drill(_) => "drill",
            Self::Check(_) => "check",
            Self::Forget(_) => "forget",
            Self::Prune(_) => "prune",
            Self::Run(_) => "run",
            _ => return None,
        })
    }
}

/// Builds the command line. `lrl config` takes every setting's flag, so that it can show it in force.
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    let mut known: Vec<String> = command.get_arguments().filter_map(key).collect();
    let mut extra = Vec::new();
    for arg in command.get_subcommands().flat_map(clap::Command::get_arguments) {
        if let Some(name) = key(arg).filter(|name| !known.contains(name)) {
            known.push(name);
            extra.push(arg.clone().hide(true));
        }
    }
    command = command.mut_subcommand("config", |config| config.args(extra));
    let command = unwrap_help(command).after_help(paragraphs(examples::TOP_SHORT)).mut_subcommands(point_to_long_help);
    map_args(command, &|arg| {
        // A variable that is set but empty counts as unset, as operators and the application expect.
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { arg.env(Resettable::<clap::builder::OsStr>::Reset) } else { arg }
    })
}

/// Builds the help topic `lrl help settings`: every setting, under the commands that take it.
pub fn settings_topic() -> clap::Command {
    let all = command();
    let mut users: Vec<(clap::Arg, Vec<String>)> = all
        .get_arguments()
        .filter(|arg| key(arg).is_some())
        .map(|arg| (arg.clone().hide_short_help(false).help_heading("Every command"), Vec::new()))
        .collect();
    let shared = users.len();
    for sub in all.get_subcommands().filter(|sub| sub.get_name() != "config") {
        for arg in sub.get_arguments().filter(|arg| key(arg).is_some()) {
            match users.iter_mut().find(|(known, _)| known.get_id() == arg.get_id()) {
                Some((_, names)) => names.push(sub.get_name().into()),
                None => users.push((arg.clone(), vec![sub.get_name().into()])),
            }
        }
    }
    let args = users.into_iter().enumerate().map(|(n, (arg, names))| match n < shared {
        true => arg,
        false => arg.help_heading(format!("lrl {}", names.join(", lrl "))),
    });
    let help = clap::Arg::new("help").long("help").action(clap::ArgAction::HelpLong).hide(true);
    clap::Command::new("lrl help settings")
        .about("Settings: by flag, by variable, or by key of lrl.toml")
        .override_usage("lrl COMMAND [--SETTING VALUE]...")
        .max_term_width(WIDTH)
        .disable_help_flag(true)
        .arg(help)
        .args(args)
        .after_help(paragraphs(examples::SETTINGS))
}

/// Commands that overwrite or delete: none of them is what somebody is told to have meant.
const DESTROYING: [&str; 4] = ["restore", "forget", "prune", "remove"];

/// Takes commands that destroy out of the parser's suggestions: a tired operator types what he is told.
pub fn suggest_nothing_that_destroys(mut error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    let kind = ContextKind::SuggestedSubcommand;
    let left: Vec<String> = match error.get(kind) {
        Some(ContextValue::Strings(names)) => names.clone(),
        Some(ContextValue::String(name)) => vec![name.clone()],
        _ => return error,
    };
    let left: Vec<String> = left.into_iter().filter(|name| !DESTROYING.contains(&name.as_str())).collect();
    error.remove(kind);
    if !left.is_empty() {
        error.insert(kind, ContextValue::Strings(left));
    }
    error
}

/// Returns the name under which `lrl.toml` can set this flag, if it can.
pub fn key(arg: &clap::Arg) -> Option<String> {
    let settable = matches!(arg.get_help_heading(), Some(SETTINGS | SHARED));
    arg.get_long().filter(|_| settable).map(str::to_string)
}

/// Returns whether the table [watch] of `lrl.toml` can set this flag.
pub fn is_of_watch(arg: &clap::Arg) -> bool {
    arg.get_help_heading() == Some(watch::HEADING)
}

/// Changes every flag of every command.
pub fn map_args(command: clap::Command, change: &dyn Fn(clap::Arg) -> clap::Arg) -> clap::Command {
    command.mut_args(change).mut_subcommands(|sub| map_args(sub, change))
}

/// Parses arguments without configuration; the first one is the program's name.
pub fn parse(arguments: &[OsString]) -> Result<clap::ArgMatches, clap::Error> {
    if arguments.get(1..).is_some_and(|words| words == ["help", "settings"]) {
        return settings_topic().try_get_matches_from(["lrl", "--help"]);
    }
    command().try_get_matches_from(arguments).map_err(suggest_nothing_that_destroys)
}

#[cfg(test)]
mod tests;
