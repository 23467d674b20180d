//! The command line: every command and flag, parsed without any I/O. Flags under the heading [`SETTINGS`] are the keys of
//! `lrl.toml` as well: this is the one table of settings.

pub mod examples;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, Resettable, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand};

use lrl_store::fs::space::Reserve;
use lrl_store::ops::judgement::State;
use lrl_store::ops::prune::MaxUnused;
use values::{Every, KeepSets, MinFree, Owner, Subset};

fn place() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(values::place)
}

fn directory() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(values::directory)
}

/// The heading of flags that `lrl.toml` can set under the same name.
pub const SETTINGS: &str = "Settings (each is also a key of lrl.toml)";
const COMMON: &str = "Common options";

/// Backups of a small site's database and uploads that cost little and are proven to restore.
#[derive(Debug, Parser)]
#[command(name = "lrl", version, max_term_width = 100, after_help = examples::TOP, subcommand_required = true)]
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
    /// The backup directory: sets, and the store unless --store says otherwise
    #[arg(long, global = true, value_name = "DIR", default_value = "./backups", value_parser = directory(), help_heading = SETTINGS)]
    pub backup: PathBuf,
    /// The store, where it is not the directory `store` in the backup directory; a bucket as s3://bucket/prefix?endpoint=URL&region=NAME
    #[arg(long, global = true, value_name = "PATH|URL", value_parser = place(), env = "LRL_STORE", hide_env_values = true, help_heading = SETTINGS)]
    pub store: Option<PathBuf>,
    /// Where copies of what a store in a bucket holds are kept [default: lrl in the user's cache directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = SETTINGS)]
    pub cache_dir: Option<PathBuf>,
    /// Where the ids of stores are remembered, so that a disk that is not mounted is no new store [default: lrl in the user's state directory]
    #[arg(long, global = true, value_name = "DIR", env = "LRL_STATE_DIR", hide_env_values = true, help_heading = SETTINGS)]
    pub state_dir: Option<PathBuf>,
    /// The id of the store, as `lrl init --json` and `lrl stats --json` show it, or its first digits (at least 8): another one there is refused
    #[arg(long, global = true, value_name = "ID", value_parser = values::store_id, help_heading = SETTINGS)]
    pub store_id: Option<String>,
    /// The file with the passphrase of an encrypted store, in its first line
    #[arg(long, global = true, value_name = "FILE", env = "LRL_PASSWORD_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub password_file: Option<PathBuf>,
    /// A program that prints the passphrase, with its arguments; no shell runs it
    #[arg(long, global = true, value_name = "COMMAND", env = "LRL_PASSWORD_COMMAND", hide_env_values = true, help_heading = SETTINGS)]
    pub password_command: Option<String>,
    /// The key file of an encrypted store, as `lrl key make-file` writes one
    #[arg(long, global = true, value_name = "FILE", env = "LRL_KEY_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub key_file: Option<PathBuf>,
    /// Which lab's history in the store; check and stats look at all
    #[arg(long, global = true, value_name = "NAME", default_value = "lab", value_parser = values::source, help_heading = SETTINGS)]
    pub source: String,
    /// How long to wait for another lrl that holds the store (as in 90s, 30m, 2h; 0 is not at all)
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", value_parser = values::duration, help_heading = SETTINGS)]
    pub lock_wait: Duration,
    /// Read settings from this file, whoever can write it [default: ./lrl.toml, else lrl/lrl.toml in the user's configuration directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON)]
    pub config: Option<PathBuf>,
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true, help_heading = COMMON)]
    pub json: bool,
    /// Say nothing but what was asked for, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = COMMON)]
    pub quiet: bool,
    /// Say more on standard error: which settings, store and snapshot are used
    #[arg(short, long, global = true, help_heading = COMMON)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Store a snapshot of the database and the uploads, and write its set
    #[command(after_help = examples::BACKUP)]
    Backup(BackupArgs),
    /// Put a snapshot or a set back in place, keeping what was there as *.pre-restore
    #[command(after_help = examples::RESTORE)]
    Restore(RestoreArgs),
    /// Prove that a set or a snapshot can be restored; changes nothing
    #[command(after_help = examples::DRILL)]
    Drill(DrillArgs),
    /// Write a snapshot as a set that cp and tar can restore
    #[command(after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Store sets that the old scripts wrote as snapshots with their own times
    #[command(after_help = examples::IMPORT)]
    Import(ImportArgs),
    /// List the snapshots
    #[command(after_help = examples::SNAPSHOTS)]
    Snapshots(SnapshotsArgs),
    /// List what a snapshot holds
    #[command(after_help = examples::LS)]
    Ls(LsArgs),
    /// Show what changed from one snapshot to another
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Find the snapshots that hold an upload
    #[command(after_help = examples::FIND)]
    Find(FindArgs),
    /// Write one file of a snapshot to standard output
    #[command(after_help = examples::DUMP)]
    Dump(DumpArgs),
    /// Verify the store
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Copy snapshots from one store to another
    #[command(after_help = examples::COPY)]
    Copy(CopyArgs),
    /// Remove snapshots, by name or by a policy
    #[command(after_help = examples::FORGET)]
    Forget(ForgetArgs),
    /// Give back the room of what no snapshot needs
    #[command(after_help = examples::PRUNE)]
    Prune(PruneArgs),
    /// Show what the store takes and what it saves
    #[command(after_help = examples::STATS)]
    Stats,
    /// Tell the age of the last good backup and drill
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Make an empty store
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// List, add, change and remove the keys of an encrypted store
    #[command(after_help = examples::KEY, subcommand_required = true, arg_required_else_help = true)]
    Key(KeyArgs),
    /// Show the settings in force and where each comes from
    #[command(after_help = examples::CONFIG)]
    Config,
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

/// Where the application keeps its data.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// The directory that holds lrl.db and assets/
    #[arg(long, value_name = "DIR", default_value = "./data", env = "LAB_DATA_DIR", hide_env_values = true, help_heading = SETTINGS)]
    pub data_dir: PathBuf,
}

/// Which half of a lab is meant; neither flag means both.
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
    /// Which half.
    #[command(flatten)]
    pub half: HalfArgs,
    /// The backup directory [default: what --backup says]
    #[arg(long, value_name = "DIR", value_parser = directory(), conflicts_with = "backup", help_heading = SETTINGS)]
    pub out: Option<PathBuf>,
    /// Store the snapshot, write no set
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = SETTINGS)]
    #[arg(action = clap::ArgAction::Set)]
    pub snapshot_only: bool,
    /// Leave out uploads that match, in gitignore syntax, by the paths that `lrl ls` shows or inside assets/; may be given again
    #[arg(long, value_name = "PATTERN", value_parser = values::word, help_heading = SETTINGS)]
    pub exclude: Vec<String>,
    /// Read such patterns from a file, one a line; may be given again
    #[arg(long, value_name = "FILE", help_heading = SETTINGS)]
    pub exclude_file: Vec<PathBuf>,
    /// Store the directory behind this link, which leads out of the uploads, in its place: the path as `lrl ls` shows it; may be given again
    #[arg(long, value_name = "PATH", value_parser = values::word, help_heading = SETTINGS)]
    pub follow_link: Vec<String>,
    /// Mark the snapshot with a word; may be given again
    #[arg(long, value_name = "TAG", value_parser = values::word, help_heading = SETTINGS)]
    pub tag: Vec<String>,
    /// Do nothing when the newest good snapshot is younger than this (as in 30m, 20h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub if_older_than: Option<Duration>,
    /// Once the set is written, remove older ones that the store can give back byte for byte: so many stay (or all)
    #[arg(long, value_name = "N", value_parser = values::keep_sets, default_value = "all", help_heading = SETTINGS)]
    pub keep_sets: KeepSets,
    /// Read everything again, whatever looks unchanged, and store again what the store has lost
    #[arg(long)]
    pub rescan: bool,
    /// Do so by itself when the last time was so long ago (as in 12h, 7d, or never)
    #[arg(long, value_name = "TIME", value_parser = values::every, default_value = "7d", help_heading = SETTINGS)]
    pub rescan_every: Every,
    /// Mark the snapshot as suspect, and exit 3, when more than this share of its files, their bytes or the database is gone (0 is never)
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "50%", help_heading = SETTINGS)]
    pub max_shrink: u8,
    /// Take the backup as it is, however much smaller it is: the next ones are measured against it
    #[arg(long)]
    pub accept_shrink: bool,
    /// Read an upload again by the next backup while its times are younger than this: a program that writes through mmap changes files
    /// without changing their times until the kernel has written the pages back; at least 2s
    #[arg(long, value_name = "TIME", env = "LRL_SETTLE_TIME", hide_env_values = true, value_parser = values::duration)]
    #[arg(default_value = "40s", help_heading = SETTINGS)]
    pub settle_time: Duration,
    /// Then copy the source's new snapshots to a second store; if that fails the backup is good all the same, and the next one catches up
    #[arg(long, value_name = "PATH|URL", value_parser = place(), help_heading = SETTINGS)]
    pub copy_to: Option<PathBuf>,
    /// The file with the second store's passphrase, where it is another one
    #[arg(long, value_name = "FILE", env = "LRL_COPY_TO_PASSWORD_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub copy_to_password_file: Option<PathBuf>,
    /// The second store's key file, where it is another one
    #[arg(long, value_name = "FILE", env = "LRL_COPY_TO_KEY_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub copy_to_key_file: Option<PathBuf>,
    /// How fast.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
    /// Say what would be stored, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How fast bytes go out.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Send no more than so much a second to a bucket that is copied to: 500K, 2M
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = SETTINGS)]
    pub limit_upload: Option<u64>,
}

/// `lrl copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Snapshots: a prefix of their id, their timestamp, good, latest, or either with ~N for the N-th before it [default: all that the other store does not have]
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// The store to copy from
    #[arg(long, value_name = "PATH|URL", value_parser = place())]
    pub from: PathBuf,
    /// The file with the passphrase of the store to copy from, where it is another one
    #[arg(long, value_name = "FILE", env = "LRL_FROM_PASSWORD_FILE", hide_env_values = true)]
    pub from_password_file: Option<PathBuf>,
    /// The key file of the store to copy from, where it is another one
    #[arg(long, value_name = "FILE", env = "LRL_FROM_KEY_FILE", hide_env_values = true)]
    pub from_key_file: Option<PathBuf>,
    /// The store to copy to [default: what --store or --backup says]
    #[arg(long, value_name = "PATH|URL", value_parser = place())]
    pub to: Option<PathBuf>,
    /// How fast.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
    /// Say what would be copied, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What stays free on the disks that are written to.
#[derive(Debug, Args)]
pub struct FreeArgs {
    /// Leave so much of the disk free for the application: 5% (at most 1 GiB), 200MB, or 0
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = values::reserve, help_heading = SETTINGS)]
    pub reserve: Reserve,
}

/// `lrl restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N for the N-th before it
    #[arg(default_value = "good")]
    pub snapshot: String,
    /// Where the data goes.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which half.
    #[command(flatten)]
    pub half: HalfArgs,
    /// Restore into this directory and nowhere else: DIR/lrl.db, DIR/assets, DIR/storage
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// Only this file or directory, as `lrl ls` names it; may be given again
    #[arg(long, value_name = "PATH", conflicts_with_all = ["db_only", "assets_only"])]
    pub path: Vec<PathBuf>,
    /// Restore from the set of this manifest instead of a snapshot
    #[arg(long, value_name = "FILE", conflicts_with_all = ["snapshot", "path"])]
    pub manifest: Option<PathBuf>,
    /// Who shall own what is restored [default: as before, else as in the snapshot]
    #[arg(long, value_name = "USER:GROUP", value_parser = values::owner, help_heading = SETTINGS)]
    pub owner: Option<Owner>,
    /// Say what would be restored, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Bring back what was there before the last restore; a second time takes that back
    #[arg(long, conflicts_with_all = ["snapshot", "db_only", "assets_only", "path", "manifest", "owner"])]
    pub undo: bool,
    /// Restore everything else where the store has lost something, list what that is, and exit 3
    #[arg(long, conflicts_with_all = ["manifest", "undo"])]
    pub skip_damaged: bool,
    /// Remove what is replaced once everything is in place: saves its space, and leaves nothing to undo
    #[arg(long, conflicts_with = "undo")]
    pub no_keep: bool,
    /// Remove the copies that earlier restores kept; with --older-than only older ones
    #[arg(long, conflicts_with_all = ["snapshot", "db_only", "assets_only", "path", "manifest", "owner", "undo", "skip_damaged", "no_keep", "force"])]
    pub clean: bool,
    /// Keep copies that are younger than this (as in 36h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::age, requires = "clean")]
    pub older_than: Option<Duration>,
    /// Restore even while a process has the database or the uploads open, and also a snapshot that is not good
    #[arg(long)]
    pub force: bool,
}

/// `lrl drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Manifests of the sets to drill [default: the newest in the backup directory]
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "snapshot")]
    pub manifest: Vec<PathBuf>,
    /// Drill a snapshot straight from the store
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Drill every snapshot, in the order of the history
    #[arg(long, conflicts_with_all = ["manifest", "snapshot", "oldest_first"])]
    pub all: bool,
    /// Drill every snapshot: first those never drilled, the newest of them first, then those whose last drill is longest ago
    #[arg(long, conflicts_with_all = ["manifest", "snapshot"])]
    pub oldest_first: bool,
    /// Drill at most so many snapshots
    #[arg(long, value_name = "N", requires = "oldest_first", conflicts_with = "all", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Begin no drill after this time but the first (as in 90s, 30m, 2h)
    #[arg(long, value_name = "TIME", requires = "oldest_first", conflicts_with = "all", value_parser = values::duration)]
    pub max_time: Option<Duration>,
    /// A table that the database must have, in place of users, assets and content or content_items; may be given again
    #[arg(long, value_name = "TABLE", value_parser = values::word, help_heading = SETTINGS)]
    pub require_table: Vec<String>,
    /// What the database must answer: a query that gives one value, and what it is compared with; may be given again
    #[arg(long, num_args = 2, value_names = ["QUERY", "COMPARISON"], action = clap::ArgAction::Append, help_heading = SETTINGS)]
    pub assert: Vec<String>,
    /// A check that is not made, because this database cannot pass it; may be given again
    #[arg(long, value_name = "CHECK", value_parser = clap::builder::PossibleValuesParser::new(lrl_store::ops::drill::SKIPPABLE), help_heading = SETTINGS)]
    pub skip_check: Vec<String>,
}

/// `lrl export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N for the N-th before it
    #[arg(default_value = "good")]
    pub snapshot: String,
    /// A directory that does not exist or is empty
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub out: PathBuf,
    /// Export also a snapshot that is not good
    #[arg(long)]
    pub force: bool,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
}

/// `lrl import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The directory with the manifests and their files
    pub dir: PathBuf,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
}

/// `lrl snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Only the last N of each source
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,
    /// Only those with this tag; may be given again, and any of them counts
    #[arg(long, value_name = "TAG", value_parser = values::word)]
    pub tag: Vec<String>,
    /// Only those that are not older than this (as in 36h, 30d, 8w, 1y)
    #[arg(long, value_name = "TIME", value_parser = values::age)]
    pub since: Option<Duration>,
    /// Only those in this state: good, suspect, incomplete, unreadable, failed or damaged; may be given again
    #[arg(long, value_name = "STATE", value_parser = values::state)]
    pub state: Vec<State>,
}

/// `lrl ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N for the N-th before it
    pub snapshot: String,
    /// Only this file or directory
    pub path: Option<PathBuf>,
}

/// `lrl diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The older snapshot
    pub from: String,
    /// The newer snapshot
    pub to: String,
}

/// `lrl find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// A name or a pattern in gitignore syntax
    #[arg(value_parser = values::word)]
    pub pattern: String,
}

/// `lrl dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N for the N-th before it
    pub snapshot: String,
    /// The file, as `lrl ls` names it; lrl.db is the database
    pub path: PathBuf,
}

/// `lrl check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read and verify every pack as well
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read and verify a part of the packs: a slice (2/7), a percentage (5%) or a size (500M)
    #[arg(long, value_name = "PART", value_parser = values::subset)]
    pub read_data_subset: Option<Subset>,
    /// Then repair what was found: save what is good, write the index anew, move what is damaged into quarantine
    #[arg(long)]
    pub repair: bool,
    /// With --repair: look for what is lost in this backup directory, data directory or store as well; may be given again
    #[arg(long, value_name = "DIR|STORE", requires = "repair")]
    pub from: Vec<PathBuf>,
}

/// `lrl forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Snapshots: a prefix of their id, their timestamp, good, latest, or either with ~N for the N-th before it
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = KEEP)]
    pub snapshots: Vec<String>,
    /// Keep the last N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_last: u32,
    /// Keep the newest of each of the last N hours that have one (in UTC, as all that follow)
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
    /// Keep all that are not older than this, counted from the newest (as in 36h, 30d, 8w, 1y)
    #[arg(long, value_name = "TIME", value_parser = values::age)]
    pub keep_within: Option<Duration>,
    /// Keep all that are marked with this word; may be given again
    #[arg(long, value_name = "TAG", value_parser = values::word)]
    pub keep_tag: Vec<String>,
    /// Keep those that are not good for this long, though newer ones are good; they take no place in a rule
    #[arg(long, value_name = "TIME", value_parser = values::age_or_zero, default_value = "7d", help_heading = SETTINGS)]
    pub keep_bad_within: Duration,
    /// Then give the room back, as lrl prune does
    #[arg(long)]
    pub prune: bool,
    /// How packs are moved by --prune.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// How --prune deletes from a bucket.
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Say what would be removed and why the rest is kept, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove also what is protected: the newest that passed a drill, and if it was named the newest with a good part
    #[arg(long)]
    pub force: bool,
}

/// `lrl prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Say what would be removed, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How packs are moved.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// How it deletes from a bucket.
    #[command(flatten)]
    pub bucket: BucketArgs,
}

/// How what is dead is deleted where nobody can be locked out.
#[derive(Debug, Args)]
pub struct BucketArgs {
    /// In a bucket: delete what an earlier prune wrote down no sooner than this (as in 36h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "7d", help_heading = SETTINGS)]
    pub grace: Duration,
    /// In a bucket: do not wait for a backup of this source, which makes none any more; may be given again
    #[arg(long, value_name = "SOURCE", value_parser = values::source, help_heading = SETTINGS)]
    pub retired: Vec<String>,
    /// In a bucket whose server cannot keep two prunes apart: say that nobody else prunes it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = SETTINGS)]
    #[arg(action = clap::ArgAction::Set)]
    pub only_pruner: bool,
}

/// How much waste is worth moving what stands beside it.
#[derive(Debug, Args)]
pub struct UnusedArgs {
    /// Leave so much unused room, in packs that hold something needed as well: 5%, 500M, or unlimited
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = values::unused)]
    pub max_unused: MaxUnused,
    /// What it leaves free while it moves packs; one at a time may use that as well.
    #[command(flatten)]
    pub free: FreeArgs,
}

/// The flags that make a policy.
const KEEP: [&str; 8] =
    ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within", "keep_tag"];

/// `lrl init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Encrypt it: with the passphrase or the key file that is given as for every other command
    #[arg(long, conflicts_with = "no_encryption")]
    pub encrypt: bool,
    /// Make a store that whoever can read its files can read; of a store in a bucket this must be said
    #[arg(long)]
    pub no_encryption: bool,
}

/// `lrl key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do with them.
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
    /// Remove a key; whoever has used it may still know the store's master key
    Remove {
        /// Its first digits, as `lrl key list` shows them
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Put a new passphrase or key file in the place of the one that is given
    Change(NewCredentialArgs),
    /// Write a new key file, which nobody can guess; it opens nothing before it is added
    MakeFile {
        /// Where; a file that is there already stays as it is
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// `lrl key add`.
#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// Make a key for a machine that only adds snapshots: it reads no contents, and so neither restores nor drills
    #[arg(long)]
    pub writer: bool,
    /// What the list shows, as in «the server in the cellar»
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
    /// The file with the new passphrase, in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub new_password_file: Option<PathBuf>,
    /// The new key file
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
}

/// `lrl status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit 4 when the newest good backup is older than this (as in 30m, 26h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_age: Option<Duration>,
    /// Exit 4 when the last drill that passed is older than this
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_drill_age: Option<Duration>,
    /// Exit 4 when a second store lacks a snapshot that is older than this
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_copy_age: Option<Duration>,
    /// Exit 4 when the last check that found nothing wrong is older than this
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_check_age: Option<Duration>,
    /// Exit 4 when less of the store's disk is free than this: 10%, or 2G
    #[arg(long, value_name = "AMOUNT", value_parser = values::min_free, help_heading = SETTINGS)]
    pub min_free: Option<MinFree>,
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
    let command = unwrap_help(command);
    map_args(command, &|arg| {
        // A variable that is set but empty counts as unset, as operators and the application expect.
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { arg.env(Resettable::<clap::builder::OsStr>::Reset) } else { arg }
    })
}

/// Joins the lines of each paragraph after the help: the terminal's width is where they break, not the source's as well.
fn unwrap_help(command: clap::Command) -> clap::Command {
    let text = command.get_after_help().map(|text| paragraphs(&text.to_string()));
    let command = command.mut_subcommands(unwrap_help);
    match text {
        Some(text) => command.after_help(text),
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
    let settable = arg.get_help_heading() == Some(SETTINGS);
    arg.get_long().filter(|_| settable).map(str::to_string)
}

/// Changes every flag of every command.
pub fn map_args(command: clap::Command, change: &dyn Fn(clap::Arg) -> clap::Arg) -> clap::Command {
    command.mut_args(change).mut_subcommands(|sub| map_args(sub, change))
}

/// Parses arguments without configuration; the first one is the program's name.
pub fn parse(arguments: &[OsString]) -> Result<clap::ArgMatches, clap::Error> {
    command().try_get_matches_from(arguments).map_err(suggest_nothing_that_destroys)
}

#[cfg(test)]
mod tests;
