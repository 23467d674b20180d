//! The names of objects: packs and snapshots, and what may be the name of a source.

use std::fmt;

use crate::id::{PackId, SnapshotId};

/// The name of a snapshot's object, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The source that it belongs to.
    pub source: String,
    /// Its position there.
    pub sequence: u64,
    /// Its id.
    pub id: SnapshotId,
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.source, self.sequence, self.id.short())
    }
}

/// The highest number a snapshot can have. No source gets there: a higher number is meant to leave none for later snapshots, so it is ignored.
pub const LAST_SEQUENCE: u64 = 1 << 48;
/// How far the next number may be from the one before, and still count as the highest when the numbers are used up.
pub(super) const FARTHEST: u64 = 1 << 32;

/// Returns the highest of a source's numbers, in order, that leaves one for the next snapshot: beside [`LAST_SEQUENCE`] itself, that
/// of the last snapshot before a gap that no history has.
pub(crate) fn highest_of(sequences: impl Iterator<Item = u64>) -> u64 {
    let (mut highest, mut near) = (0, 0);
    for sequence in sequences.filter(|n| *n <= LAST_SEQUENCE) {
        highest = sequence.max(highest);
        if sequence.saturating_sub(near) <= FARTHEST {
            near = sequence.max(near);
        }
    }
    if highest < LAST_SEQUENCE { highest } else { near.min(LAST_SEQUENCE - 1) }
}

impl SnapshotName {
    /// Returns the object's name.
    pub(crate) fn object(&self) -> String {
        format!("snapshots/{}/{:016x}-{}", self.source, self.sequence, self.id)
    }

    /// Takes an object's name apart; `None` for what is no snapshot's name.
    pub(crate) fn parse(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix("snapshots/")?.split('/');
        let (source, file, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
        let (sequence, id) = file.split_once('-')?;
        let is_number = sequence.len() == 16 && sequence.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let sequence = u64::from_str_radix(sequence, 16).ok().filter(|n| is_number && *n <= LAST_SEQUENCE)?;
        Some(Self { source: source.into(), sequence, id: SnapshotId::from_hex(id).ok()? })
    }
}

/// Returns the object's name of a pack.
pub fn pack_name(id: &PackId) -> String {
    let hex = id.to_string();
    format!("packs/{}/{hex}", &hex[..2])
}

/// Takes the id out of a pack's object name; `None` for what is no pack's name.
pub(crate) fn pack_id(name: &str) -> Option<PackId> {
    let id = PackId::from_hex(name.rsplit('/').next()?).ok()?;
    (pack_name(&id) == name).then_some(id)
}

/// Returns whether a name can be a source's: letters, digits, `-`, `_`, `.`; not empty, not beginning with a dot, at most 64 bytes.
pub fn is_source_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::{FARTHEST, LAST_SEQUENCE, SnapshotName, highest_of, is_source_name};

    #[test]
    fn a_number_that_leaves_none_for_later_ones_is_no_snapshots() {
        let id = "0".repeat(64);
        let parse =
            |number: &str| SnapshotName::parse(&format!("snapshots/lab/{number}-{id}")).map(|name| name.sequence);
        assert_eq!(parse("000000000000002a"), Some(42));
        assert_eq!(parse("0001000000000000"), Some(LAST_SEQUENCE));
        for bad in ["0001000000000001", "ffffffffffffffff", "000000000000002A", "+00000000000002a", "2a"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_next_number_is_free_whatever_numbers_are_there() {
        let highest = |numbers: &[u64]| highest_of(numbers.iter().copied());
        assert_eq!(highest(&[]), 0);
        assert_eq!(highest(&[1, 2, 7]), 7);
        assert_eq!(highest(&[1, 1 << 40]), 1 << 40);
        assert_eq!(highest(&[1, 2, LAST_SEQUENCE]), 2);
        assert_eq!(highest(&[1, 2, LAST_SEQUENCE - 1, LAST_SEQUENCE]), 2);
        assert_eq!(highest(&[1, u64::MAX]), 1);
        let end = [LAST_SEQUENCE - 1, LAST_SEQUENCE];
        assert!(highest(&end) < LAST_SEQUENCE);
        let no_gap: Vec<u64> = (0..=LAST_SEQUENCE / FARTHEST).map(|n| n * FARTHEST).collect();
        assert_eq!(highest(&no_gap), LAST_SEQUENCE - 1);
    }

    #[test]
    fn a_sources_name_is_plain_and_no_way_out_of_its_directory() {
        assert!(["lab", "a", "Lab-1_x.y", &"a".repeat(64)].into_iter().all(is_source_name));
        assert!(
            !["", ".", "..", ".lab", "a/b", "a b", "\u{e4}", "a\0", &"a".repeat(65)].into_iter().any(is_source_name)
        );
    }
}
