//! Takes secrets out of a text before it leaves the machine: those that are known, and what looks like one.

/// What stands in a secret's place.
const HIDDEN: &str = "***";
/// Shorter values are no secrets, and would blacken half the log.
const LEAST: usize = 6;

/// Words in the name of a variable, header or parameter whose value is a secret.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "private_key",
    "signature",
    "credential",
];
/// Beginnings of an access key's id at AWS.
const AWS: [&str; 4] = ["AKIA", "ASIA", "ABIA", "ACCA"];

/// The secrets of a run.
#[derive(Default, Clone)]
pub struct Redactor {
    known: Vec<String>,
}

impl Redactor {
    /// Knows these secrets, and what is left of them in a URL.
    pub fn new(known: impl IntoIterator<Item = String>) -> Self {
        let mut known: Vec<String> = known.into_iter().filter(|secret| secret.len() >= LEAST).collect();
        // A longer one may contain a shorter one.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.dedup();
        Self { known }
    }

    /// Returns the text without secrets.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_string();
        for secret in &self.known {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        let mut out = String::with_capacity(text.len());
        let mut in_key = false;
        for line in text.split_inclusive('\n') {
            let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY");
            if begins && !in_key {
                out.push_str("*** (a private key)\n");
            }
            in_key |= begins;
            if !in_key {
                out.push_str(&clean_line(line));
            }
            in_key &= !line.contains("-----END ");
        }
        out
    }
}

/// Returns the secrets that the environment holds: values of variables whose names say so.
pub fn of_environment() -> Vec<String> {
    let values =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    // The files and commands that lrl's own variables name are no secrets.
    let secret = values.filter(|(name, _)| names_a_secret(name) && !name.starts_with("LRL_"));
    secret.flat_map(|(_, value)| value.lines().map(str::to_string).collect::<Vec<_>>()).collect()
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|word| name.contains(word)) || ["authorization", "auth", "pwd", "sig"].contains(&name.as_str())
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '&' | ',' | ';' | ')' | ']' | '}' | '<' | '>')
}

/// Goes through a line once: `name=value`, `name: value`, `scheme://user:password@`, `Bearer …`, keys of AWS.
fn clean_line(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("://") {
            out.push_str("://");
            let end = after.find(|c: char| ends_value(c) || matches!(c, '/' | '?' | '#')).unwrap_or(after.len());
            rest = match after[..end].rfind('@') {
                Some(at) => {
                    out.push_str(HIDDEN);
                    &after[at..]
                }
                None => after,
            };
            continue;
        }
        if !is_name(c) {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let len = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(len);
        rest = after;
        if is_aws_key(word) {
            out.push_str(HIDDEN);
            continue;
        }
        out.push_str(word);
        if ["bearer", "basic"].contains(&word.to_ascii_lowercase().as_str()) && after.starts_with(' ') {
            let value = after.trim_start_matches(' ');
            let end = value.find(ends_value).unwrap_or(value.len());
            // Prose has short words.
            if end >= 12 {
                out.push_str(" ***");
                rest = &value[end..];
            }
            continue;
        }
        if names_a_secret(word) {
            rest = hide_value(after, word.to_ascii_lowercase().contains("auth"), &mut out);
        }
    }
    out
}

/// Takes the value after a name: behind `=` or `:`, in quotes or not; a header's goes to the end of its line.
fn hide_value<'a>(after: &'a str, is_header: bool, out: &mut String) -> &'a str {
    let quoted = after.strip_prefix(['"', '\'']).unwrap_or(after);
    let Some(value) = quoted.trim_start_matches(' ').strip_prefix(['=', ':']) else { return after };
    let value = value.trim_start_matches(' ');
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (begin, end) = match quote {
        Some(quote) => (1, value[1..].find(quote).map_or(value.len(), |end| end + 1)),
        None if is_header => (0, value.find(['\n', '"', '\'']).unwrap_or(value.len())),
        None => (0, value.find(ends_value).unwrap_or(value.len())),
    };
    if end - begin == 0 {
        return after;
    }
    out.push_str(&after[..after.len() - value.len() + begin]);
    out.push_str(HIDDEN);
    &value[end..]
}

fn is_aws_key(word: &str) -> bool {
    (16..=128).contains(&word.len())
        && AWS.iter().any(|start| word.starts_with(start))
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::Redactor;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        let redactor = Redactor::new(["https://hc-ping.com/abcdef".into(), "hunter2hunter2".into(), "ab".into()]);
        for (text, clean) in [
            ("sent to https://hc-ping.com/abcdef/start", "sent to ***/start"),
            ("it is hunter2hunter2.", "it is ***."),
            ("s3://user:pa55@host/bucket and ftp://a@b", "s3://***@host/bucket and ftp://***@b"),
            ("http://h/p?X-Amz-Signature=abc&x=1", "http://h/p?X-Amz-Signature=***&x=1"),
            ("Authorization: Basic dXNlcjpwYXNz\nnext", "Authorization: ***\nnext"),
            ("a Bearer abcdefghijklmnop then", "a Bearer *** then"),
            ("basic words stay", "basic words stay"),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtn/x+y rest", "AWS_SECRET_ACCESS_KEY=*** rest"),
            ("{\"password\": \"a b\", \"n\": 1}", "{\"password\": \"***\", \"n\": 1}"),
            ("key AKIAIOSFODNN7EXAMPLE is wrong", "key *** is wrong"),
            ("token = 'x y' z", "token = '***' z"),
            ("the wrong password was given", "the wrong password was given"),
            ("lrl: warning: assets/ab/v1.txt: gone", "lrl: warning: assets/ab/v1.txt: gone"),
            ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nz\n", "*** (a private key)\nz\n"),
            ("snapshot 3f9a (number 2 of lab)", "snapshot 3f9a (number 2 of lab)"),
        ] {
            assert_eq!(redactor.clean(text), clean, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cleaned_and_holds_no_known_secret(text: String, secret in "[a-z/:?]{8,20}") {
            let cleaned = Redactor::new([secret.clone()]).clean(&format!("{text}{secret}{text}"));
            assert!(!cleaned.contains(&secret), "{cleaned}");
        }
    }
}
