//! Extended attributes of open files and directories: read for storing, set when restoring, and what could not be set.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use crate::format::acl::Acl;
use crate::format::xattr::{self, ACL_ACCESS, ACL_DEFAULT, Class, MAX_VALUES, MAX_XATTRS, Xattr, Xattrs};
use crate::hint::{AddHint, Hint, Message};

/// Longest list of names, and longest value, that Linux gives.
const MOST: usize = 64 << 10;

/// The attributes of an open file or directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FoundXattrs {
    /// Those that are stored.
    pub xattrs: Xattrs,
    /// Why some that should be are not, in words that follow the path.
    pub lost: Option<String>,
}

impl FoundXattrs {
    /// Returns whether there is nothing to store and nothing to say.
    pub(crate) fn is_none(&self) -> bool {
        self.xattrs.is_empty() && self.lost.is_none()
    }
}

/// Reads the attributes that are stored, privileged ones only as root. One call if there are none; a file system without attributes has none.
pub(crate) fn read_xattrs(fd: impl AsFd) -> FoundXattrs {
    let mut found = FoundXattrs::default();
    let names = match list(&fd) {
        Ok(names) => names,
        Err(errno) => {
            found.lost = Some(format!("has extended attributes that cannot be listed: {}", io::Error::from(errno)));
            return found;
        }
    };
    // In order, so that what does not fit is the same each time.
    let mut names: Vec<&[u8]> = names.split(|byte| *byte == 0).filter(|name| is_stored(name)).collect();
    names.sort_unstable();
    let mut left_out = Vec::new();
    for name in names {
        match value_of(&fd, name) {
            Ok(value) if xattr::add(&mut found.xattrs, name, &value) => {}
            Ok(_) => left_out.push((name, format!("an entry has up to {MAX_XATTRS}, of {} KiB", MAX_VALUES >> 10))),
            // Removed meanwhile: whoever reads the file sees that it changed.
            Err(Errno::NODATA) => {}
            Err(errno) => left_out.push((name, io::Error::from(errno).to_string())),
        }
    }
    if let Some((name, why)) = left_out.first() {
        let more = if left_out.len() > 1 { format!(" and {} more", left_out.len() - 1) } else { String::new() };
        let name = String::from_utf8_lossy(name);
        found.lost = Some(format!("has the extended attribute {name}{more}, which is not stored: {why}"));
    }
    found
}

fn is_stored(name: &[u8]) -> bool {
    match Class::of(name) {
        Class::User | Class::Acl => true,
        Class::Privileged => rustix::process::geteuid().is_root(),
        Class::Other => false,
    }
}

fn list(fd: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut some = [0; 512];
    match flistxattr(&fd, &mut some[..]) {
        Ok(len) => Ok(some[..len].to_vec()),
        Err(Errno::RANGE) => {
            let mut all = vec![0; MOST];
            let len = flistxattr(&fd, &mut all[..])?;
            all.truncate(len);
            Ok(all)
        }
        Err(Errno::NOTSUP | Errno::NOSYS) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

fn value_of(fd: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut some = [0; 512];
    match fgetxattr(&fd, name, &mut some[..]) {
        Ok(len) => Ok(some[..len].to_vec()),
        Err(Errno::RANGE) => {
            let mut all = vec![0; MOST];
            let len = fgetxattr(&fd, name, &mut all[..])?;
            all.truncate(len);
            Ok(all)
        }
        Err(errno) => Err(errno),
    }
}

/// Removes what new files in a directory of ours would inherit: what is restored gets what was recorded.
pub(crate) fn remove_default_acl(dir: impl AsFd) {
    // Most have none, and many file systems know none.
    let _ = fremovexattr(dir, ACL_DEFAULT);
}

/// Gives a directory the attributes of another that a restore sets, and no others of these; what cannot be set stays away. Before the mode.
pub(crate) fn copy_xattrs(from: impl AsFd, to: impl AsFd) {
    let of = |found: FoundXattrs| restorable(&found.xattrs, true);
    let (wanted, there) = (of(read_xattrs(from)), of(read_xattrs(&to)));
    for (name, _) in there.iter().filter(|(name, _)| xattr::find(&wanted, name).is_none()) {
        let _ = fremovexattr(&to, name.as_slice());
    }
    for (name, value) in wanted.iter().filter(|one| !there.contains(one)) {
        let _ = fsetxattr(&to, name.as_slice(), value, XattrFlags::empty());
    }
}

/// Why an attribute was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It gives rights, as setuid does.
    Privileged,
    /// Everything gets another owner than was recorded, so an ACL would name the wrong ones.
    OtherOwner,
    /// The archive has more than an entry may have.
    TooMany,
    /// An ACL that names owners by names only.
    Names,
    NotSupported,
    NotPermitted,
    NoRoom,
    Failed(i32),
}

impl Why {
    fn of(errno: Errno) -> Self {
        match errno {
            Errno::NOTSUP | Errno::NOSYS => Self::NotSupported,
            Errno::PERM | Errno::ACCESS => Self::NotPermitted,
            Errno::NOSPC | Errno::DQUOT | Errno::TOOBIG | Errno::RANGE => Self::NoRoom,
            errno => Self::Failed(errno.raw_os_error()),
        }
    }

    fn message(self) -> Message {
        let text = self.text();
        if self == Self::OtherOwner { text.hint(Hint::OwnerIsSet) } else { text.into() }
    }

    fn text(self) -> String {
        match self {
            Self::Privileged => "attributes that give rights, such as a file's capabilities, are not restored, as setuid is not; where they \
                                 are needed, set them by hand (`setcap`, `setfattr`)"
                .into(),
            Self::OtherOwner => "everything goes to others than were recorded, and the ACL names those".into(),
            Self::TooMany => format!("up to {MAX_XATTRS} of {} KiB are", MAX_VALUES >> 10),
            Self::Names => "the archive has it with names of users or groups instead of their numbers, or it is malformed".into(),
            Self::NotSupported => "the file system there does not support them".into(),
            Self::NotPermitted => "the system does not permit it".into(),
            Self::NoRoom => "the file system there has no room for them".into(),
            Self::Failed(errno) => io::Error::from_raw_os_error(errno).to_string(),
        }
    }
}

/// What could not be set: one example and the number of each kind.
#[derive(Debug, Default)]
pub struct MissedXattrs(Mutex<BTreeMap<(Class, Why), Missed>>);

#[derive(Debug)]
struct Missed {
    count: u64,
    example: String,
}

impl MissedXattrs {
    fn add(&self, class: Class, why: Why, path: &Path, name: &[u8]) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let example = || format!("{} of {}", String::from_utf8_lossy(name), path.display());
        kinds.entry((class, why)).or_insert_with(|| Missed { count: 0, example: example() }).count += 1;
    }

    /// Counts an attribute of an archive that is beyond the bounds of an entry.
    pub(crate) fn too_many(&self, path: &Path, name: &[u8]) {
        self.add(Class::of(name), Why::TooMany, path, name);
    }

    /// Counts an ACL of an archive that names owners by names only.
    pub(crate) fn names_only(&self, path: &Path, name: &[u8]) {
        self.add(Class::Acl, Why::Names, path, name);
    }

    /// Returns a note for each kind.
    pub(crate) fn notes(&self) -> Vec<Message> {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let note = |((class, why), missed): (&(Class, Why), &Missed)| {
            let what = if *class == Class::Acl { "the POSIX ACL" } else { "the extended attribute" };
            let more = if missed.count > 1 { format!(" (and {} more)", missed.count - 1) } else { String::new() };
            let why = why.message();
            let text = format!("{what} {}{more} was not restored: {why}", missed.example);
            Message::from(text).with_hints(why.hints())
        };
        kinds.iter().map(note).collect()
    }
}

/// How attributes are set.
#[derive(Debug, Clone, Copy)]
pub struct SetXattrs<'a> {
    /// ACLs are set: false where everything gets another owner than was recorded.
    pub acls: bool,
    /// Attributes that give rights are set as well: only in a private directory, to be read again.
    pub privileged: bool,
    /// Collects what cannot be set.
    pub missed: &'a MissedXattrs,
}

impl SetXattrs<'_> {
    /// Sets the attributes of an open file or directory, after its owner and before its mode; returns the mode to set then. An ACL's
    /// entries make up the mode, and without it the group must not get what only its mask had.
    pub(crate) fn set(self, fd: impl AsFd, xattrs: &[Xattr], mode: u32, path: &Path) -> u32 {
        let mut mode = mode;
        for (name, value) in xattrs {
            let class = Class::of(name);
            let done = match class {
                Class::Acl if !self.acls => Err(Why::OtherOwner),
                class if !class.is_restored() && !self.privileged => Err(Why::Privileged),
                _ => fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()).map_err(Why::of),
            };
            if let Some(acl) = Some(value).filter(|_| name == ACL_ACCESS).and_then(|value| Acl::from_binary(value)) {
                mode = mode & 0o7000 | if done.is_ok() { acl.mode() } else { acl.mode_without() };
            }
            if let Err(why) = done {
                self.missed.add(class, why, path, name);
            }
        }
        mode
    }
}

/// Returns those that a restore sets.
pub(crate) fn restorable(xattrs: &[Xattr], acls: bool) -> Xattrs {
    let is_set = |class: Class| class.is_restored() && (acls || class != Class::Acl);
    xattrs.iter().filter(|(name, _)| is_set(Class::of(name))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustix::fs::{XattrFlags, fsetxattr};

    use super::{MissedXattrs, SetXattrs, read_xattrs, remove_default_acl, restorable};
    use crate::format::acl::Acl;
    use crate::format::xattr::{ACL_ACCESS, ACL_DEFAULT, Xattrs};

    fn attribute(name: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.to_vec(), value.to_vec())
    }

    fn acl() -> Acl {
        Acl::from_text(b"user::rw-,user:1234:rw-,group::r--,mask::rw-,other::---").unwrap()
    }

    /// A file on a file system with attributes and ACLs; `None`, with the reason printed, where there is none.
    fn file() -> Option<(tempfile::TempDir, File)> {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("x")).unwrap();
        let both = fsetxattr(&file, "user.probe", b"", XattrFlags::empty())
            .and_then(|()| fsetxattr(&file, ACL_ACCESS, &acl().to_binary(), XattrFlags::empty()));
        both.map(|()| (dir.path().join("y"), dir)).ok().map(|(path, dir)| (dir, File::create(path).unwrap()))
    }

    #[test]
    fn what_is_set_is_read_again_and_the_mode_follows_the_acl() {
        let Some((_dir, file)) = file() else { return };
        assert!(read_xattrs(&file).is_none());
        let some = vec![
            attribute(ACL_ACCESS, &acl().to_binary()),
            attribute(b"user.a", b""),
            attribute(b"user.b", &[7; 1000]),
        ];
        let missed = MissedXattrs::default();
        let set = SetXattrs { acls: true, privileged: false, missed: &missed };
        // An archive's header has the mode that holds without the ACL.
        assert_eq!(set.set(&file, &some, 0o640, Path::new("y")), 0o660);
        let found = read_xattrs(&file);
        assert_eq!((found.xattrs, found.lost), (some, None));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        assert!(missed.notes().is_empty());
    }

    #[test]
    fn attributes_that_give_rights_are_not_set_and_said_once() {
        let Some((_dir, file)) = file() else { return };
        let some: Xattrs = vec![
            attribute(b"security.capability", &[1; 20]),
            attribute(ACL_ACCESS, &acl().to_binary()),
            attribute(b"trusted.x", b"1"),
        ];
        let missed = MissedXattrs::default();
        let set = SetXattrs { acls: false, privileged: false, missed: &missed };
        for _ in 0..1000 {
            // The mask is not the group's.
            assert_eq!(set.set(&file, &some, 0o660, Path::new("y")), 0o640);
        }
        assert!(read_xattrs(&file).is_none());
        let notes = missed.notes();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].text().contains("of y (and 999 more)"), "{notes:?}");
        assert_eq!(notes[0].hints(), [crate::hint::Hint::OwnerIsSet]);
        assert!(notes[1].text().contains("security.capability of y (and 1999 more)"), "{notes:?}");
        assert_eq!(restorable(&some, true), [some[1].clone()]);
        assert!(restorable(&some, false).is_empty());
    }

    #[test]
    fn attributes_beyond_the_bounds_are_left_out_and_said() {
        let Some((_dir, file)) = file() else { return };
        for n in 0..70 {
            if fsetxattr(&file, format!("user.{n:02}"), b"x", XattrFlags::empty()).is_err() {
                return;
            }
        }
        let found = read_xattrs(&file);
        assert_eq!(found.xattrs.len(), 64);
        let lost = found.lost.unwrap();
        assert!(lost.contains("user.64 and 5 more") && lost.contains("not stored"), "{lost}");
    }

    #[test]
    fn a_directory_inherits_no_acl() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::open(dir.path()).unwrap();
        remove_default_acl(open());
        if fsetxattr(open(), ACL_DEFAULT, &acl().to_binary(), XattrFlags::empty()).is_ok() {
            assert!(!read_xattrs(open()).is_none());
            remove_default_acl(open());
            assert!(read_xattrs(open()).is_none());
        }
    }
}
