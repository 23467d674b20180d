//! POSIX ACLs: the binary form in which Linux shows them as an extended attribute, and the text form that archives have (acl(5)), with
//! numbers for owners.

use std::fmt::Write;

/// The version of the binary form (`POSIX_ACL_XATTR_VERSION`).
const VERSION: [u8; 4] = 2u32.to_le_bytes();
/// The id of entries that name nobody.
const NOBODY: u32 = u32::MAX;

/// Whom an entry is about, in the order in which Linux wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    Mask,
    Other,
}

/// An ACL: whom it is about, and what they may do (three bits as in a mode).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(Vec<(Who, u32)>);

impl Acl {
    /// Reads the binary form; `None` if it is another version, or no valid ACL.
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        let entries = bytes.strip_prefix(&VERSION)?;
        if !entries.len().is_multiple_of(8) {
            return None;
        }
        let read = |entry: &[u8]| {
            let [t0, t1, p0, p1, id @ ..] = entry else { return None };
            let id = u32::from_le_bytes(id.try_into().ok()?);
            let who = match u16::from_le_bytes([*t0, *t1]) {
                0x01 => Who::Owner,
                0x02 => Who::User(id),
                0x04 => Who::OwningGroup,
                0x08 => Who::Group(id),
                0x10 => Who::Mask,
                0x20 => Who::Other,
                _ => return None,
            };
            Some((who, u32::from(u16::from_le_bytes([*p0, *p1]))))
        };
        let mut entries: Vec<_> = entries.chunks_exact(8).map(read).collect::<Option<_>>()?;
        entries.sort_unstable();
        Self::checked(entries)
    }

    /// Writes the binary form.
    pub fn to_binary(&self) -> Vec<u8> {
        let mut out = VERSION.to_vec();
        for (who, perm) in &self.0 {
            let (tag, id) = match *who {
                Who::Owner => (0x01u16, NOBODY),
                Who::User(id) => (0x02, id),
                Who::OwningGroup => (0x04, NOBODY),
                Who::Group(id) => (0x08, id),
                Who::Mask => (0x10, NOBODY),
                Who::Other => (0x20, NOBODY),
            };
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&(*perm as u16).to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    /// Reads the text form, entries between commas or line ends. Takes numbers for owners, also behind the permissions as star and libarchive
    /// write them; `None` if it has names only, or is no valid ACL.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut entries = Vec::new();
        for entry in text.split([',', '\n']) {
            let entry = entry.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let mut fields = entry.split(':').map(str::trim);
            let (tag, name, perm) = (fields.next()?, fields.next()?, fields.next()?);
            let id = || fields.clone().next().and_then(|id| id.parse().ok()).or_else(|| name.parse().ok());
            let who = match (tag, name) {
                ("user" | "u", "") => Who::Owner,
                ("user" | "u", _) => Who::User(id()?),
                ("group" | "g", "") => Who::OwningGroup,
                ("group" | "g", _) => Who::Group(id()?),
                ("mask" | "m", "") => Who::Mask,
                ("other" | "o", "") => Who::Other,
                _ => return None,
            };
            let bits = perm.chars().try_fold(0, |bits, letter| match letter {
                'r' => Some(bits | 4),
                'w' => Some(bits | 2),
                'x' => Some(bits | 1),
                '-' => Some(bits),
                _ => None,
            })?;
            entries.push((who, bits));
        }
        entries.sort_unstable();
        Self::checked(entries)
    }

    /// Writes the text form, entries between commas.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (who, perm) in &self.0 {
            let comma = if out.is_empty() { "" } else { "," };
            let bit = |bit: u32, letter| if perm & bit == 0 { '-' } else { letter };
            let bits: String = [bit(4, 'r'), bit(2, 'w'), bit(1, 'x')].iter().collect();
            let _ = match who {
                Who::Owner => write!(out, "{comma}user::{bits}"),
                Who::User(id) => write!(out, "{comma}user:{id}:{bits}"),
                Who::OwningGroup => write!(out, "{comma}group::{bits}"),
                Who::Group(id) => write!(out, "{comma}group:{id}:{bits}"),
                Who::Mask => write!(out, "{comma}mask::{bits}"),
                Who::Other => write!(out, "{comma}other::{bits}"),
            };
        }
        out
    }

    /// Returns the permission bits that a file with this ACL shows: its mask in place of the group's.
    pub(crate) fn mode(&self) -> u32 {
        self.bits(Who::Owner) << 6 | self.mask() << 3 | self.bits(Who::Other)
    }

    /// Returns the permission bits of a file that should have this ACL and cannot: the group gets what the ACL gives it, not what the mask
    /// lets others have.
    pub(crate) fn mode_without(&self) -> u32 {
        self.mode() & (0o707 | self.bits(Who::OwningGroup) << 3)
    }

    fn bits(&self, wanted: Who) -> u32 {
        self.0.iter().find(|(who, _)| *who == wanted).map_or(0, |(_, perm)| *perm)
    }

    fn mask(&self) -> u32 {
        let mask = self.0.iter().find(|(who, _)| *who == Who::Mask);
        mask.map_or_else(|| self.bits(Who::OwningGroup), |(_, perm)| *perm)
    }

    /// Checks what Linux checks of sorted entries: each once, the three of a mode, and a mask where somebody is named.
    fn checked(entries: Vec<(Who, u32)>) -> Option<Self> {
        let has = |wanted: Who| entries.iter().any(|(who, _)| *who == wanted);
        let is_named = |who: &Who| matches!(who, Who::User(_) | Who::Group(_));
        let names_somebody = entries.iter().any(|(who, _)| is_named(who));
        let valid = entries.is_sorted_by(|a, b| a.0 < b.0)
            && entries.iter().all(|(who, perm)| *perm <= 7 && !matches!(who, Who::User(NOBODY) | Who::Group(NOBODY)))
            && [Who::Owner, Who::OwningGroup, Who::Other].into_iter().all(has)
            && (has(Who::Mask) || !names_somebody);
        valid.then_some(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::Acl;
    use proptest::prelude::*;

    const TEXT: &str = "user::rw-,user:1000:rwx,group::r--,group:5:---,mask::rw-,other::r--";

    #[test]
    fn text_is_what_other_programs_write() {
        let acl = Acl::from_text(TEXT.as_bytes()).unwrap();
        assert_eq!(acl.to_text(), TEXT);
        assert_eq!(Acl::from_binary(&acl.to_binary()).as_ref(), Some(&acl));
        assert_eq!((acl.mode(), acl.mode_without()), (0o664, 0o644));
        for same in [
            "user::rw-\nuser:1000:rwx\ngroup::r--\ngroup:5:---\nmask::rw-\nother::r--\n",
            "user::rw-,user:joe:rwx:1000,group::r--,group:tty:---:5,mask::rw-,other::r--",
            "u::rw,g::r,u:1000:rwx #effective:rw-,g:5:-\nm::rw,o::r",
        ] {
            assert_eq!(Acl::from_text(same.as_bytes()).as_ref(), Some(&acl), "{same}");
        }
    }

    #[test]
    fn what_linux_refuses_is_none() {
        for bad in [
            "",
            "user::rw-",
            "user::rw-,group::r--,other::r--,user:joe:rw-,mask::rw-",
            "user::rw-,group::r--,other::r--,user:7:rw-",
            "user::rw-,group::r--,other::r--,other::r--",
            "user::rws,group::r--,other::r--",
            "user:rw-,group::r--,other::r--",
            "everyone@:rw:allow",
        ] {
            assert_eq!(Acl::from_text(bad.as_bytes()), None, "{bad}");
        }
        let three = Acl::from_text(b"user::rw-,group::r--,other::---").unwrap();
        assert_eq!((three.mode(), three.mode_without()), (0o640, 0o640));
        let mut binary = three.to_binary();
        binary[0] = 1;
        assert_eq!(Acl::from_binary(&binary), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, tags in proptest::collection::vec((0u16..64, 0u16..9, any::<u32>()), 0..6)) {
            let _ = Acl::from_text(&bytes);
            let entry = |(tag, perm, id): &(u16, u16, u32)| {
                [&tag.to_le_bytes()[..], &perm.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
            };
            let binary = [vec![2, 0, 0, 0], tags.iter().flat_map(entry).collect()].concat();
            if let Some(acl) = Acl::from_binary(&binary) {
                prop_assert_eq!(Acl::from_text(acl.to_text().as_bytes()).unwrap(), acl);
            }
        }
    }
}
