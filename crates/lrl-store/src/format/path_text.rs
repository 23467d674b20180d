//! A path of raw bytes as text in a JSON document: UTF-8 as it is, `\\` for a backslash, `\xNN` for a byte that is not UTF-8.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Returns the text of a path.
pub fn encode(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Returns the path of a text; `None` if a backslash begins no escape.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    path.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    while let Some(part) = parts.next() {
        if part.is_empty() {
            path.push(b'\\');
            path.extend_from_slice(parts.next()?.as_bytes());
            continue;
        }
        let (hex, rest) = part.strip_prefix('x')?.split_at_checked(2)?;
        // A sign would be read as a part of the number.
        hex.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        path.push(u8::from_str_radix(hex, 16).ok()?);
        path.extend_from_slice(rest.as_bytes());
    }
    Some(path)
}

pub(super) fn serialize<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode(path))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    decode(&text).ok_or_else(|| D::Error::custom("a path with a malformed escape"))
}

/// The same for a path that may be absent.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => super::serialize(path, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        use serde::de::Error as _;
        let text = Option::<String>::deserialize(deserializer)?;
        let decode =
            |text: String| super::decode(&text).ok_or_else(|| D::Error::custom("a path with a malformed escape"));
        text.map(decode).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, encode};

    #[test]
    fn plain_paths_are_their_own_text() {
        assert_eq!(encode("data/ä.db".as_bytes()), "data/ä.db");
        assert_eq!(encode(b"a\\b\xff"), "a\\\\b\\xff");
        for malformed in ["\\", "\\q", "\\x", "\\x1", "\\xzz", "\\x+f", "a\\é"] {
            assert_eq!(decode(malformed), None, "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn every_path_comes_back(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&path)), Some(path));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = decode(&text);
        }
    }
}
