//! What a caller can do next, in the engine's own terms, and messages that carry it. Whoever shows a message chooses the words: the engine knows
//! no command line.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that helps with what a [`Message`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Add a key to the store.
    AddKey,
    /// Make a first snapshot.
    Backup,
    /// Give the key of the bucket.
    BucketKey,
    /// Use a build with this feature.
    BuildWith(&'static str),
    /// Check the store, its packs included.
    CheckData,
    /// Check the store.
    Check,
    /// Compare the rows of this table in a snapshot and in the live database.
    CompareRows(String),
    /// Use a private database for this table of a snapshot.
    DumpTable(String),
    /// Drill this snapshot from the store.
    Drill(String),
    /// Export this snapshot.
    Export(String),
    /// Follow this symbolic link of the uploads.
    FollowLink(String),
    /// Force it.
    Force,
    /// Force it for a snapshot that is named.
    ForceNamed,
    /// Forget this snapshot, whatever protects it.
    GiveUp(String),
    /// List the files of this snapshot.
    ListFiles(String),
    /// List the keys of the store.
    ListKeys,
    /// List the snapshots of the store.
    ListSnapshots,
    /// Free space on the target's disk, or restore to another one.
    MakeSpace,
    /// Give a directory for the local cache of a bucket.
    NameCacheDir,
    /// Give the directories of the data.
    NameDataDir,
    /// Name the source.
    NameSource,
    /// Restore rows without running the table's triggers.
    NoTriggers,
    /// Promise that no other machine prunes or repairs the store.
    OnlyPruner,
    /// Name paths that a set of the manual's layout can give one by one.
    PathsOfLab,
    /// Keep the store, the sets or the cache elsewhere.
    OtherPlace,
    /// Keep the store elsewhere.
    OtherStore,
    /// Restore into another data directory.
    OtherTarget,
    /// The files get another owner because the caller set it.
    OwnerIsSet,
    /// Remove what earlier restores kept.
    RemoveKept,
    /// Repair the store.
    Repair,
    /// Repair the store's config.
    RepairConfig,
    /// Restore this path of a snapshot.
    RestorePath {
        /// The snapshot's timestamp.
        snapshot: String,
        /// The path in it.
        path: String,
    },
    /// Restore path by path.
    RestoreInParts,
    /// Set the owner of everything.
    SetOwner,
    /// Give the second directory of uploads as it was.
    StorageAsBefore,
    /// Leave out what is damaged.
    SkipDamaged,
    /// Open the store without a key, or make an encrypted one.
    TakeKeyAway,
    /// Undo the restore that was interrupted.
    UndoRestore,
    /// Select fewer rows.
    WhereRows,
    /// Do not replace rows.
    WithoutReplace,
}

/// A sentence for people, and what helps. Its text stands alone; documents keep only that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    text: Box<str>,
    hints: Box<[Hint]>,
}

impl Message {
    /// Returns what happened.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what helps, the best first; often nothing.
    pub fn hints(&self) -> &[Hint] {
        &self.hints
    }

    /// Adds all of them.
    pub(crate) fn with_hints(self, hints: &[Hint]) -> Self {
        Self { text: self.text, hints: [&self.hints, hints].concat().into() }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self { text: text.into(), hints: Box::default() }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Adds hints to texts.
pub(crate) trait AddHint: Into<Message> {
    /// Adds what helps.
    fn hint(self, hint: Hint) -> Message {
        self.into().with_hints(&[hint])
    }
}

impl<T: Into<Message>> AddHint for T {}
