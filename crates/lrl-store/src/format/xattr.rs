//! Extended attributes of an entry: their bounds, their encoding, and which of them are stored and restored.

use super::bytes::{Reader, put_blob, put_varint};
use crate::error::Result;

/// Name and value of an attribute, raw bytes.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);
/// Attributes of an entry; names ascend, each once.
pub(crate) type Xattrs = Vec<Xattr>;

/// How many attributes an entry has at most.
pub(crate) const MAX_XATTRS: usize = 64;
/// The longest name in bytes (Linux's `XATTR_NAME_MAX`).
pub(crate) const MAX_NAME: usize = 255;
/// How many bytes the values of an entry's attributes have together at most (Linux allows one value that much).
pub(crate) const MAX_VALUES: usize = 64 << 10;

/// The attribute in which Linux shows a file's or directory's POSIX ACL.
pub(crate) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the POSIX ACL that new files in a directory get.
pub(crate) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// What an attribute is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `user.*`: data of applications.
    User,
    /// A POSIX ACL.
    Acl,
    /// `trusted.*`, and `security.*` such as a file's capabilities: stored, but never set by a restore, as setuid.
    Privileged,
    /// Anything else: not stored.
    Other,
}

impl Class {
    /// Returns the class of a name.
    ///
    /// Labels of SELinux belong to the machine's policy, and digests of IMA and EVM to its keys and to the inode: put back elsewhere they
    /// lock files away, so they are not stored.
    pub fn of(name: &[u8]) -> Self {
        match name {
            ACL_ACCESS | ACL_DEFAULT => Self::Acl,
            b"security.selinux" | b"security.ima" | b"security.evm" => Self::Other,
            _ if name.starts_with(b"user.") => Self::User,
            _ if name.starts_with(b"trusted.") || name.starts_with(b"security.") => Self::Privileged,
            _ => Self::Other,
        }
    }

    /// Returns whether a restore sets attributes of this class.
    pub(crate) fn is_restored(self) -> bool {
        matches!(self, Self::User | Self::Acl)
    }
}

/// Returns the value of one attribute.
pub(crate) fn find<'x>(xattrs: &'x [Xattr], name: &[u8]) -> Option<&'x [u8]> {
    let at = xattrs.binary_search_by(|(one, _)| one.as_slice().cmp(name)).ok()?;
    xattrs.get(at).map(|(_, value)| value.as_slice())
}

/// Returns how many bytes names and values have.
pub(crate) fn bytes_of(xattrs: &[Xattr]) -> usize {
    xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Adds an attribute if the bounds allow one more; returns whether it was added. One of the same name is replaced.
pub(crate) fn add(xattrs: &mut Xattrs, name: &[u8], value: &[u8]) -> bool {
    let at = xattrs.binary_search_by(|(one, _)| one.as_slice().cmp(name));
    let replaced = at.ok().and_then(|at| xattrs.get(at)).map_or(0, |(_, value)| value.len());
    let values = xattrs.iter().map(|(_, value)| value.len()).sum::<usize>() - replaced + value.len();
    if !is_name(name) || values > MAX_VALUES || at.is_err() && xattrs.len() >= MAX_XATTRS {
        return false;
    }
    match at {
        Ok(at) => xattrs[at].1 = value.to_vec(),
        Err(at) => xattrs.insert(at, (name.to_vec(), value.to_vec())),
    }
    true
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(&0)
}

pub(crate) fn encode(xattrs: &[Xattr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes_of(xattrs) + 4 * xattrs.len() + 1);
    put_varint(&mut out, xattrs.len() as u64);
    for (name, value) in xattrs {
        put_blob(&mut out, name);
        put_blob(&mut out, value);
    }
    out
}

pub(crate) fn decode(bytes: &[u8], object: &str) -> Result<Xattrs> {
    let mut reader = Reader::new(bytes, object);
    let count = reader.varint()?;
    if count == 0 || count > MAX_XATTRS as u64 {
        return Err(reader.malformed("holds an entry with more extended attributes than it may have, or none"));
    }
    let mut xattrs: Xattrs = Vec::with_capacity(count as usize);
    let mut values = 0;
    for _ in 0..count {
        let (name, value) = (reader.blob()?, reader.blob()?);
        values += value.len();
        if !is_name(name) || values > MAX_VALUES {
            return Err(
                reader.malformed("holds an extended attribute with an impossible name, or values that are too long")
            );
        }
        if xattrs.last().is_some_and(|(last, _)| last.as_slice() >= name) {
            return Err(reader.malformed("holds extended attributes out of order"));
        }
        xattrs.push((name.to_vec(), value.to_vec()));
    }
    reader.finish()?;
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::{ACL_ACCESS, Class, MAX_VALUES, MAX_XATTRS, Xattrs, add, decode, encode, find};
    use proptest::prelude::*;

    fn name(n: usize) -> Vec<u8> {
        format!("user.{n:05}").into_bytes()
    }

    #[test]
    fn ten_thousand_attributes_are_refused() {
        let all = |count| (0..count).map(|n| (name(n), Vec::new())).collect::<Xattrs>();
        assert!(decode(&encode(&all(10_000)), "t").unwrap_err().to_string().contains("more extended attributes"));
        assert!(decode(&encode(&all(MAX_XATTRS + 1)), "t").is_err());
        assert_eq!(decode(&encode(&all(MAX_XATTRS)), "t").unwrap(), all(MAX_XATTRS));
        assert!(decode(&encode(&[]), "t").is_err(), "an entry without attributes has one form");
    }

    #[test]
    fn attributes_out_of_order_or_too_long_are_refused() {
        let one = |name: &[u8], len: usize| (name.to_vec(), vec![7; len]);
        for bad in [
            vec![one(b"user.b", 1), one(b"user.a", 1)],
            vec![one(b"user.a", 1), one(b"user.a", 1)],
            vec![one(b"", 1)],
            vec![one(b"user.\0", 1)],
            vec![one(&[b'u'; 256], 1)],
            vec![one(b"user.a", MAX_VALUES), one(b"user.b", 1)],
        ] {
            assert!(decode(&encode(&bad), "t").is_err(), "{:?}", bad[0].0);
        }
        assert!(decode(&encode(&[one(b"user.a", MAX_VALUES)]), "t").is_ok());
    }

    #[test]
    fn only_what_fits_is_added() {
        let mut some = Xattrs::new();
        assert!(add(&mut some, b"user.b", b"1") && add(&mut some, b"user.a", b"2") && add(&mut some, b"user.b", b"3"));
        assert_eq!(some, [(b"user.a".to_vec(), b"2".to_vec()), (b"user.b".to_vec(), b"3".to_vec())]);
        assert_eq!((find(&some, b"user.b"), find(&some, b"user.c")), (Some(&b"3"[..]), None));
        assert!(!add(&mut some, b"user.c", &[0; MAX_VALUES]) && !add(&mut some, b"", b""));
        for n in 0..100 {
            add(&mut some, &name(n), b"");
        }
        assert_eq!(some.len(), MAX_XATTRS);
        assert!(add(&mut some, b"user.a", b"another"));
    }

    #[test]
    fn classes_are_by_name() {
        assert_eq!(Class::of(b"user.mime_type"), Class::User);
        assert_eq!(Class::of(ACL_ACCESS), Class::Acl);
        assert_eq!(Class::of(b"security.capability"), Class::Privileged);
        assert_eq!(Class::of(b"trusted.overlay.opaque"), Class::Privileged);
        for other in [&b"security.selinux"[..], b"system.nfs4_acl", b"btrfs.compression", b"user", b""] {
            assert_eq!(Class::of(other), Class::Other);
        }
        assert!(Class::User.is_restored() && Class::Acl.is_restored() && !Class::Privileged.is_restored());
    }

    proptest! {
        #[test]
        fn attributes_round_trip(some in proptest::collection::btree_map("[a-z.]{1,9}", any::<Vec<u8>>(), 1..9)) {
            let some: Xattrs = some.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            prop_assert_eq!(decode(&encode(&some), "t").unwrap(), some);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(some) = decode(&bytes, "t") {
                prop_assert_eq!(decode(&encode(&some), "t").unwrap(), some);
            }
        }
    }
}
