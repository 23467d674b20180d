//! Addresses of pages: taken apart, and put together. Values are raw bytes, as paths are.

use crate::render::units::percent_encoded;

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The page.
    pub page: String,
    values: Vec<(String, Vec<u8>)>,
}

impl Address {
    /// Takes apart what follows the base; `None` for what no page of ours links to.
    pub fn parse(rest: &str) -> Option<Self> {
        let (page, query) = rest.split_once('?').unwrap_or((rest, ""));
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((String::from_utf8(decoded(key)?).ok()?, decoded(value)?))
        };
        let values: Option<Vec<_>> = query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
        Some(Self { page: page.trim_start_matches('/').to_string(), values: values? })
    }

    /// Returns a value; none where it is missing or empty.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        let value = self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_slice());
        value.filter(|value| !value.is_empty())
    }

    /// Returns a value that is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(key)?).ok()
    }

    /// Returns a value that is a number; 0 where there is none.
    pub fn number(&self, key: &str) -> usize {
        self.text(key).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Where all pages are.
#[derive(Debug, Clone)]
pub struct Base(pub String);

impl Base {
    /// Returns the address of a page.
    pub fn link(&self, page: &str, values: &[(&str, &[u8])]) -> String {
        let mut out = format!("{}/{page}", self.0);
        for (n, (key, value)) in values.iter().enumerate() {
            out.push(if n == 0 { '?' } else { '&' });
            out.extend([key, "="]);
            out.push_str(&percent_encoded(value, b"-_.~/"));
        }
        out
    }
}

/// Takes `%xx` and the form's `+` back.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits =
                    std::str::from_utf8(&digits).ok().filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Address, Base};
    use proptest::prelude::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse("/browse?snapshot=ab&path=a%2Fb+c&x").unwrap();
        assert_eq!((address.page.as_str(), address.text("snapshot")), ("browse", Some("ab")));
        assert_eq!(address.bytes("path"), Some(&b"a/b c"[..]));
        assert_eq!((address.bytes("x"), address.bytes("y"), address.number("x")), (None, None, 0));
        for bad in ["/a?x=%", "/a?x=%1", "/a?x=%+1", "/a?%ff=1"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_path_comes_back(path in prop::collection::vec(1u8.., 1..40)) {
            let link = Base("/b".into()).link("file", &[("path", &path)]);
            prop_assert!(link.is_ascii() && !link.contains(['"', '<', ' ']));
            let address = Address::parse(link.strip_prefix("/b").unwrap()).unwrap();
            prop_assert_eq!(address.bytes("path"), Some(&path[..]));
        }

        #[test]
        fn no_address_panics(text in "\\PC{0,60}") {
            let _ = Address::parse(&text);
        }
    }
}
