//! What is measured, and how much of it.

/// Key, heading and explanation of each case, in the order of the document. `restore_db_N` follows `N` small steps.
pub const CASES: [(&str, &str, &str); 18] = [
    ("first", "First snapshot", "Into an empty repository; making that is not counted."),
    ("unchanged", "Unchanged, 1,400 files", "The same lab again."),
    ("tiny_first", "First snapshot, 100,000 files", "Files of 0.5 to 1 KB beside a small database."),
    ("tiny_unchanged", "Unchanged, 100,000 files", "The same tree again."),
    (
        "small_step",
        "A small step",
        "0.02 % of the content rows edited in place, 2,000 visits logged. Medians over all steps in a row.",
    ),
    (
        "large_step",
        "1 % of the rows",
        "1 % of the content rows edited in place, 2,000 visits logged. Medians over all steps in a row.",
    ),
    ("churn", "Insert and delete", "1 % of the content rows deleted and as many inserted."),
    ("vacuum", "Delete and VACUUM", "2 % of the content rows deleted, then `VACUUM`."),
    (
        "restore",
        "Restore",
        "The newest of two snapshots, one small step apart, into an empty directory, until it is on disk.",
    ),
    ("restore_deep", "Restore after all small steps", "The newest snapshot again."),
    ("restore_end", "Restore at the end", "The newest snapshot after all steps, `VACUUM` included."),
    ("verify", "Verify everything", "All data that is stored, after all steps."),
    ("set_first", "First set", "The database's copy and the archive as two files; for lrl with its first snapshot."),
    ("set_rows", "Set, rows changed", "0.02 % of the content rows edited, 2,000 visits logged, no upload changed."),
    ("set_little", "Set, rows changed and an upload added", "The same, and one new upload."),
    ("set_unchanged", "Set, unchanged", "The same lab again."),
    (
        "set_restore",
        "Restore a set",
        "Into an empty directory, until it is on disk. The others' sets by `cp` and `tar -xzf`, which verify nothing.",
    ),
    ("set_drill", "Drill a set", "lrl also checks the database's integrity and the file of every row."),
];

/// The key of restoring the database after N small steps.
pub fn restore_database(steps: u32) -> String {
    format!("restore_db_{steps}")
}

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where everything comes from.
    pub seed: u64,
    /// 1 is the full size.
    pub scale: f64,
    /// Rounds of most cases.
    pub rounds: u32,
    /// Rounds of the slow tools.
    pub slow_rounds: u32,
    /// Small steps in a row.
    pub steps: u32,
    /// Larger steps in a row.
    pub large_steps: u32,
    /// Nothing is told on the way.
    pub quiet: bool,
}

impl Plan {
    /// After how many small steps the database is restored, to see whether depth costs.
    pub fn depths(&self) -> Vec<u32> {
        let mut depths: Vec<_> = (0..=4).map(|quarter| (self.steps * quarter / 4).max(1)).collect();
        depths.dedup();
        depths
    }
}
