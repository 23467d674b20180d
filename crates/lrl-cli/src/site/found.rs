//! What a look at a directory found: values only, in bounded lists.

use std::collections::BTreeSet;

/// Of each kind up to this number is listed; the rest is counted.
const MOST: usize = 1000;

/// Up to [`MOST`] things, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The things, sorted in the end.
    pub items: Vec<T>,
    /// How many are not listed.
    pub more: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more: 0 }
    }
}

impl<T> Listed<T> {
    /// Adds one, or counts it.
    pub fn push(&mut self, item: T) {
        if self.items.len() < MOST { self.items.push(item) } else { self.more += 1 }
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.items.len() as u64 + self.more
    }
}

/// A database that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundDatabase {
    /// Its path below the directory.
    pub path: Vec<u8>,
    /// Its length in bytes, and that of its WAL.
    pub size_bytes: u64,
    /// The length of its WAL in bytes.
    pub wal_bytes: u64,
    /// The size of a page in bytes.
    pub page_size: u32,
    /// It is in WAL mode.
    pub is_wal: bool,
}

/// What one pattern, or one name of a cache, covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heap {
    /// The pattern that leaves it out; a directory's own path where nothing does yet.
    pub pattern: String,
    /// How many files it has.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// A link that leads out of the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkOut {
    /// Its path below the directory.
    pub path: Vec<u8>,
    /// What it leads to, as it is in the link.
    pub target: Vec<u8>,
}

/// What could not be looked at, or holds nothing that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oddity {
    /// Its path below the directory.
    pub path: Vec<u8>,
    /// What is the matter with it.
    pub reason: String,
    /// Something may be missing from the proposal because of it.
    pub lost: bool,
}

/// All that a look found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Databases.
    pub databases: Listed<FoundDatabase>,
    /// How many files there are, databases, their side files and what is left out not counted.
    pub files: u64,
    /// The length of these files in bytes.
    pub bytes: u64,
    /// How many directories there are.
    pub directories: u64,
    /// What each pattern of the preset leaves out, in the order of the patterns.
    pub excluded: Vec<Heap>,
    /// Directories that look like caches, and that no pattern leaves out.
    pub caches: Listed<Heap>,
    /// What is lrl's own, as patterns: stores, and the files of sets by their directory. Nothing of it is counted elsewhere.
    pub own: BTreeSet<String>,
    /// Files that each pattern of secrets covers, in the order of the patterns; one file counts for the first.
    pub secrets: Vec<Listed<Vec<u8>>>,
    /// Links that lead out of the directory.
    pub links_out: Listed<LinkOut>,
    /// What could not be looked at, and sockets and the like.
    pub oddities: Listed<Oddity>,
}

impl Scan {
    /// Returns whether everything could be looked at.
    pub fn is_whole(&self) -> bool {
        self.oddities.more == 0 && !self.oddities.items.iter().any(|one| one.lost)
    }
}
