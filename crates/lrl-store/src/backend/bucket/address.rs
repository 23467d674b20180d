//! A bucket's URL taken apart, and what every kind of bucket needs to be reached.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::multipart::MultipartStore;
use object_store::path::Path as Object;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::error::{Error, Result};
use crate::hint::Message;

/// A part must get through a slow line in this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long without a byte a connection is given up, and the request made again.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// With pauses that grow, a server's restart of some seconds is waited for.
const RETRIES: usize = 9;
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What every kind of bucket can do.
pub(super) trait Client: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Client for T {}

/// A client for a bucket, and how to name it in messages.
pub(super) struct Connection {
    pub(super) client: Arc<dyn Client>,
    pub(super) endpoint: String,
    /// The variables that hold the key.
    pub(super) keys: &'static str,
}

/// A bucket's URL, taken apart.
pub(super) struct Address {
    pub(super) shown: String,
    pub(super) scheme: String,
    pub(super) bucket: String,
    pub(super) prefix: Object,
    /// Those that not all kinds have in common.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) retries: usize,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self> {
        // Without its parameters, for messages.
        let shown = text.split('?').next().unwrap_or(text).trim_end_matches('/').to_string();
        let wrong = |what: String| Error::refused(format!("{shown}: {what}"));
        if text.contains('#') {
            return Err(wrong("what follows `#` would be lost: write %23 for it".into()));
        }
        let url = Url::parse(text).map_err(|e| wrong(format!("this is no URL of a bucket: {e}")))?;
        let scheme = url.scheme().to_string();
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| wrong(format!("a bucket is missing, as in {scheme}://bucket/prefix")))?;
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(wrong(
                "a URL is no place for keys or ports: set the key by variables (docs/REMOTE.md), and the server by ?endpoint="
                    .into(),
            ));
        }
        let (mut retries, mut parameters) = (RETRIES, Vec::new());
        for (key, value) in url.query_pairs() {
            match &*key {
                "retries" => {
                    retries = value.parse().map_err(|_| wrong(format!("retries={value} is no number")))?;
                }
                _ => parameters.push((key.into(), value.into())),
            }
        }
        let (bucket, prefix) = (bucket.to_string(), prefix(&shown).map_err(wrong)?);
        Ok(Self { shown, scheme, bucket, prefix, parameters, retries })
    }

    pub(super) fn wrong(&self, what: impl Into<Message>) -> Error {
        let what = what.into();
        Error::refused(Message::from(format!("{}: {what}", self.shown)).with_hints(what.hints()))
    }

    pub(super) fn unknown(&self, (key, value): &(String, String), known: &str) -> Error {
        self.wrong(format!("`{key}={value}` is not understood; there are {known}, retries=N"))
    }

    pub(super) fn endpoint(&self, endpoint: &str) -> Result<Url> {
        let at = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        at.ok_or_else(|| self.wrong(format!("the endpoint `{endpoint}` must begin with https:// or http://")))
    }

    pub(super) fn retry(&self) -> RetryConfig {
        let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 3.0 };
        RetryConfig { backoff, max_retries: self.retries, retry_timeout: RETRY_TIMEOUT }
    }

    /// Returns the location without parameters.
    pub(super) fn location(&self) -> String {
        let Self { scheme, bucket, prefix, .. } = self;
        format!("{scheme}://{bucket}/{prefix}").trim_end_matches('/').into()
    }
}

/// Returns the keys' prefix in a URL without its parameters: what the user wrote, with `%20` and the like decoded once, and not a byte
/// changed. What cannot be a key of every server is an error, in words.
fn prefix(shown: &str) -> Result<Object, String> {
    let path = shown.split_once("://").and_then(|(_, rest)| Some(rest.split_once('/')?.1)).unwrap_or_default();
    let path = path.trim_matches('/');
    let bad = |segment: &str| segment.is_empty() || segment != segment.trim() || segment.contains(char::is_control);
    match Object::from_url_path(path) {
        Ok(prefix) if path.is_empty() || !prefix.as_ref().split('/').any(bad) => Ok(prefix),
        _ => Err(format!(
            "the prefix {path:?} cannot be used: it must be UTF-8, and its parts must not be empty, `.` or `..`, nor begin or end \
             with a blank or hold control characters"
        )),
    }
}

/// Returns the variables that are set, as the keys that a kind of bucket knows.
pub(super) fn known<K: FromStr>(variables: &[(String, String)]) -> impl Iterator<Item = (K, &String)> {
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
}

pub(super) fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(true)
        .with_http1_only()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
}
