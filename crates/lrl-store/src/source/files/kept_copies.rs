//! Names of what restores keep in a site: copies of what they replaced, and their records. A backup leaves them out.

use crate::source::database::source::SIDE_FILES;

/// Endings of what a restore, or its undoing, replaced.
const ENDINGS: [&[u8]; 2] = [b".pre-restore", b".undone"];
/// The ending that only an undoing gives; applications may use it as well.
const UNDONE: &[u8] = b".undone";
/// The record of the last restore, which is in the root of what was restored.
pub(crate) const RECORD: &str = ".lrl-undo.json";
/// The record of a restore that is not finished.
pub(crate) const PENDING: &str = ".lrl-restore.json";

/// The record of the last restore of rows, a small database.
pub(crate) const ROWS_RECORD: &str = ".lrl-undo-rows";
/// The note that the last restore had nothing to do.
pub(crate) const IDLE: &str = ".lrl-undo-idle";

/// How names begin that a restore keeps directly in a root whose contents it had to exchange, or makes ready there: they are no
/// uploads. In a site they may be in any directory.
pub(crate) const RESTORES: [&str; 3] = [".lrl.pre-restore", ".lrl.undone", ".lrl-restore-"];

/// Checks whether a name directly in a root belongs to a restore.
pub(crate) fn is_of_restore(name: &[u8]) -> bool {
    RESTORES.iter().any(|start| name.starts_with(start.as_bytes()))
}

/// A name that a restore gives to what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptName<'n> {
    /// The name of what was replaced.
    pub of: &'n [u8],
    /// The name under which that is kept; the side files of a database have one with an ending.
    pub main: &'n [u8],
    /// An undoing replaced it.
    pub is_undone: bool,
}

/// Returns whether a name is that of a restore's record.
pub(crate) fn is_record(name: &[u8]) -> bool {
    [RECORD, PENDING, ROWS_RECORD, IDLE].iter().any(|record| name == record.as_bytes())
}

/// Returns whether only a restore gives this name: applications may name something as an undoing does.
pub fn is_kept(name: &[u8]) -> bool {
    is_record(name) || kept_of(name).is_some_and(|kept| !kept.is_undone)
}

/// Takes apart a name that a restore gives: `lrl.db.pre-restore`, `data.undone.2`, `lrl.db.pre-restore-wal`.
pub(crate) fn kept_of(name: &[u8]) -> Option<KeptName<'_>> {
    let main = SIDE_FILES.iter().find_map(|end| name.strip_suffix(end.as_bytes())).unwrap_or(name);
    let digits = main.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (start, number) = main.split_at(main.len() - digits);
    let numbered = start.strip_suffix(b".").filter(|_| number.first().is_some_and(|first| *first != b'0'));
    let start = numbered.unwrap_or(main);
    let ending = ENDINGS.iter().find(|ending| start.ends_with(ending))?;
    let of = start.strip_suffix(*ending).filter(|of| !of.is_empty())?;
    Some(KeptName { of, main, is_undone: *ending == UNDONE })
}

#[cfg(test)]
mod tests {
    use super::{is_kept, kept_of};

    #[test]
    fn only_names_that_a_restore_gives_are_taken_apart() {
        let of = |name: &'static str| {
            kept_of(name.as_bytes())
                .map(|kept| (kept.of.escape_ascii().to_string(), kept.main.escape_ascii().to_string()))
        };
        let some = |of: &str, main: &str| Some((of.to_string(), main.to_string()));
        assert_eq!(of("a.db.pre-restore"), some("a.db", "a.db.pre-restore"));
        assert_eq!(of("a.db.pre-restore.12-wal"), some("a.db", "a.db.pre-restore.12"));
        assert_eq!(of("data.undone.3"), some("data", "data.undone.3"));
        assert_eq!(of("a.undone-journal"), some("a", "a.undone"));
        for other in
            ["a.db", ".pre-restore", "a.pre-restore.old", "a.pre-restore.01", "a.pre-restore2", "undone", "a-wal"]
        {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(kept_of(b"a.undone").is_some_and(|kept| kept.is_undone));
        assert!(is_kept(b"a.pre-restore") && is_kept(b".lrl-undo.json") && !is_kept(b"a.undone") && !is_kept(b"a"));
    }
}
