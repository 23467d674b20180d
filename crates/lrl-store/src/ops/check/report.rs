//! What a check found.

use std::path::Path;

use crate::format::check::Damaged;
use crate::format::repair::Loss;
use crate::store::repair::quarantine::Quarantine;

/// How much was checked.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// Snapshot documents.
    pub snapshots: u64,
    /// Records of drills.
    pub drills: u64,
    /// Index files.
    pub index_files: u64,
    /// Records in them.
    pub index_records: u64,
    /// Packs whose directories were compared with the index.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs that were read whole, each chunk decoded.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Database images that were compared with their SHA-256.
    pub databases_read: u64,
    /// Sets whose files were compared with their manifest.
    pub sets: u64,
    /// Bytes of them that were read; a file with several names counts once.
    pub set_bytes_read: u64,
}

/// What a check found.
#[derive(Debug, Clone)]
#[must_use = "what is damaged is in the report"]
#[non_exhaustive]
pub struct Report {
    /// How much was checked.
    pub checked: Checked,
    /// What is wrong, and notes; by object.
    pub findings: Vec<Finding>,
    /// Findings beyond those that fit in here.
    pub more: u64,
    /// What each snapshot has lost; snapshots that are whole are not in it.
    #[doc(hidden)]
    pub lost: Vec<Loss>,
    /// Snapshots beyond those.
    #[doc(hidden)]
    pub more_lost: u64,
    /// What repairs have moved out of the way.
    #[doc(hidden)]
    pub quarantine: Quarantine,
    /// True if anything is wrong; notes do not count.
    pub wrong: bool,
    /// True if anything is wrong in the store itself, as opposed to the sets beside it.
    pub is_store_wrong: bool,
    /// Why the check is not on record, if it is not.
    pub unrecorded: Option<String>,
    /// The number that its record gets; `None` where a key cannot read those that are there.
    pub(crate) number: Option<u64>,
    /// Which parts of which snapshots are damaged, up to 20,000, the newest first in each source; and how many more there are.
    pub(crate) damaged: (Vec<Damaged>, u64),
}

/// Something about one object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The object, with its path.
    pub object: String,
    /// What is wrong with it, or what there is to note.
    pub detail: String,
    /// False for a note: nothing is lost by it.
    pub wrong: bool,
    /// Some of the snapshots that it affects, the newest first, as `source number (short id)`.
    pub snapshots: Vec<String>,
    /// How many more it affects.
    pub more_snapshots: u64,
    /// Some of the files that cannot be restored because of it; `lrl.db` is the database.
    pub files: Vec<String>,
    /// How many more there are in the newest snapshot that it affects.
    pub more_files: u64,
}

impl Report {
    /// Adds what is wrong with a file of a set.
    pub(super) fn add(&mut self, path: &Path, detail: String) {
        self.wrong = true;
        self.findings.push(Finding {
            object: path.display().to_string(),
            detail,
            wrong: true,
            snapshots: Vec::new(),
            more_snapshots: 0,
            files: Vec::new(),
            more_files: 0,
        });
    }
}
