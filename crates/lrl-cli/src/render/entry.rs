//! How one upload looks: a line as `ls -l` writes it, and its JSON. Names are raw bytes; what is not UTF-8 is shown escaped, and whole
//! in `path_hex`.

use lrl_store::format::acl::Acl;
use lrl_store::format::entry::{Entry, Kind};
use lrl_store::format::snapshot::Database;
use lrl_store::format::xattr::Class;
use lrl_store::time::Time;
use serde_json::{Map, Value, json};

use super::units;

/// Writes the ten letters for kind and permissions.
pub fn mode(kind: u8, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(char::from(kind));
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// Writes an entry as one line.
pub fn line(entry: &Entry) -> String {
    let target = match &entry.kind {
        Kind::Dir | Kind::File { .. } => String::new(),
        Kind::Symlink { target } => format!(" -> {}", units::path(target)),
        Kind::Hardlink { target } => format!(" link to {}", units::path(target)),
    };
    format!("{} {}{target}", facts(entry), units::path(&entry.path))
}

/// Returns the letter of a kind, as `ls -l` has it; `h` is a hard link.
pub fn letter(kind: &Kind) -> u8 {
    match kind {
        Kind::Dir => b'd',
        Kind::File { .. } => b'-',
        Kind::Symlink { .. } => b'l',
        Kind::Hardlink { .. } => b'h',
    }
}

/// Writes kind, mode, owner, size and time of an entry.
pub fn facts(entry: &Entry) -> String {
    row(&mode(letter(&entry.kind), entry.mode), (entry.uid, entry.gid), entry.size(), entry.mtime)
}

/// Writes the database as one line of the same form.
pub fn database_line(half: &Database) -> String {
    format!(
        "{} {}",
        row(&mode(b'-', half.mode), (half.uid, half.gid), half.size_bytes, half.mtime),
        units::path(&half.path)
    )
}

fn row(mode: &str, (uid, gid): (u32, u32), size: u64, mtime: Time) -> String {
    format!("{mode} {:>11} {size:>12} {}", format!("{uid}:{gid}"), units::moment(mtime.secs))
}

/// Writes a moment to the nanosecond as ISO 8601 in UTC.
pub fn iso(time: Time) -> String {
    match jiff::Timestamp::new(time.secs, time.nanos as i32) {
        Ok(moment) => moment.to_string(),
        Err(_) => format!("@{}", time.secs),
    }
}

/// Gives times and modes in a document of the store the form that they have in all of lrl's JSON: RFC 3339 in UTC, four octal digits.
pub fn plain(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(members) => {
            let number = |key: &str| members.get(key).and_then(Value::as_i64);
            if let (2, Some(secs), Some(nanos)) = (members.len(), number("secs"), number("nanos")) {
                *value = iso(Time { secs, nanos: u32::try_from(nanos).unwrap_or(0) }).into();
                return;
            }
            if let Some(mode) = members.get("mode").and_then(Value::as_u64) {
                members.insert("mode".into(), format!("{mode:04o}").into());
            }
            members.values_mut().for_each(plain);
        }
        _ => {}
    }
}

/// Adds a name to an object: as text, and in hexadecimal digits where it is not UTF-8.
pub fn put_name(object: &mut Map<String, Value>, key: &str, name: &[u8]) {
    object.insert(key.into(), String::from_utf8_lossy(name).into());
    if std::str::from_utf8(name).is_err() {
        object.insert(format!("{key}_hex"), units::hex(name).into());
    }
}

/// Returns an entry as JSON.
pub fn to_json(entry: &Entry) -> Value {
    let mut object = Map::new();
    put_name(&mut object, "path", &entry.path);
    let kind = match &entry.kind {
        Kind::Dir => "directory",
        Kind::File { .. } => "file",
        Kind::Symlink { .. } => "symlink",
        Kind::Hardlink { .. } => "hardlink",
    };
    object.insert("type".into(), kind.into());
    if let Kind::File { size, .. } = &entry.kind {
        object.insert("size_bytes".into(), (*size).into());
    }
    if let Kind::Symlink { target } | Kind::Hardlink { target } = &entry.kind {
        put_name(&mut object, "target", target);
    }
    put_metadata(&mut object, entry.mode, (entry.uid, entry.gid), entry.mtime);
    if !entry.xattrs.is_empty() {
        object.insert("xattrs".into(), entry.xattrs.iter().map(|(name, value)| xattr_json(name, value)).collect());
    }
    Value::Object(object)
}

/// Returns an extended attribute as JSON; an ACL also in words.
fn xattr_json(name: &[u8], value: &[u8]) -> Value {
    let mut object = Map::new();
    put_name(&mut object, "name", name);
    put_name(&mut object, "value", value);
    if let Some(acl) = Some(value).filter(|_| Class::of(name) == Class::Acl).and_then(Acl::from_binary) {
        object.insert("acl".into(), acl.to_text().into());
    }
    Value::Object(object)
}

/// Returns the database as JSON of the same form.
pub fn database_json(half: &Database) -> Value {
    let mut object = Map::new();
    put_name(&mut object, "path", &half.path);
    object.insert("type".into(), "database".into());
    object.insert("size_bytes".into(), half.size_bytes.into());
    object.insert("sha256".into(), half.sha256.clone().into());
    put_metadata(&mut object, half.mode, (half.uid, half.gid), half.mtime);
    Value::Object(object)
}

fn put_metadata(object: &mut Map<String, Value>, mode: u32, (uid, gid): (u32, u32), mtime: Time) {
    object.insert("mode".into(), format!("{mode:04o}").into());
    object.insert("uid".into(), json!(uid));
    object.insert("gid".into(), json!(gid));
    object.insert("mtime".into(), iso(mtime).into());
}

#[cfg(test)]
mod tests {
    use super::{iso, mode};
    use lrl_store::time::Time;

    #[test]
    fn modes_and_times_are_written_as_people_know_them() {
        assert_eq!(mode(b'd', 0o755), "drwxr-xr-x");
        assert_eq!(mode(b'-', 0o640), "-rw-r-----");
        assert_eq!(mode(b'-', 0o7711), "-rws--s--t");
        assert_eq!(mode(b'-', 0o7000), "---S--S--T");
        assert_eq!(iso(Time { secs: 1_768_392_000, nanos: 5_000 }), "2026-01-14T12:00:00.000005Z");
    }
}
