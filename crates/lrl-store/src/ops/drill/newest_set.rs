//! Which set of a backup directory is the newest.

use std::path::{Path, PathBuf};

use crate::set::layout::MANIFEST;
use crate::store::SnapshotName;
use crate::time::{Time, is_future};

/// Returns the manifest of the newest set. Each comes with its snapshot, where the store has that.
///
/// Those rank by the sequence of their snapshots: a clock that was wrong for a night must not hide every set after it. One that the store does
/// not know is newer only by its name, and not if that is a time to come; where there is nothing else, the last by name is the newest.
pub fn newest_set(sets: Vec<(PathBuf, Option<SnapshotName>)>, now: Time) -> Option<PathBuf> {
    let newest = sets.iter().filter_map(|(manifest, of)| Some((of.as_ref()?.sequence, manifest))).max();
    let newest = newest.map(|(_, manifest)| manifest.clone());
    let by_name = |(manifest, of): &(PathBuf, Option<SnapshotName>)| {
        of.is_none() && !is_to_come(manifest, now) && newest.as_ref().is_none_or(|newest| manifest > newest)
    };
    let unknown = sets.iter().filter(|set| by_name(set)).map(|(manifest, _)| manifest).max().cloned();
    unknown.or(newest).or_else(|| sets.into_iter().map(|(manifest, _)| manifest).max())
}

fn is_to_come(manifest: &Path, now: Time) -> bool {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    MANIFEST.stamp(&name).and_then(Time::of_stamp).is_some_and(|time| is_future(time, now))
}

#[cfg(test)]
mod tests {
    use super::newest_set;
    use crate::id::SnapshotId;
    use crate::store::SnapshotName;
    use crate::time::Time;
    use std::path::PathBuf;

    fn newest(sets: &[(&str, u64)]) -> String {
        let set = |(day, sequence): &(&str, u64)| {
            let id = SnapshotId::of(day.as_bytes());
            let name = SnapshotName { source: "lab".into(), sequence: *sequence, id };
            (PathBuf::from(format!("out/backup_manifest_{day}_120000.json")), (*sequence > 0).then_some(name))
        };
        let now = Time::of_stamp("20260601_120000").unwrap();
        let found = newest_set(sets.iter().map(set).collect(), now).unwrap();
        found.to_str().unwrap()["out/backup_manifest_".len()..][..8].into()
    }

    #[test]
    fn sets_rank_by_sequence_and_unknown_ones_by_their_names() {
        assert_eq!(newest(&[("20360101", 3), ("20260601", 4), ("20260531", 2)]), "20260601", "of a clock ahead");
        assert_eq!(newest(&[("20260531", 3), ("19700101", 4)]), "19700101", "of a clock that stood at zero");
        assert_eq!(newest(&[("20260531", 3), ("20260601", 0)]), "20260601", "another program's set is newer");
        assert_eq!(newest(&[("20260531", 3), ("20260530", 0)]), "20260531", "and older");
        assert_eq!(newest(&[("20260531", 3), ("20360101", 0)]), "20260531", "nobody knows when that was");
        assert_eq!(newest(&[("20260531", 0), ("20360101", 0)]), "20260531");
        assert_eq!(newest(&[("20350101", 0), ("20360101", 0)]), "20360101", "there is no other");
    }
}
