//! Encodes one member as tar header blocks: ustar fields, PAX records for what they cannot hold, GNU long names for
//! what PAX cannot. Pure: no I/O, and the same member always gives the same bytes. Reading is in `headers`.

use crate::format::acl::Acl;
use crate::format::xattr::{ACL_ACCESS, ACL_DEFAULT, Xattr};
use crate::time::Time;

/// Bytes per tar block; headers and padded contents are whole blocks.
pub(crate) const BLOCK: usize = 512;

/// The two zero blocks that end an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// How the keys of PAX records of extended attributes begin.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Longest name or link target that fits its ustar field.
const NAME_MAX: usize = 100;
/// Largest number of a seven-digit octal field (uid, gid).
const OWNER_MAX: u32 = 0o7777777;
/// Largest number of an eleven-digit octal field (size, mtime).
const NUMBER_MAX: u64 = 0o77777777777;

/// What a member is; an archive that lrl writes holds nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A regular file, its contents follow.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// What a header says about a member.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// Raw bytes, without a closing slash.
    pub path: &'a [u8],
    /// What the member is.
    pub kind: Type,
    /// Length of the contents in bytes.
    pub size: u64,
    /// Permission bits (0o7777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of the last change.
    pub mtime: Time,
    /// Raw target of a symbolic link, else empty.
    pub link: &'a [u8],
    /// Extended attributes, names ascending.
    pub xattrs: &'a [Xattr],
}

/// Returns how many zero bytes follow contents of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// Appends a member's header blocks: a GNU long name or PAX header where needed, then the ustar header.
pub fn encode(header: &Header<'_>, out: &mut Vec<u8>) {
    let mut name = header.path.to_vec();
    if header.kind == Type::Dir {
        name.push(b'/');
    }
    let mut records = Vec::new();
    // PAX values are UTF-8; GNU's long names are raw bytes that GNU tar and Python both take as they are.
    for (value, key, gnu) in [(name.as_slice(), "path", b'L'), (header.link, "linkpath", b'K')] {
        if value.len() > NAME_MAX {
            if std::str::from_utf8(value).is_ok() {
                record(&mut records, key.as_bytes(), value);
            } else {
                extension(out, gnu, b"././@LongLink", &[value, &[0]].concat());
            }
        }
    }
    if header.mtime.nanos != 0 || header.mtime.secs < 0 || header.mtime.secs as u64 > NUMBER_MAX {
        record(&mut records, b"mtime", decimal(header.mtime).as_bytes());
    }
    for (key, id) in [("uid", header.uid), ("gid", header.gid)] {
        if id > OWNER_MAX {
            record(&mut records, key.as_bytes(), id.to_string().as_bytes());
        }
    }
    if header.size > NUMBER_MAX {
        record(&mut records, b"size", header.size.to_string().as_bytes());
    }
    let mode = xattr_records(&mut records, header.xattrs, header.mode);
    if !records.is_empty() {
        extension(out, b'x', b"././@PaxHeader", &records);
    }
    let flag = match header.kind {
        Type::File => b'0',
        Type::Dir => b'5',
        Type::Symlink => b'2',
    };
    let mut fields = Fields::new(flag, &name);
    fields.text(157, header.link);
    fields.octal(100, 8, u64::from(mode & 0o7777));
    fields.octal(108, 8, fitting(u64::from(header.uid), u64::from(OWNER_MAX)));
    fields.octal(116, 8, fitting(u64::from(header.gid), u64::from(OWNER_MAX)));
    fields.octal(124, 12, fitting(header.size, NUMBER_MAX));
    fields.octal(136, 12, fitting(u64::try_from(header.mtime.secs).unwrap_or(0), NUMBER_MAX));
    fields.append(out);
}

/// Appends the records of extended attributes; returns the mode of the member. ACLs are text, as star, GNU tar and libarchive read them, and
/// the mode is the one that holds without them: a reader that sets an ACL sets its mask, one that does not must not give the group more than
/// the ACL does.
fn xattr_records(out: &mut Vec<u8>, xattrs: &[Xattr], mode: u32) -> u32 {
    let mut mode = mode;
    for (name, value) in xattrs {
        let acl = match name.as_slice() {
            ACL_ACCESS => Some("SCHILY.acl.access"),
            ACL_DEFAULT => Some("SCHILY.acl.default"),
            _ => None,
        };
        match acl.zip(Acl::from_binary(value)) {
            Some((key, acl)) => {
                record(out, key.as_bytes(), acl.to_text().as_bytes());
                if name == ACL_ACCESS {
                    mode = mode & 0o7000 | acl.mode_without();
                }
            }
            None => record(out, &[XATTR, &escaped(name)].concat(), value),
        }
    }
    mode
}

/// Returns an attribute's name as GNU tar writes it in a key: without `=`, which would end it.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'=' => out.extend_from_slice(b"%3D"),
            b'%' => out.extend_from_slice(b"%25"),
            byte => out.push(*byte),
        }
    }
    out
}

/// A number that its field cannot hold is 0 there; a PAX record carries it.
fn fitting(value: u64, max: u64) -> u64 {
    if value > max { 0 } else { value }
}

/// Appends an extension header (`x`, `L`, `K`) and its padded data.
fn extension(out: &mut Vec<u8>, flag: u8, name: &[u8], data: &[u8]) {
    let mut fields = Fields::new(flag, name);
    fields.octal(100, 8, 0o644);
    fields.octal(108, 8, 0);
    fields.octal(116, 8, 0);
    fields.octal(124, 12, data.len() as u64);
    fields.octal(136, 12, 0);
    fields.append(out);
    out.extend_from_slice(data);
    out.resize(out.len() + padding(data.len() as u64), 0);
}

/// Appends one PAX record, `"<length> <key>=<value>\n"`, whose length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    for part in [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// Writes a moment as PAX wants it: decimal seconds, the fraction without closing zeros.
fn decimal(time: Time) -> String {
    let total = i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (secs, nanos) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    let text = format!("{sign}{secs}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// One ustar header block in the making.
struct Fields([u8; BLOCK]);

impl Fields {
    fn new(flag: u8, name: &[u8]) -> Self {
        let mut fields = Self([0; BLOCK]);
        fields.text(0, name);
        fields.0[156] = flag;
        fields.0[257..265].copy_from_slice(b"ustar\x0000");
        fields
    }

    fn text(&mut self, at: usize, value: &[u8]) {
        let len = value.len().min(NAME_MAX);
        self.0[at..at + len].copy_from_slice(&value[..len]);
    }

    /// Digits fill the field but for a closing NUL.
    fn octal(&mut self, at: usize, width: usize, mut value: u64) {
        for digit in self.0[at..at + width - 1].iter_mut().rev() {
            *digit = b'0' + (value & 7) as u8;
            value >>= 3;
        }
    }

    fn append(mut self, out: &mut Vec<u8>) {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|b| u64::from(*b)).sum();
        self.octal(148, 7, sum);
        self.0[154] = 0;
        out.extend_from_slice(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{ACL_ACCESS, Acl, BLOCK, Header, Type, decimal, encode, record};
    use crate::time::Time;

    fn header(path: &[u8], size: u64) -> Header<'_> {
        let mtime = Time { secs: 1_700_000_000, nanos: 0 };
        Header { path, kind: Type::File, size, mode: 0o644, uid: 1000, gid: 1000, mtime, link: b"", xattrs: &[] }
    }

    #[test]
    fn a_plain_file_is_one_block_with_the_documented_fields() {
        let mut out = Vec::new();
        encode(&header(b"assets/a", 5), &mut out);
        assert_eq!(out.len(), BLOCK);
        assert_eq!(&out[..9], b"assets/a\0");
        assert_eq!(&out[100..108], b"0000644\0");
        assert_eq!(&out[108..116], b"0001750\0");
        assert_eq!(&out[124..136], b"00000000005\0");
        assert_eq!(&out[136..148], b"14524770400\0");
        assert_eq!(&out[257..265], b"ustar\x0000");
        assert!(out[265..329].iter().all(|b| *b == 0), "no names of owners");
    }

    #[test]
    fn attributes_are_records_and_the_mode_is_what_holds_without_the_acl() {
        let acl = Acl::from_text(b"user::rw-,user:7:rw-,group::r--,mask::rw-,other::---").unwrap();
        let xattrs = [(ACL_ACCESS.to_vec(), acl.to_binary()), (b"user.a=b".to_vec(), vec![0xff, 0, b'\n'])];
        let mut out = Vec::new();
        encode(&Header { mode: 0o660, xattrs: &xattrs, ..header(b"assets/a", 0) }, &mut out);
        assert_eq!((out.len(), out[156]), (3 * BLOCK, b'x'));
        let mut records = Vec::new();
        record(&mut records, b"SCHILY.acl.access", b"user::rw-,user:7:rw-,group::r--,mask::rw-,other::---");
        record(&mut records, b"SCHILY.xattr.user.a%3Db", &[0xff, 0, b'\n']);
        assert_eq!(&out[BLOCK..BLOCK + records.len()], records);
        assert_eq!(&out[2 * BLOCK + 100..2 * BLOCK + 108], b"0000640\0");
    }

    #[test]
    fn a_file_of_nine_gib_carries_its_size_by_pax() {
        let mut out = Vec::new();
        encode(&header(b"assets/big", 9 << 30), &mut out);
        assert_eq!(out.len(), 3 * BLOCK);
        assert_eq!(out[156], b'x');
        assert!(out[BLOCK..].starts_with(b"19 size=9663676416\n"));
        assert_eq!(&out[2 * BLOCK + 124..2 * BLOCK + 136], b"00000000000\0");
        out.clear();
        encode(&header(b"assets/big", (8 << 30) - 1), &mut out);
        assert_eq!(out.len(), BLOCK);
    }

    #[test]
    fn a_pax_record_counts_its_own_digits() {
        for len in [1, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 985, 986, 987, 988, 989, 990, 991, 9980, 9990] {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'a'; len]);
            let said: usize = String::from_utf8_lossy(&out).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, out.len());
        }
    }

    #[test]
    fn moments_are_decimal_also_before_1970() {
        let at = |secs, nanos| decimal(Time { secs, nanos });
        assert_eq!(at(5, 500_000_000), "5.5");
        assert_eq!(at(5, 0), "5");
        assert_eq!(at(0, 1), "0.000000001");
        assert_eq!(at(-1, 500_000_000), "-0.5");
        assert_eq!(at(-2, 750_000_000), "-1.25");
        assert_eq!(at(-100, 0), "-100");
    }
}
