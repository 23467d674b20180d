//! Numbers, times and names as people read them.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

pub use lrl_store::units::{hex, size};

/// Writes a length of time in its largest unit: `0 s`, `59 s`, `3 h`, `12 d`, and two units where the first is small.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, name, next, next_name) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => (60, "min", 1, "s"),
        3600..86_400 => (3600, "h", 60, "min"),
        _ => (86_400, "d", 3600, "h"),
    };
    let (whole, rest) = (seconds / unit, seconds % unit / next);
    if whole < 3 && rest > 0 { format!("{whole} {name} {rest} {next_name}") } else { format!("{whole} {name}") }
}

/// Writes how long ago a moment was, both in seconds since 1970: `3 h ago`, `just now`, `in 2 d`.
pub fn age(then: i64, now: i64) -> String {
    match now.checked_sub(then).unwrap_or_default() {
        0..=9 => "just now".into(),
        passed @ 10.. => format!("{} ago", duration(Duration::from_secs(passed.unsigned_abs()))),
        ahead => format!("in {}", duration(Duration::from_secs(ahead.unsigned_abs()))),
    }
}

/// Writes an age in its largest unit, in up to 4 characters: `45s`, `12m`, `3h`, `5d`, `8w`, `2y`.
pub fn short_age(then: i64, now: i64) -> String {
    const UNITS: [(u64, &str); 6] =
        [(365 * 86_400, "y"), (14 * 86_400, "w"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let passed = now.saturating_sub(then);
    let seconds = passed.unsigned_abs();
    let (from, unit) = UNITS.into_iter().find(|(from, _)| seconds >= *from).unwrap_or((1, "s"));
    let whole = if unit == "w" { seconds / (7 * 86_400) } else { seconds / from };
    format!("{}{whole}{unit}", if passed < 0 { "+" } else { "" })
}

/// Writes a moment in seconds since 1970 as `2026-01-14 12:00:00` in UTC.
pub fn moment(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{seconds}"),
    }
}

/// Writes a count with its noun: `1 file`, `15 files`, `2 directories` (a noun's own plural after `|`).
pub fn count(number: u64, noun: &str) -> String {
    match noun.split_once('|') {
        Some((one, _)) if number == 1 => format!("{number} {one}"),
        Some((_, many)) => format!("{number} {many}"),
        None if number == 1 => format!("{number} {noun}"),
        None => format!("{number} {noun}s"),
    }
}

/// Escapes what a terminal would obey or a line would break at: names come from strangers.
pub fn safe(text: &str) -> Cow<'_, str> {
    // Bidirectional controls can make one name look like another.
    let bad = |c: char| {
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if bad(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Writes a path's raw bytes for a terminal: what is not UTF-8 as `\xff`, what a terminal would obey escaped, a backslash doubled.
/// [`typed_path`] takes it back.
pub fn path(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&safe(&chunk.valid().replace('\\', "\\\\")));
        chunk.invalid().iter().for_each(|byte| {
            let _ = write!(out, "\\x{byte:02x}");
        });
    }
    out
}

/// Returns the bytes of a path that was written by [`path`]; what is no escape stays as it is.
pub fn typed_path(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        match (*first == b'\\').then(|| escaped(tail)).flatten() {
            Some((bytes, after)) => {
                out.extend_from_slice(&bytes);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Reads what follows the backslash of an escape; returns what it stands for, and what comes after it.
fn escaped(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (kind, rest) = text.split_first()?;
    let plain = |byte: u8| Some((vec![byte], rest));
    match kind {
        b'\\' => plain(b'\\'),
        b'n' => plain(b'\n'),
        b'r' => plain(b'\r'),
        b't' => plain(b'\t'),
        b'x' => {
            let (digits, rest) = rest.split_at_checked(2)?;
            Some((vec![u8::try_from(number(digits)?).ok()?], rest))
        }
        b'u' => {
            let rest = rest.strip_prefix(b"{")?;
            let (digits, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'}')?)?;
            let c = char::from_u32(number(digits)?)?;
            Some((c.to_string().into_bytes(), &rest[1..]))
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_number)?, 16).ok()
}

/// Quotes a word for a shell; one that no terminal can hold is shown escaped, and is no command any more.
pub fn shell_word(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| safe(text).into_owned(), Cow::into_owned)
}

/// Encodes bytes for a URL or a header: letters, digits and those in `plain` stay as they are.
pub fn percent_encoded(bytes: &[u8], plain: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || plain.contains(&byte);
    let encode = |byte: &u8| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::{age, count, duration, moment, path, safe, size, typed_path};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn sizes_keep_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_468_006, "1.4 MiB"),
            (10 * 1024 - 1, "10 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (120 << 20, "120 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_are_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (90, "1 min 30 s"),
            (600, "10 min"),
            (7200, "2 h"),
            (10_800, "3 h"),
            (90_000, "1 d 1 h"),
            (1_000_000, "11 d"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(age(100, 105), "just now");
        assert_eq!(age(0, 3 * 3600), "3 h ago");
        assert_eq!(age(2 * 86_400, 0), "in 2 d");
        assert_eq!(age(i64::MIN, i64::MAX), "just now");
        assert_eq!(moment(1_768_392_000), "2026-01-14 12:00:00");
        assert_eq!(moment(i64::MAX), format!("@{}", i64::MAX));
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(15, "file"), "15 files");
        assert_eq!(count(2, "directory|directories"), "2 directories");
    }

    #[test]
    fn names_of_any_bytes_are_shown() {
        assert_eq!(path("Überblick 2026.txt".as_bytes()), "Überblick 2026.txt");
        assert_eq!(path(b"bad\xff\xfe.txt\n"), "bad\\xff\\xfe.txt\\n");
    }

    #[test]
    fn nothing_in_a_name_reaches_the_terminal_as_a_command() {
        assert_eq!(safe("plain ä name"), "plain ä name");
        assert_eq!(safe("a\x1b[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
    }

    #[test]
    fn what_is_no_escape_is_what_it_is() {
        for text in ["a", "\\", "\\q", "\\x", "\\xg0", "\\x+1", "\\u{", "\\u{}", "\\u{110000}", "\\u{d800}", "a\\"] {
            assert_eq!(typed_path(text.as_bytes()), text.as_bytes(), "{text}");
        }
        assert_eq!(typed_path(b"a\\nb\\\\n\\xff\\u{1b}\\r\\t"), b"a\nb\\n\xff\x1b\r\t");
    }

    proptest! {
        #[test]
        fn a_path_that_was_printed_can_be_typed(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\\'), Just(b'n'), Just(b'x'), Just(b'{'), Just(b'\n'), Just(0xe2), Just(0x80), Just(0xae)], 0..40)
        ) {
            let shown = path(&bytes);
            prop_assert!(!shown.contains(char::is_control));
            prop_assert_eq!(typed_path(shown.as_bytes()), bytes);
        }
    }
}
