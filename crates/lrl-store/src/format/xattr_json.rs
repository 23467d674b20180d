//! Extended attributes in a JSON document: a list of names and values as text, as paths are written.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::path_text;
use super::xattr::{Xattrs, add};

#[derive(Serialize, Deserialize)]
struct Text {
    name: String,
    value: String,
}

pub(super) fn serialize<S: Serializer>(xattrs: &Xattrs, serializer: S) -> Result<S::Ok, S::Error> {
    let text =
        |(name, value): &(Vec<u8>, Vec<u8>)| Text { name: path_text::encode(name), value: path_text::encode(value) };
    serializer.collect_seq(xattrs.iter().map(text))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Xattrs, D::Error> {
    let mut xattrs = Xattrs::new();
    for Text { name, value } in Vec::<Text>::deserialize(deserializer)? {
        let pair = path_text::decode(&name).zip(path_text::decode(&value));
        let in_order = |name: &[u8]| xattrs.last().is_none_or(|(last, _)| last.as_slice() < name);
        let (name, value) = pair
            .filter(|(name, _)| in_order(name))
            .ok_or_else(|| D::Error::custom("an extended attribute with a malformed escape, or out of order"))?;
        if !add(&mut xattrs, &name, &value) {
            return Err(D::Error::custom("more extended attributes than an entry has"));
        }
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::{Xattrs, deserialize, serialize};

    fn read(text: &str) -> Result<Xattrs, serde_json::Error> {
        deserialize(&mut serde_json::Deserializer::from_str(text))
    }

    #[test]
    fn attributes_are_read_as_they_were_written_and_others_are_refused() {
        let xattrs: Xattrs = vec![(b"user.a".to_vec(), vec![0, 0xff, b'\\', b'"']), (b"user.b".to_vec(), Vec::new())];
        let mut text = Vec::new();
        serialize(&xattrs, &mut serde_json::Serializer::new(&mut text)).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(read(&text).unwrap(), xattrs, "{text}");
        let one = |name: &str| format!(r#"{{"name":"{name}","value":""}}"#);
        for wrong in [
            format!("[{},{}]", one("b"), one("a")),
            format!("[{},{}]", one("a"), one("a")),
            format!("[{}]", one("")),
            format!("[{}]", one("\\\\y")),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        let many: Vec<String> = (0..65).map(|n| one(&format!("user.{n:03}"))).collect();
        assert!(
            read(&format!("[{}]", many[..64].join(","))).is_ok() && read(&format!("[{}]", many.join(","))).is_err()
        );
    }
}
