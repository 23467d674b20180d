//! The command line: every command and flag, parsed without any I/O. Flags under the headings [`SETTINGS`] and [`SHARED`] are
//! the keys of `lrl.toml` as well: this is the one table of settings.
//!
//! The first paragraph of a flag's docstring is its help in `-h`, all paragraphs are its help in `--help`.

pub mod dump;
pub mod examples;
pub mod headings;
pub mod keep;
pub mod man;
pub mod max_age;
pub mod report;
pub mod restore_rows;
pub mod rows;
pub mod sql;
pub mod step;
pub mod ui;
pub mod values;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, Resettable, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use headings::{COMMON, SETTINGS, SHARED};

use crate::site::checked;
use crate::site::preset::{self, Preset};
use crate::site::rules::Place;
use keep::Keep;
use lrl_store::fs::space::Reserve;
use lrl_store::ops::judgement::State;
use lrl_store::ops::prune::MaxUnused;
use max_age::MaxAgeArgs;
use report::ReportArgs;
use step::Step;
use ui::UiArgs;
use values::{At, Every, Form, KeepSets, Owner, PingKind, Secret, Subset};
use watch::WhenArgs;

fn place() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(values::place)
}

fn directory() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(values::directory)
}

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
    #[arg(long, global = true, value_name = "DIR", default_value = "./backups", value_parser = directory(), hide_short_help = true, help_heading = SHARED)]
    pub backup: PathBuf,
    /// Store to use, if it is not `store` in the backup directory.
    ///
    /// A directory, or a bucket as s3://bucket/prefix?endpoint=URL&region=NAME.
    #[arg(long, global = true, value_name = "PATH|URL", value_parser = place(), env = "LRL_STORE", hide_env_values = true, hide_short_help = true, help_heading = SHARED)]
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

/// Where the application keeps its data.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Data directory: contains lrl.db and assets/
    #[arg(long, value_name = "DIR", default_value = "./data", env = "LAB_DATA_DIR", hide_env_values = true, help_heading = SETTINGS)]
    pub data_dir: PathBuf,
    /// Root of a site: the directory that all of its databases and files are below.
    ///
    /// In place of --data-dir. In lrl.toml a relative path is below the directory of that file.
    #[arg(long, value_name = "DIR", value_parser = directory(), help_heading = SETTINGS)]
    pub root: Option<PathBuf>,
    /// Which preset.
    #[command(flatten)]
    pub app: AppArgs,
}

/// The application, for what is known of it.
#[derive(Debug, Args)]
pub struct AppArgs {
    /// Application whose preset describes the site; `lrl setup --list-apps` lists them
    #[arg(long, value_name = "NAME", value_parser = preset::app, help_heading = SETTINGS)]
    pub app: Option<&'static Preset>,
}

/// Which part of a lab is meant; neither flag means both.
#[derive(Debug, Args)]
pub struct HalfArgs {
    /// Only the database
    #[arg(long, conflicts_with = "assets_only")]
    pub db_only: bool,
    /// Only the uploads
    #[arg(long)]
    pub assets_only: bool,
}

/// `lrl backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which part.
    #[command(flatten)]
    pub half: HalfArgs,
    /// Database below the root, a path or a pattern; may be repeated.
    ///
    /// In a pattern `*`, `?` and `[…]` match within a name, `**` any number of directories. Replaces the tables [[database]] of
    /// lrl.toml. Every other SQLite database below the root is copied as well.
    #[arg(long, value_name = "PATH", value_parser = checked::database)]
    pub database: Vec<Place>,
    /// File or directory below the root, a path or a pattern; may be repeated.
    ///
    /// Replaces the tables [[files]] of lrl.toml [default: everything below the root].
    #[arg(long, value_name = "PATH", value_parser = checked::place)]
    pub files: Vec<Place>,
    /// Store SQLite files that match this pattern as ordinary files; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = checked::pattern, help_heading = SETTINGS)]
    pub plain: Vec<String>,
    /// Backup directory [default: that of --backup]
    #[arg(long, value_name = "DIR", value_parser = directory(), conflicts_with = "backup", help_heading = SETTINGS)]
    pub out: Option<PathBuf>,
    /// Store the snapshot only, without writing a set
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = SETTINGS)]
    #[arg(action = clap::ArgAction::Set)]
    pub snapshot_only: bool,
    /// Exclude uploads that match this pattern, in gitignore syntax; may be repeated.
    ///
    /// A pattern matches the path that `lrl ls` shows, or the path inside assets/.
    #[arg(long, value_name = "PATTERN", value_parser = values::word, help_heading = SETTINGS)]
    pub exclude: Vec<String>,
    /// Read exclude patterns from this file, one per line; may be repeated
    #[arg(long, value_name = "FILE", help_heading = SETTINGS)]
    pub exclude_file: Vec<PathBuf>,
    /// Store the directory behind this symbolic link in place of the link; may be repeated.
    ///
    /// PATH is the link as `lrl ls` shows it. Links that lead out of the uploads are otherwise stored as links only.
    #[arg(long, value_name = "PATH", value_parser = values::word, help_heading = SETTINGS)]
    pub follow_link: Vec<String>,
    /// Tag for the snapshot; may be repeated
    #[arg(long, value_name = "TAG", value_parser = values::word, help_heading = SETTINGS)]
    pub tag: Vec<String>,
    /// Do nothing if the newest good snapshot is younger than this (as in 30m, 20h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub if_older_than: Option<Duration>,
    /// Keep the newest N sets, or all.
    ///
    /// Older ones are removed once the new set is written, if the store can reproduce them byte for byte.
    #[arg(long, value_name = "N", value_parser = values::keep_sets, default_value = "all", help_heading = SETTINGS)]
    pub keep_sets: KeepSets,
    /// Read everything, also what looks unchanged.
    ///
    /// Data that the store has lost is stored again.
    #[arg(long)]
    pub rescan: bool,
    /// Run a full --rescan automatically when the last one is older than this (as in 12h, 7d, or never)
    #[arg(long, value_name = "TIME", value_parser = values::every, default_value = "7d", help_heading = SETTINGS)]
    pub rescan_every: Every,
    /// Mark the snapshot as suspect, and exit 3, if more than this share of the data is gone.
    ///
    /// The number of files, their bytes and the size of the database are compared with the last good snapshot. 0 turns this off.
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "50%", help_heading = SETTINGS)]
    pub max_shrink: u8,
    /// Accept the backup however much smaller it is; the next ones are compared with it
    #[arg(long)]
    pub accept_shrink: bool,
    /// Begin the history of a source whose name is nearly that of another one in the store
    #[arg(long)]
    pub new_source: bool,
    /// Read an upload again while its times are younger than this, at least 2s.
    ///
    /// A program that writes through mmap changes a file, but not its times until the kernel writes the pages back.
    #[arg(long, value_name = "TIME", env = "LRL_SETTLE_TIME", hide_env_values = true, value_parser = values::duration)]
    #[arg(default_value = "40s", help_heading = SETTINGS)]
    pub settle_time: Duration,
    /// Then copy new snapshots of the source to this second store.
    ///
    /// If that fails the backup still succeeds (exit 5), and the next one catches up.
    #[arg(long, value_name = "PATH|URL", value_parser = place(), help_heading = SETTINGS)]
    pub copy_to: Option<PathBuf>,
    /// File with the passphrase of the second store, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_COPY_TO_PASSWORD_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub copy_to_password_file: Option<PathBuf>,
    /// Key file of the second store, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_COPY_TO_KEY_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub copy_to_key_file: Option<PathBuf>,
    /// How fast.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
    /// Show what would be stored; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
}

/// `lrl watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// What each snapshot is made of, and where it goes.
    #[command(flatten)]
    pub backup: BackupArgs,
    /// When it acts.
    #[command(flatten)]
    pub when: WhenArgs,
}

/// How fast bytes go out.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Limit the upload rate of copies to a bucket, in bytes per second: 500K, 2M
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = SETTINGS)]
    pub limit_upload: Option<u64>,
}

/// `lrl copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Snapshots to copy [default: all that the other store lacks].
    ///
    /// Each is named by a prefix of its id, its timestamp, good, latest, or either with ~N for the N-th before it.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Store to copy from
    #[arg(long, value_name = "PATH|URL", value_parser = place())]
    pub from: PathBuf,
    /// File with the passphrase of the store to copy from, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_FROM_PASSWORD_FILE", hide_env_values = true)]
    pub from_password_file: Option<PathBuf>,
    /// Key file of the store to copy from, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_FROM_KEY_FILE", hide_env_values = true)]
    pub from_key_file: Option<PathBuf>,
    /// Store to copy to [default: that of --store or --backup]
    #[arg(long, value_name = "PATH|URL", value_parser = place())]
    pub to: Option<PathBuf>,
    /// How fast.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
    /// Show what would be copied; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
}

/// What stays free on the disks that are written to.
#[derive(Debug, Args)]
pub struct FreeArgs {
    /// Free space to leave on the disk for the application: 5% (at most 1 GiB), 200MB, or 0
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = values::reserve, help_heading = SETTINGS)]
    pub reserve: Reserve,
}

/// Who is told how a run went; of the commands that a timer starts.
#[derive(Debug, Args)]
pub struct ToldArgs {
    /// Write metrics for Prometheus to this file after every run, also one that failed
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = SETTINGS)]
    pub metrics_file: Option<PathBuf>,
    /// Tell this URL when a run starts and how it ends.
    ///
    /// It is a secret, which lrl never prints. {verb} and {source} in it are replaced.
    #[arg(long, value_name = "URL", env = "LRL_PING_URL", hide_env_values = true, value_parser = values::secret, hide_short_help = true, help_heading = SETTINGS)]
    pub ping_url: Option<Secret>,
    /// File with that URL, in its first line; --ping-url wins over it
    #[arg(long, value_name = "FILE", env = "LRL_PING_URL_FILE", hide_env_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub ping_url_file: Option<PathBuf>,
    /// What is at --ping-url.
    ///
    /// Healthchecks, an Uptime Kuma push monitor, an ntfy topic, any URL to request after a success, or one that takes JSON.
    #[arg(long, value_name = "KIND", default_value = "healthchecks", value_parser = values::ping_kind(), hide_short_help = true, help_heading = SETTINGS)]
    pub ping_kind: PingKind,
    /// Run this program before the run: one word each time, the program first.
    ///
    /// There is no shell. It gets the run as JSON on standard input.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub on_start: Vec<String>,
    /// Run this program after a run that ended with 0: one word each time, the program first
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub on_success: Vec<String>,
    /// Run this program after a run that ended with another code: one word each time, the program first
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub on_failure: Vec<String>,
    /// How long telling may take each time, by --ping-url or a program
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration, hide_short_help = true, help_heading = SETTINGS)]
    pub tell_limit: Duration,
}

impl Verb {
    /// Returns who is told of a run; nobody of one that only plans, or that a person starts.
    pub fn told(&self) -> Option<&ToldArgs> {
        let (told, dry_run) = match self {
            Self::Backup(args) => (&args.told, args.dry_run),
            Self::Copy(args) => (&args.told, args.dry_run),
            Self::Drill(args) => (&args.told, false),
            Self::Check(args) => (&args.told, false),
            Self::Forget(args) => (&args.told, args.dry_run),
            Self::Prune(args) => (&args.told, args.dry_run),
            Self::Run(args) => (&args.told, args.list),
            Self::Watch(args) => (&args.backup.told, false),
            _ => return None,
        };
        Some(told).filter(|_| !dry_run)
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

/// `lrl restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    #[arg(default_value = "good")]
    pub snapshot: String,
    /// Where the data goes.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which part.
    #[command(flatten)]
    pub half: HalfArgs,
    /// Restore below this directory only: DIR/lrl.db, DIR/assets, DIR/storage, or all of a site.
    ///
    /// Of a site, no link below DIR is followed.
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// Restore only this database, file or directory, as `lrl ls` shows it; may be repeated
    #[arg(long = "only", visible_alias = "path", value_name = "PATH", conflicts_with_all = ["db_only", "assets_only"])]
    pub path: Vec<PathBuf>,
    /// Restore the set of this manifest instead of a snapshot
    #[arg(long, value_name = "FILE", conflicts_with_all = ["snapshot", "path"])]
    pub manifest: Option<PathBuf>,
    /// Owner of what is restored [default: as before, else as in the snapshot]
    #[arg(long, value_name = "USER:GROUP", value_parser = values::owner, help_heading = SETTINGS)]
    pub owner: Option<Owner>,
    /// Show what would be restored; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Undo the last restore; a second --undo redoes it
    #[arg(long, conflicts_with_all = ["snapshot", "db_only", "assets_only", "path", "manifest", "owner"])]
    pub undo: bool,
    /// Restore everything but what the store has lost.
    ///
    /// What is left out is listed, and the exit code is 3.
    #[arg(long, conflicts_with_all = ["manifest", "undo"])]
    pub skip_damaged: bool,
    /// Remove what is replaced once everything is in place; nothing is left to undo
    #[arg(long, conflicts_with = "undo")]
    pub no_keep: bool,
    /// Remove the copies kept by earlier restores
    #[arg(long, conflicts_with_all = ["snapshot", "db_only", "assets_only", "path", "manifest", "owner", "undo", "skip_damaged", "no_keep", "force"])]
    pub clean: bool,
    /// With --clean: keep copies younger than this (as in 36h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::age, requires = "clean")]
    pub older_than: Option<Duration>,
    /// Restore a snapshot that is not good, or while a process has the data open
    #[arg(long)]
    pub force: bool,
    /// Rows of a table.
    #[command(flatten)]
    pub rows: restore_rows::RestoreRowsArgs,
}

/// `lrl drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Which preset's checks.
    #[command(flatten)]
    pub app: AppArgs,
    /// Drill the sets of these manifests [default: the newest in the backup directory]
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "snapshot")]
    pub manifest: Vec<PathBuf>,
    /// Drill a snapshot straight from the store
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Drill every snapshot, oldest first
    #[arg(long, conflicts_with_all = ["manifest", "snapshot", "oldest_first"])]
    pub all: bool,
    /// Drill every snapshot, the least recently drilled first.
    ///
    /// Those that were never drilled come before all others, the newest of them first.
    #[arg(long, conflicts_with_all = ["manifest", "snapshot"])]
    pub oldest_first: bool,
    /// Drill at most N snapshots
    #[arg(long, value_name = "N", requires = "oldest_first", conflicts_with = "all", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Start no further drill after this time (as in 90s, 30m, 2h)
    #[arg(long, value_name = "TIME", requires = "oldest_first", conflicts_with = "all", value_parser = values::duration)]
    pub max_time: Option<Duration>,
    /// Table that the database must have; may be repeated.
    ///
    /// Replaces the default: users, assets, and content or content_items. Of several databases the first is meant.
    #[arg(long, value_name = "TABLE", value_parser = values::word, help_heading = SETTINGS)]
    pub require_table: Vec<String>,
    /// Assertion about the database: a query with one value, and a comparison; may be repeated.
    ///
    /// The comparison is =, !=, <, <=, > or >= with a number or a 'text'. Of several databases the first is meant, unless the query begins
    /// with the path of another, as in 'data/a.db: SELECT …'.
    #[arg(long, num_args = 2, value_names = ["QUERY", "COMPARISON"], action = clap::ArgAction::Append, help_heading = SETTINGS)]
    pub assert: Vec<String>,
    /// Skip a check that this database cannot pass; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = clap::builder::PossibleValuesParser::new(lrl_store::ops::drill::SKIPPABLE), help_heading = SETTINGS)]
    pub skip_check: Vec<String>,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
}

/// `lrl export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    #[arg(default_value = "good")]
    pub snapshot: String,
    /// Directory to write to; it must be empty or not exist yet
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub out: PathBuf,
    /// Export a snapshot even if it is not good
    #[arg(long)]
    pub force: bool,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
}

/// `lrl import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Directory with the manifests and their files
    pub dir: PathBuf,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
}

/// `lrl snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Show only the last N of each source, of those that the other options leave
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,
    /// Show only those with this tag; may be repeated, and any of the tags matches
    #[arg(long, value_name = "TAG", value_parser = values::word)]
    pub tag: Vec<String>,
    /// Show only those not older than this: 36h, 30d, 8w, 1y, yesterday, 2026-11-28, 2026-11-28T14:03
    #[arg(long, value_name = "TIME", value_parser = values::word)]
    pub since: Option<String>,
    /// Show only those in this state; may be repeated.
    ///
    /// States: good, suspect, incomplete, unreadable, failed, damaged.
    #[arg(long, value_name = "STATE", value_parser = values::state)]
    pub state: Vec<State>,
}

/// `lrl ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    pub snapshot: String,
    /// List only this file or directory
    pub path: Option<PathBuf>,
}

/// `lrl diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Older snapshot
    pub from: String,
    /// Newer snapshot; with --rows also live, the live database
    pub to: String,
    /// Compare the rows of tables: how many differ, and of tables that are named each of them
    #[arg(long, value_name = "TABLE", num_args = 0.., default_missing_values = [""; 0])]
    pub rows: Option<Vec<String>>,
    /// With --rows: write the statements that turn the older rows into the newer ones
    #[arg(long, requires = "rows", conflicts_with = "json")]
    pub sql: bool,
    /// With --rows: database to look into, as `lrl ls` shows it, where the snapshots hold several
    #[arg(long, value_name = "PATH", requires = "rows")]
    pub database: Option<PathBuf>,
    /// Where the live data is.
    #[command(flatten)]
    pub data: DataArgs,
}

/// `lrl find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Name, or pattern in gitignore syntax
    #[arg(value_parser = values::word)]
    pub pattern: String,
}

/// `lrl check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also read and verify every pack
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Also read and verify a part of the packs: a slice (2/7), a percentage (5%) or a size (500M)
    #[arg(long, value_name = "PART", value_parser = values::subset)]
    pub read_data_subset: Option<Subset>,
    /// Then repair what was found.
    ///
    /// Good chunks are saved, the index is rebuilt, and what is damaged is moved into quarantine.
    #[arg(long)]
    pub repair: bool,
    /// With --repair: also look for lost data in this backup directory, data directory or store; may be repeated
    #[arg(long, value_name = "DIR|STORE", requires = "repair")]
    pub from: Vec<PathBuf>,
    /// Who else repairs.
    #[command(flatten)]
    pub only: OnlyPrunerArgs,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
}

/// `lrl forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Snapshots to remove: a prefix of their id, their timestamp, good, latest, or either with ~N
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = KEEP)]
    pub snapshots: Vec<String>,
    /// Keep the last N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_last: u32,
    /// Keep the newest of each of the last N hours that have one (in UTC, like the rest)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_hourly: u32,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_daily: u32,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_weekly: u32,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_monthly: u32,
    /// Keep the newest of each of the last N years that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_yearly: u32,
    /// Keep all that are at most this much older than the newest (as in 36h, 30d, 8w, 1y)
    #[arg(long, value_name = "TIME", value_parser = values::age)]
    pub keep_within: Option<Duration>,
    /// Thin by age, as in all:1h,minutely:24h,hourly:7d,daily:30d: keep all of an hour, the newest of each minute of a day, and so on
    #[arg(long, value_name = "RULES", value_parser = keep::keep)]
    pub keep: Option<Keep>,
    /// Keep all with this tag; may be repeated
    #[arg(long, value_name = "TAG", value_parser = values::word)]
    pub keep_tag: Vec<String>,
    /// Keep snapshots that are not good for this long.
    ///
    /// They never count towards a rule; while no newer snapshot is good they stay anyway.
    #[arg(long, value_name = "TIME", value_parser = values::age_or_zero, default_value = "7d", help_heading = SETTINGS)]
    pub keep_bad_within: Duration,
    /// Then prune, as `lrl prune` does
    #[arg(long)]
    pub prune: bool,
    /// How --prune repacks.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// How --prune deletes from a bucket.
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Show what would be removed and why the rest is kept; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
    /// Also remove protected snapshots.
    ///
    /// These are the newest that passed a drill and, if named, the newest with a good database or good uploads.
    #[arg(long)]
    pub force: bool,
}

/// `lrl prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Show what would be removed; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
    /// How it repacks.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// How it deletes from a bucket.
    #[command(flatten)]
    pub bucket: BucketArgs,
}

/// How dead data is deleted where there are no locks.
#[derive(Debug, Args)]
pub struct BucketArgs {
    /// In a bucket: wait this long before deleting what an earlier prune scheduled (as in 36h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "7d", help_heading = SETTINGS)]
    pub grace: Duration,
    /// In a bucket: do not wait for a backup of this source, which no longer makes any; may be repeated
    #[arg(long, value_name = "SOURCE", value_parser = values::source, help_heading = SETTINGS)]
    pub retired: Vec<String>,
    /// Who else prunes.
    #[command(flatten)]
    pub only: OnlyPrunerArgs,
}

/// Whether another machine may prune or repair a bucket.
#[derive(Debug, Args)]
pub struct OnlyPrunerArgs {
    /// In a bucket whose server has no conditional writes: declare that no other machine prunes or repairs it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = SETTINGS)]
    #[arg(action = clap::ArgAction::Set)]
    pub only_pruner: bool,
}

/// How much dead data is worth repacking the live data beside it.
#[derive(Debug, Args)]
pub struct UnusedArgs {
    /// Tolerate this much dead data in packs that also hold live data: 5%, 500M, or unlimited
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = values::unused)]
    pub max_unused: MaxUnused,
    /// What it leaves free while it repacks; one pack at a time may use that as well.
    #[command(flatten)]
    pub free: FreeArgs,
}

/// The flags that make a policy.
const KEEP: [&str; 9] = [
    "keep",
    "keep_last",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
    "keep_within",
    "keep_tag",
];

/// `lrl init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Encrypt the store, with the passphrase or key file given as for every other command
    #[arg(long, conflicts_with = "no_encryption")]
    pub encrypt: bool,
    /// Make an unencrypted store; required for an unencrypted store in a bucket
    #[arg(long)]
    pub no_encryption: bool,
}

/// `lrl key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do with the keys.
    #[command(subcommand)]
    pub command: KeyVerb,
}

/// The commands below `lrl key`.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// List the keys: what each can do, and how it is opened
    List,
    /// Add a key
    Add(NewKeyArgs),
    /// Remove a key; a former user may still know the store's master key
    Remove {
        /// First digits of its id, as `lrl key list` shows them
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Replace the passphrase or key file in use with a new one
    Change(NewCredentialArgs),
    /// Write a new random key file; it opens nothing until it is added
    MakeFile {
        /// File to create; an existing one is not overwritten
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// `lrl key add`.
#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// Make a write-only key: it adds snapshots, and can neither read nor remove them
    #[arg(long)]
    pub writer: bool,
    /// Label shown by `lrl key list`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub label: String,
    /// What opens it.
    #[command(flatten)]
    pub new: NewCredentialArgs,
}

/// What a new key is opened with.
#[derive(Debug, Args)]
#[group(required = true)]
pub struct NewCredentialArgs {
    /// File with the new passphrase, in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub new_password_file: Option<PathBuf>,
    /// New key file
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
}

/// `lrl status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// From which age on something is too old.
    #[command(flatten)]
    pub limits: MaxAgeArgs,
    /// Print metrics for Prometheus, as --metrics-file writes them
    #[arg(long, conflicts_with = "json")]
    pub metrics: bool,
}

/// `lrl setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Directory to look at
    #[arg(value_name = "DIR", default_value = ".", value_parser = directory())]
    pub dir: PathBuf,
    /// Write the proposal to DIR/lrl.toml, if there is none yet
    #[arg(long)]
    pub write: bool,
    /// Use the preset of this application, whatever is found
    #[arg(long, value_name = "NAME", value_parser = preset::app)]
    pub app: Option<&'static Preset>,
    /// List the presets and what each was read from
    #[arg(long, conflicts_with_all = ["dir", "write", "app"])]
    pub list_apps: bool,
}

/// `lrl config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Show the site that the settings describe, as an lrl.toml
    #[arg(long)]
    pub expand: bool,
}

/// `lrl run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Show what is due when; do nothing
    #[arg(long, conflicts_with = "only")]
    pub list: bool,
    /// Do this step now, due or not, and no other; may be repeated
    #[arg(long, value_name = "STEP", value_enum)]
    pub only: Vec<Step>,
    /// Who is told.
    #[command(flatten)]
    pub told: ToldArgs,
}

/// `lrl schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// What to write; print writes nothing and shows both
    #[arg(value_name = "FORM", value_enum)]
    pub form: Form,
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// When to run: a time of day as HH:MM, or hourly; may be repeated
    #[arg(long, value_name = "TIME", value_parser = values::at, default_value = "03:00")]
    pub at: Vec<At>,
    /// For this user: units in ~/.config/systemd/user, or a line for crontab -e
    #[arg(long)]
    pub user: bool,
    /// Directory to write to [default: /etc/systemd/system, /etc/cron.d]
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub out: Option<PathBuf>,
    /// Name of the units, for a second site on one machine [default: lrl-run; of the cron file: lrl]
    #[arg(long, value_name = "NAME", value_parser = values::unit_name)]
    pub name: Option<String>,
    /// systemd unit to start when a run does not end with 0, as in OnFailure=
    #[arg(long, value_name = "UNIT", value_parser = values::unit)]
    pub on_failure_unit: Option<String>,
    /// Also write a service that runs `lrl watch`; not for cron
    #[arg(long)]
    pub watch: bool,
    /// Remove what `lrl schedule` wrote
    #[arg(long, conflicts_with_all = ["at", "on_failure_unit"])]
    pub remove: bool,
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

/// Ends the short help of a command with a line that says where the rest is; a command without examples names its parent's.
fn point_to_long_help(command: clap::Command) -> clap::Command {
    let parent = format!("Examples: `lrl {} --help`.", command.get_name());
    command.after_help(examples::SHORT).mut_subcommands(|sub| {
        let sub = if sub.get_after_long_help().is_none() { sub.after_long_help(parent.clone()) } else { sub };
        point_to_long_help(sub)
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

/// Joins the lines of each paragraph after the help: the terminal's width is where they break, not the source's as well.
fn unwrap_help(command: clap::Command) -> clap::Command {
    let text = command.get_after_long_help().map(|text| paragraphs(&text.to_string()));
    let command = command.mut_subcommands(unwrap_help);
    match text {
        Some(text) => command.after_long_help(text),
        None => command,
    }
}

fn paragraphs(text: &str) -> String {
    let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for (n, line) in text.lines().enumerate() {
        if n > 0 {
            out.push(if is_text(before) && is_text(line) { ' ' } else { '\n' });
        }
        out.push_str(line);
        before = line;
    }
    out
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
