//! Every metric of lrl: its name, what it means, and what it is about. There is no second list.

/// What a metric is about; with its labels, what replaces an older value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The program.
    Program,
    /// The last run of a command: labels `source`, `store`, `verb`.
    Run,
    /// A source in a store: labels `source`, `store`.
    Source,
    /// A store: label `store`.
    Store,
}

/// One metric; all are gauges.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its help.
    pub help: &'static str,
    /// What it is about.
    pub about: About,
}

const fn family(name: &'static str, about: About, help: &'static str) -> Family {
    Family { name, help, about }
}

/// All metrics, in the order in which they are printed.
pub const FAMILIES: [Family; 20] = [
    family(BUILD, About::Program, "The version of lrl that wrote this; always 1."),
    family(LAST_RUN, About::Run, "When the last run of a command ended, good or bad."),
    family(EXIT_CODE, About::Run, "Exit code of the last run of a command; 0 is success."),
    family(DURATION, About::Run, "How long the last run of a command took."),
    family(LAST_SUCCESS, About::Run, "When a run of a command last ended with exit code 0; 0 if none has."),
    family(LAST_GOOD, About::Source, "When the newest good snapshot was made; 0 if there is none."),
    family(LAST_DRILL, About::Source, "When a drill last passed; 0 if none has."),
    family(DRILL_RESTORE, About::Source, "How long the restore of the last drill took, without its checks."),
    family(DRILL_MISSING, About::Source, "Rows without their stored file that the last drill found."),
    family(SNAPSHOTS, About::Source, "Snapshots by state; unjudged are those that are older than the newest 1000."),
    family(PROVEN, About::Source, "Snapshots whose newest drill passed."),
    family(ADDED, About::Source, "Bytes that the newest snapshot added to the store."),
    family(READ_LOCK, About::Source, "How long the application could not write while its database was last read."),
    family(COPY_LAG, About::Source, "Age of the oldest snapshot that a second store lacks; 0 if it has all."),
    family(WATCH_RUNNING, About::Source, "1 while a watch of the source runs, else 0."),
    family(
        WATCH_LAG,
        About::Source,
        "Age of the oldest change that no snapshot has, as the watch knows; 0 if all is saved.",
    ),
    family(
        WATCH_LOOKED,
        About::Source,
        "When the watch last knew that all is saved, or what is not; 0 if it never did.",
    ),
    family(STORE_SIZE, About::Store, "Bytes of the store's objects."),
    family(SETS_SIZE, About::Store, "Bytes that the sets in the backup directory take on disk."),
    family(FREE, About::Store, "Bytes free on the disk of the store, or of the backup directory beside a bucket."),
];

/// Name of the metric.
pub const BUILD: &str = "lrl_build_info";
/// Name of the metric.
pub const LAST_RUN: &str = "lrl_last_run_timestamp_seconds";
/// Name of the metric.
pub const EXIT_CODE: &str = "lrl_last_run_exit_code";
/// Name of the metric.
pub const DURATION: &str = "lrl_last_run_duration_seconds";
/// Name of the metric.
pub const LAST_SUCCESS: &str = "lrl_last_success_timestamp_seconds";
/// Name of the metric.
pub const LAST_GOOD: &str = "lrl_last_good_snapshot_timestamp_seconds";
/// Name of the metric.
pub const LAST_DRILL: &str = "lrl_last_drill_success_timestamp_seconds";
/// Name of the metric.
pub const DRILL_RESTORE: &str = "lrl_drill_restore_seconds";
/// Name of the metric.
pub const DRILL_MISSING: &str = "lrl_drill_missing_files";
/// Name of the metric.
pub const SNAPSHOTS: &str = "lrl_snapshots";
/// Name of the metric.
pub const PROVEN: &str = "lrl_snapshots_proven";
/// Name of the metric.
pub const ADDED: &str = "lrl_added_bytes";
/// Name of the metric.
pub const READ_LOCK: &str = "lrl_read_lock_seconds";
/// Name of the metric.
pub const COPY_LAG: &str = "lrl_copy_lag_seconds";
/// Name of the metric.
pub const WATCH_RUNNING: &str = "lrl_watch_running";
/// Name of the metric.
pub const WATCH_LAG: &str = "lrl_watch_lag_seconds";
/// Name of the metric.
pub const WATCH_LOOKED: &str = "lrl_watch_look_timestamp_seconds";
/// Name of the metric.
pub const STORE_SIZE: &str = "lrl_store_size_bytes";
/// Name of the metric.
pub const SETS_SIZE: &str = "lrl_sets_size_bytes";
/// Name of the metric.
pub const FREE: &str = "lrl_free_bytes";

/// Finds a metric by its name.
pub fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}
