//! Where stores and sets are: directories, and URLs of buckets.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// Schemes of URLs that name a bucket.
pub const BUCKETS: [&str; 3] = ["s3", "gs", "az"];

/// Returns a value's text before its first colon, where that makes it look like a URL or a place on another machine rather than a path:
/// `s3:bucket`, `ftp://host/x`, `user@host:/srv`. `./a:b` is a path.
fn elsewhere(text: &str) -> Option<&str> {
    let (word, _) = text.split_once(':')?;
    let is_scheme = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (is_scheme || (word.contains('@') && !word.contains('/'))).then_some(word)
}

/// Parses the place of a store, as [`place`] does.
pub fn place_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(place)
}

/// Parses the path of a directory, as [`directory`] does.
pub fn directory_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(directory)
}

/// Parses where a store is: a directory, or the URL of a bucket. What is meant as neither would become a directory of a strange name.
pub fn place(text: OsString) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("expected a directory or the URL of a bucket".into());
    }
    let Some((shown, word)) = text.to_str().and_then(|text| Some((text, elsewhere(text)?))) else {
        return Ok(text.into());
    };
    let rest = &shown[word.len() + 1..];
    match (BUCKETS.contains(&word), rest.strip_prefix("//")) {
        (true, Some(_)) if shown.contains('#') => {
            Err("what follows `#` would be lost, parameters too: write %23 for it".into())
        }
        (true, Some(_)) => Ok(text.into()),
        (true, None) => Err(format!(
            "`{word}:` is no URL of a bucket: write {word}://{} for the bucket, ./{shown} for a directory",
            if rest.trim_matches('/').is_empty() { "bucket/prefix" } else { rest.trim_start_matches('/') }
        )),
        (false, _) => {
            Err(format!("lrl knows no `{word}:`: write s3://bucket/prefix for a bucket, ./{shown} for a directory"))
        }
    }
}

/// Parses a backup directory: sets are never in a bucket.
pub fn directory(text: OsString) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("expected a directory".into());
    }
    match text.to_str().filter(|text| elsewhere(text).is_some()) {
        Some(shown) => Err(format!(
            "this is a directory, on this machine: write ./{shown} if that is its name; --store names a store in a bucket"
        )),
        None => Ok(text.into()),
    }
}
