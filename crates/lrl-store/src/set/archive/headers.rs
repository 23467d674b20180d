//! Decodes tar header blocks of any writer: ustar, old GNU and V7 fields, base-256 numbers, PAX records. Pure: never
//! panics on any input and allocates no more than it was given. Writing is in `tar`.

use super::tar::{BLOCK, XATTR};
use crate::format::acl::Acl;
use crate::format::xattr::{self, ACL_ACCESS, ACL_DEFAULT, MAX_NAME, MAX_XATTRS, Xattrs};
use crate::time::Time;

/// Why a header cannot be used, as words that follow "holds a header".
pub(crate) type Malformed = &'static str;

/// One header block's fields, before any extension header changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The type flag as it is in the block.
    pub flag: u8,
    /// Raw name, the ustar prefix joined to it.
    pub name: Vec<u8>,
    /// Raw link target.
    pub link: Vec<u8>,
    /// Length of the data in bytes.
    pub size: u64,
    /// Mode bits as they are in the block.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Whole seconds since 1970.
    pub mtime: i64,
}

/// What PAX records say about the member that follows; `None` where they say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    /// Raw name.
    pub path: Option<Vec<u8>>,
    /// Raw link target.
    pub linkpath: Option<Vec<u8>>,
    /// Length of the data in bytes.
    pub size: Option<u64>,
    /// Numeric owner.
    pub uid: Option<u64>,
    /// Numeric group.
    pub gid: Option<u64>,
    /// Time of the last change.
    pub mtime: Option<Time>,
    /// True if the data are a sparse map and not the file's bytes.
    pub sparse: bool,
    /// Extended attributes, ACLs among them.
    pub xattrs: Xattrs,
    /// Names of attributes that are not among them, and why; up to a few.
    pub missed: Vec<(Vec<u8>, MissedBecause)>,
}

/// Why an attribute of an archive is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissedBecause {
    /// There are more than an entry may have.
    TooMany,
    /// It is an ACL that names owners by names only, or none that can be read.
    Unreadable,
}

impl Pax {
    fn xattr(&mut self, name: &[u8], value: &[u8]) {
        if !xattr::add(&mut self.xattrs, name, value) {
            self.miss(name, MissedBecause::TooMany);
        }
    }

    fn acl(&mut self, name: &[u8], text: &[u8]) {
        match Acl::from_text(text) {
            Some(acl) => self.xattr(name, &acl.to_binary()),
            None => self.miss(name, MissedBecause::Unreadable),
        }
    }

    fn miss(&mut self, name: &[u8], why: MissedBecause) {
        if self.missed.len() < MAX_XATTRS {
            self.missed.push((name[..name.len().min(MAX_NAME)].to_vec(), why));
        }
    }
}

/// Decodes one header block whose checksum fits.
pub(crate) fn decode(block: &[u8; BLOCK]) -> Result<Block, Malformed> {
    let stated = number(&block[148..156])?;
    let outside = || block[..148].iter().chain(&block[156..]);
    let unsigned = outside().map(|b| i64::from(*b)).sum::<i64>() + 8 * 32;
    // Some old writers summed signed bytes.
    let signed = outside().map(|b| i64::from(*b as i8)).sum::<i64>() + 8 * 32;
    if stated != unsigned && stated != signed {
        return Err("whose checksum does not fit");
    }
    let mut name = until_nul(&block[..100]).to_vec();
    if &block[257..263] == b"ustar\0" && block[345] != 0 {
        name = [until_nul(&block[345..500]), b"/", &name].concat();
    }
    let positive = |field| number(field).and_then(|n| u64::try_from(n).map_err(|_| "with a negative number"));
    Ok(Block {
        flag: block[156],
        name,
        link: until_nul(&block[157..257]).to_vec(),
        size: positive(&block[124..136])?,
        mode: (positive(&block[100..108])? & 0o7777) as u32,
        uid: positive(&block[108..116])?,
        gid: positive(&block[116..124])?,
        mtime: number(&block[136..148])?,
    })
}

/// Applies the PAX records in `data` to `pax`; later records win, an empty value takes an earlier one back.
pub(crate) fn decode_pax(mut data: &[u8], pax: &mut Pax) -> Result<(), Malformed> {
    const BAD: Malformed = "with a malformed PAX record";
    while !data.is_empty() {
        let space = data.iter().take(20).position(|b| *b == b' ').ok_or(BAD)?;
        let len = usize::try_from(digits(&data[..space]).ok_or(BAD)?).map_err(|_| BAD)?;
        let (line, rest) = data.split_at_checked(len).ok_or(BAD)?;
        let text = line.get(space + 1..).and_then(|text| text.strip_suffix(b"\n")).ok_or(BAD)?;
        let equals = text.iter().position(|b| *b == b'=').ok_or(BAD)?;
        let (key, value) = (&text[..equals], &text[equals + 1..]);
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        let count = || if value.is_empty() { Ok(None) } else { digits(value).ok_or(BAD).map(Some) };
        match key {
            b"path" => pax.path = bytes(),
            b"linkpath" => pax.linkpath = bytes(),
            b"size" => pax.size = count()?,
            b"uid" => pax.uid = count()?,
            b"gid" => pax.gid = count()?,
            b"mtime" if value.is_empty() => pax.mtime = None,
            b"mtime" => pax.mtime = Some(moment(value).ok_or(BAD)?),
            b"SCHILY.acl.access" if !value.is_empty() => pax.acl(ACL_ACCESS, value),
            b"SCHILY.acl.default" if !value.is_empty() => pax.acl(ACL_DEFAULT, value),
            _ if key.starts_with(b"GNU.sparse.") => pax.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    pax.xattr(&unescaped(name), value);
                }
            }
        }
        data = rest;
    }
    Ok(())
}

/// Returns an attribute's name out of a key as GNU tar writes it.
fn unescaped(mut name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let (byte, after) = match name {
            [b'%', b'3', b'D', rest @ ..] => (b'=', rest),
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            _ => (*first, rest),
        };
        out.push(byte);
        name = after;
    }
    out
}

/// Returns the bytes before the first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Reads an octal or base-256 field.
fn number(field: &[u8]) -> Result<i64, Malformed> {
    const BAD: Malformed = "with a malformed number";
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        // Two's complement of the field's width, its top bit only a marker; at most 95 bits.
        let start = if *first & 0x40 != 0 { -1 } else { 0 };
        let head = (start << 7) | i128::from(first & 0x7f);
        let value = rest.iter().fold(head, |value, b| (value << 8) | i128::from(*b));
        return i64::try_from(value).map_err(|_| BAD);
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0i64, |value, b| match b {
        b'0'..=b'7' => Ok((value << 3) | i64::from(b - b'0')),
        _ => Err(BAD),
    })
}

/// Reads decimal digits and nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads `[-]seconds[.fraction]`; what is finer than a nanosecond is cut off.
fn moment(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |b| *b == b'.');
    let secs = i64::try_from(digits(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0u32, |n, i| n * 10 + fraction.get(i).map_or(0, |b| u32::from(b - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos: 0 },
        (true, _) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tar::{BLOCK, Header, Type, encode};
    use super::{ACL_ACCESS, ACL_DEFAULT, MissedBecause, Pax, Xattrs, decode, decode_pax, moment, number};
    use crate::time::Time;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]), Ok(2 << 32));
        assert_eq!(number(&[0xff; 12]), Ok(-1));
        assert!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(number(b"12a\0").is_err());
    }

    #[test]
    fn moments_have_nanoseconds_also_before_1970() {
        assert_eq!(moment(b"5.5"), Some(Time { secs: 5, nanos: 500_000_000 }));
        assert_eq!(moment(b"1.1234567899"), Some(Time { secs: 1, nanos: 123_456_789 }));
        assert_eq!(moment(b"-0.5"), Some(Time { secs: -1, nanos: 500_000_000 }));
        assert_eq!(moment(b"-3"), Some(Time { secs: -3, nanos: 0 }));
        for bad in [&b""[..], b"-", b"1.x", b"x", b"1e5", b"99999999999999999999"] {
            assert_eq!(moment(bad), None, "{bad:?}");
        }
    }

    fn records(some: &[(&str, &str)]) -> Pax {
        let mut data = Vec::new();
        for (key, value) in some {
            // Three digits are enough for these, if they are as long.
            let len = key.len() + value.len() + 6;
            data.extend_from_slice(format!("{len:03} {key}={value}\n").as_bytes());
        }
        let mut pax = Pax::default();
        decode_pax(&data, &mut pax).unwrap();
        pax
    }

    #[test]
    fn attributes_and_acls_of_other_programs_are_read() {
        let gnu = "user::rw-\nuser:7:rw-\ngroup::r--\nmask::rw-\nother::---\n";
        let star = "user::rw-,user:joe:rw-:7,group::r--,mask::rw-,other::---";
        let pax =
            records(&[("SCHILY.xattr.user.a%3Db%25", "1=2"), ("SCHILY.acl.access", gnu), ("SCHILY.acl.default", star)]);
        let acl = super::Acl::from_text(gnu.as_bytes()).unwrap().to_binary();
        let expected: Xattrs =
            vec![(ACL_ACCESS.into(), acl.clone()), (ACL_DEFAULT.into(), acl), (b"user.a=b%".into(), b"1=2".into())];
        assert_eq!((pax.xattrs, pax.missed), (expected, vec![]));
    }

    #[test]
    fn attributes_beyond_the_bounds_and_acls_with_names_only_are_named() {
        let keys: Vec<String> = (0..10_000).map(|n| format!("SCHILY.xattr.user.{n:05}")).collect();
        let pax = records(&keys.iter().map(|key| (key.as_str(), "x")).collect::<Vec<_>>());
        assert_eq!((pax.xattrs.len(), pax.missed.len()), (64, 64));
        assert_eq!(pax.missed[0], (b"user.00064".to_vec(), MissedBecause::TooMany));
        let pax = records(&[("SCHILY.acl.access", "user::rw-,user:joe:rw-,group::r--,mask::rw-,other::---")]);
        assert_eq!((pax.xattrs, pax.missed), (vec![], vec![(ACL_ACCESS.to_vec(), MissedBecause::Unreadable)]));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            path in prop::collection::vec(1u8..=255, 1..300),
            link in prop::collection::vec(1u8..=255, 0..300),
            (size, mode, uid, gid) in (any::<u64>(), 0u32..=0o7777, any::<u32>(), any::<u32>()),
            (secs, nanos) in (i64::MIN / 4..i64::MAX / 4, 0u32..1_000_000_000),
            xattrs in prop::collection::btree_map("user\\.[a-z=%3D25]{1,9}", any::<Vec<u8>>(), 0..4),
        ) {
            let mtime = Time { secs, nanos };
            let xattrs: Xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let header = Header { path: &path, kind: Type::Symlink, size, mode, uid, gid, mtime, link: &link, xattrs: &xattrs };
            let mut out = Vec::new();
            encode(&header, &mut out);
            let (mut pax, mut long_name, mut long_link) = (Pax::default(), None, None);
            let mut rest = out.as_slice();
            let block = loop {
                let (head, tail) = rest.split_first_chunk::<BLOCK>().unwrap();
                let block = decode(head).unwrap();
                let data = &tail[..(block.size as usize).min(tail.len())];
                match block.flag {
                    b'x' => decode_pax(data, &mut pax).unwrap(),
                    b'L' => long_name = Some(super::until_nul(data).to_vec()),
                    b'K' => long_link = Some(super::until_nul(data).to_vec()),
                    _ => { prop_assert!(tail.is_empty()); break block }
                }
                rest = &tail[data.len().next_multiple_of(BLOCK)..];
            };
            prop_assert_eq!(pax.path.or(long_name).unwrap_or(block.name), path);
            prop_assert_eq!(pax.linkpath.or(long_link).unwrap_or(block.link), link);
            prop_assert_eq!(pax.size.unwrap_or(block.size), size);
            prop_assert_eq!(pax.uid.unwrap_or(block.uid), u64::from(uid));
            prop_assert_eq!(pax.gid.unwrap_or(block.gid), u64::from(gid));
            prop_assert_eq!(pax.mtime.unwrap_or(Time { secs: block.mtime, nanos: 0 }), mtime);
            prop_assert_eq!(block.mode, mode);
            prop_assert_eq!(pax.xattrs, xattrs);
        }

        #[test]
        fn any_block_and_any_records_are_read_or_refused(block: [u8; 32], at in 0usize..480, data: Vec<u8>) {
            let mut out = Vec::new();
            let mtime = Time::default();
            encode(&Header { path: b"a", kind: Type::File, size: 1, mode: 0, uid: 0, gid: 0, mtime, link: b"", xattrs: &[] }, &mut out);
            out[at..at + 32].copy_from_slice(&block);
            let _ = decode(out[..].try_into().unwrap());
            let _ = decode_pax(&data, &mut Pax::default());
            let _ = decode_pax(&[b"12 mtime=", &data[..]].concat(), &mut Pax::default());
        }
    }
}
