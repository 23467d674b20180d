//! Objects in a bucket. The one place that reaches for the network; its async runtime stays in this file. The files beside it understand how
//! each kind of bucket is reached, and nothing else.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) mod rate_limit;
#[cfg(feature = "s3")]
mod s3;

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Object;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use url::Url;

use super::bucket::rate_limit::RateLimit;
use super::{Backend, MOST_WHOLE_BYTES, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::progress::Interrupted;

/// Longer objects go up in parts of this size: the least that every server takes, and some want all but the last to be the same.
const PART_BYTES: u64 = 5 << 20;
/// So many parts are in memory at once, whichever objects they are of.
const PARTS_IN_FLIGHT: usize = 4;
/// How soon an interruption is noticed.
const TICK: Duration = Duration::from_millis(100);
/// A part must get through a slow line in this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Nobody waits longer for the end of an upload that failed.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long without a byte a connection is given up, and the request made again.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// With pauses that grow, a server's restart of some seconds is waited for.
const RETRIES: usize = 9;
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a bucket is reached.
pub struct Options {
    /// `s3://bucket/prefix?endpoint=…&region=…`, or the same with `gs://` or `az://` where they are built in.
    pub url: String,
    /// Variables whose names begin with one of [`VARIABLES`].
    pub variables: Vec<(String, String)>,
    /// A directory for spooled objects.
    pub scratch: PathBuf,
    /// Says whether to stop.
    pub interrupted: Interrupted,
}

/// What the names of the variables begin with that say how a bucket is reached.
pub const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A prefix of a bucket.
pub struct Bucket {
    runtime: Runtime,
    reached: Connection,
    address: Address,
    scratch: PathBuf,
    interrupted: Interrupted,
    pace: Option<RateLimit>,
    parts: Semaphore,
}

/// What every kind of bucket can do.
trait Client: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Client for T {}

/// A bucket that its own kind has understood how to reach.
struct Connection {
    client: Arc<dyn Client>,
    endpoint: String,
    /// The variables that hold the key.
    keys: &'static str,
}

/// A bucket's URL, taken apart.
struct Address {
    shown: String,
    scheme: String,
    bucket: String,
    prefix: Object,
    /// Those that not all kinds have in common.
    parameters: Vec<(String, String)>,
    retries: usize,
}

impl Address {
    fn parse(text: &str) -> Result<Self> {
        // Without its parameters, for messages.
        let shown = text.split('?').next().unwrap_or(text).trim_end_matches('/').to_string();
        let wrong = |what: String| Error::Refused(format!("{shown}: {what}"));
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

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::Refused(format!("{}: {what}", self.shown))
    }

    fn unknown(&self, (key, value): &(String, String), known: &str) -> Error {
        self.wrong(format!("`{key}={value}` is not understood; there are {known}, retries=N"))
    }

    fn endpoint(&self, endpoint: &str) -> Result<Url> {
        let at = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        at.ok_or_else(|| self.wrong(format!("the endpoint `{endpoint}` must begin with https:// or http://")))
    }

    fn retry(&self) -> RetryConfig {
        let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 3.0 };
        RetryConfig { backoff, max_retries: self.retries, retry_timeout: RETRY_TIMEOUT }
    }

    fn reach(&self, variables: &[(String, String)]) -> Result<Connection> {
        match self.scheme.as_str() {
            #[cfg(feature = "s3")]
            "s3" => s3::reach(self, variables),
            #[cfg(feature = "gcs")]
            "gs" => gcs::reach(self, variables),
            #[cfg(feature = "azure")]
            "az" => azure::reach(self, variables),
            _ => Err(Error::Unsupported { what: format!("a store at {}", self.shown) }),
        }
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
fn known<K: FromStr>(variables: &[(String, String)]) -> impl Iterator<Item = (K, &String)> {
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(true)
        .with_http1_only()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
}

impl Bucket {
    /// Understands the URL and the variables; reaches for nothing yet.
    pub fn new(options: Options) -> Result<Self> {
        let address = Address::parse(&options.url)?;
        // `reqwest` is built without TLS of its own choice. A provider that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reached = address.reach(&options.variables)?;
        // One thread drives the connections; the callers' threads do the rest.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("bucket").enable_all().build();
        let runtime = runtime.map_err(Error::io("start a thread for", &address.shown))?;
        let Options { scratch, interrupted, .. } = options;
        Ok(Self { runtime, reached, address, scratch, interrupted, parts: Semaphore::new(PARTS_IN_FLIGHT), pace: None })
    }

    /// Sends no more than so many bytes a second, counted by objects and parts.
    pub fn limit_upload(self, bytes_per_second: u64) -> Self {
        Self { pace: Some(RateLimit::new(bytes_per_second)), ..self }
    }

    /// Lists the names one level below that have something below them.
    pub fn directories(&self) -> Result<Vec<String>> {
        let mut tries = 0;
        let found = loop {
            match self.wait(self.reached.client.list_with_delimiter(Some(&self.address.prefix)))? {
                Ok(found) => break found,
                Err(error) => self.list_again("", error, &mut tries)?,
            }
        };
        Ok(found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_string)).collect())
    }

    /// Waits before a listing goes on whose answer was cut short or garbled; else, and after some tries, that is the error. The
    /// client itself makes requests again, but not those whose answer had begun.
    fn list_again(&self, prefix: &str, error: object_store::Error, tries: &mut u32) -> Result<()> {
        let began = matches!(error, object_store::Error::Generic { .. }) && !was_retried(&error);
        if !began || *tries as usize >= self.address.retries {
            return Err(self.unlisted(prefix, &error));
        }
        let pause = FIRST_PAUSE.saturating_mul(3u32.saturating_pow(*tries)).min(LONGEST_PAUSE);
        *tries += 1;
        self.wait(async { tokio::time::sleep(pause).await })
    }

    /// Waits until so many bytes may be sent.
    async fn turn(&self, bytes: u64) {
        if let Some(pace) = &self.pace {
            tokio::time::sleep(pace.turn(bytes)).await;
        }
    }

    fn object(&self, name: &str) -> Object {
        let parts = || name.split('/').filter(|part| !part.is_empty());
        let whole = [self.address.prefix.as_ref()].into_iter().filter(|prefix| !prefix.is_empty()).chain(parts());
        // Names are keys as they are; what cannot be one is nobody's.
        Object::parse(whole.collect::<Vec<_>>().join("/"))
            .unwrap_or_else(|_| parts().fold(self.address.prefix.clone(), |path, part| path.join(part)))
    }

    fn name<'a>(&self, object: &'a Object) -> Option<&'a str> {
        let name = object.as_ref().strip_prefix(self.address.prefix.as_ref())?.trim_start_matches('/');
        // As in a directory: names that lrl never writes are not objects.
        Some(name).filter(|name| !name.is_empty() && name.split('/').all(|part| !part.starts_with('.')))
    }

    /// Waits for work, but not after an interruption.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                match tokio::time::timeout(TICK, work.as_mut()).await {
                    Ok(done) => return Ok(done),
                    Err(_) if (self.interrupted)() => return Err(Error::Interrupted),
                    Err(_) => {}
                }
            }
        })
    }

    fn run<T>(&self, op: &'static str, name: &str, work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        self.wait(work)?.map_err(|error| self.explain(op, name, &error))
    }

    /// Reads a part of a spooled object when its turn comes, and holds its place among the parts in flight until it is sent.
    async fn send<T>(
        &self,
        file: &File,
        range: Range<u64>,
        send: impl AsyncFnOnce(PutPayload) -> object_store::Result<T>,
    ) -> object_store::Result<T> {
        let failed = |source| object_store::Error::Generic { store: "spool", source };
        let _turn = self.parts.acquire().await.map_err(|e| failed(e.into()))?;
        self.turn(range.end - range.start).await;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(|e| failed(e.into()))?;
        send(bytes.into()).await
    }

    fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let object = self.object(name);
        let sent = async {
            self.turn(bytes.len() as u64).await;
            self.reached.client.put(&object, bytes.into()).await
        };
        self.run("write", name, sent).map(|_| ())
    }

    fn put_whole(&self, name: &str, file: &File, len: u64) -> Result<()> {
        let object = self.object(name);
        self.run("write", name, self.send(file, 0..len, async |bytes| self.reached.client.put(&object, bytes).await))
            .map(|_| ())
    }

    /// Uploads in parts. Nothing of them is seen before all are there.
    fn put_parts(&self, name: &str, file: &File, len: u64) -> Result<()> {
        let object = self.object(name);
        let id = self.run("write", name, self.reached.client.create_multipart(&object))?;
        let part = |number: u64| {
            let (object, id, at) = (&object, &id, number * PART_BYTES);
            self.send(file, at..len.min(at + PART_BYTES), async move |bytes| {
                self.reached.client.put_part(object, id, number as usize, bytes).await
            })
        };
        let parts = stream::iter((0..len.div_ceil(PART_BYTES)).map(part)).buffered(PARTS_IN_FLIGHT).try_collect();
        let uploaded = self.run("write", name, parts);
        let done = uploaded.and_then(|parts| {
            self.run("write", name, self.reached.client.complete_multipart(&object, &id, parts)).map(|_| ()).or_else(
                |error| {
                    // The answer may be lost while the object is there: under its name there can be nothing else.
                    let there = !matches!(error, Error::Interrupted) && self.len(name).is_ok_and(|there| there == len);
                    if there { Ok(()) } else { Err(error) }
                },
            )
        });
        if done.is_err() {
            // What cannot be taken back now costs room until the bucket's own rule removes it.
            let abort =
                async { tokio::time::timeout(ABORT_TIMEOUT, self.reached.client.abort_multipart(&object, &id)).await };
            let _ = self.runtime.block_on(abort);
        }
        done
    }

    /// Explains why there is no listing.
    fn unlisted(&self, prefix: &str, error: &object_store::Error) -> Error {
        match self.explain("list", prefix, error) {
            // A listing has nothing that could be missing: an empty one is a page without names.
            Error::Missing { object } => Error::Remote {
                op: "list",
                object,
                detail: format!(
                    "{} says that it is not there; look at ?endpoint= and the bucket's name",
                    self.reached.endpoint
                ),
            },
            other => other,
        }
    }

    /// Says what happened to which object, and what to do next.
    fn explain(&self, op: &'static str, name: &str, error: &object_store::Error) -> Error {
        let text = error.to_string();
        let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
        let (bucket, endpoint) = (&self.address.bucket, &self.reached.endpoint);
        let detail = match (code, error) {
            ("NoSuchBucket" | "ContainerNotFound", _) => {
                let path = format!("{}://{bucket} on {endpoint}", self.address.scheme);
                return Error::NoStore { what: "bucket", path: path.into() };
            }
            ("RequestTimeTooSkewed" | "RequestExpired", _) => {
                "the server's clock and this machine's differ too much; set this one right (timedatectl shows it)"
                    .into()
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" | "AuthFailure", _)
            | ("AuthenticationFailed" | "InvalidAuthenticationInfo", _)
            | (_, object_store::Error::Unauthenticated { .. }) => format!(
                "{endpoint} does not accept the key ({}); look at {}",
                if code.is_empty() { "401" } else { code },
                self.reached.keys
            ),
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _) => format!(
                "the bucket {bucket} is in another region{}; name it by ?region= or AWS_REGION",
                between(&text, "<Region>", "</Region>").map(|region| format!(" ({region})")).unwrap_or_default()
            ),
            ("NoSuchKey" | "BlobNotFound", _) | ("", object_store::Error::NotFound { .. }) => {
                return Error::Missing { object: self.object_location(name) };
            }
            ("InvalidRange", _) => return Error::corrupt(self.object_location(name), "ends too early"),
            (_, object_store::Error::PermissionDenied { .. }) => format!(
                "the key may not do this in the bucket {bucket} on {endpoint}, or is a wrong one; \
                 docs/REMOTE.md lists the permissions that it needs"
            ),
            ("SlowDown" | "ServiceUnavailable" | "TooManyRequests" | "RequestLimitExceeded" | "ServerBusy", _) => {
                format!(
                    "{endpoint} asked to slow down, and still does after several tries; run the same command again later"
                )
            }
            _ if text.contains("redirect without LOCATION") => {
                format!(
                    "{endpoint} does not have the bucket {bucket}: it is in another region; name it by ?region= or AWS_REGION"
                )
            }
            _ => match unreached(error) {
                Some(reason) => format!(
                    "{endpoint} cannot be reached ({reason}); look at the network and at ?endpoint=, then run the same command again"
                ),
                None => format!(
                    "{endpoint} says {}; run the same command again, and look there if it stays so",
                    between(&text, "<Message>", "</Message>").map_or_else(
                        || text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect(),
                        |message| format!("{code}: {message}")
                    )
                ),
            },
        };
        Error::Remote { op, object: self.object_location(name), detail }
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    Some(text.split_once(from)?.1.split_once(to)?.0)
}

/// Returns whether the client itself has judged the failure, and made the request again where that could help. Its error type for that is
/// private.
fn was_retried(error: &object_store::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.to_string().starts_with("Error performing GET ") {
            return true;
        }
        next = error.source();
    }
    false
}

/// Returns why no answer came, if that is what happened: the innermost reason.
fn unreached(error: &object_store::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let (mut no_answer, mut reason) = (false, String::new());
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            no_answer |= !matches!(http.kind(), HttpErrorKind::Decode);
        }
        reason = match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::TimedOut => "no answer in time".into(),
            _ => error.to_string(),
        };
        next = error.source();
    }
    no_answer.then_some(reason)
}

impl Backend for Bucket {
    fn location(&self) -> String {
        let Address { scheme, bucket, prefix, .. } = &self.address;
        format!("{scheme}://{bucket}/{prefix}").trim_end_matches('/').into()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let object = self.object(name);
        let found = self.run("read", name, self.reached.client.get(&object))?;
        if found.meta.size > MOST_WHOLE_BYTES {
            return Err(Error::corrupt(self.object_location(name), "is longer than lrl writes it"));
        }
        self.run("read", name, found.bytes()).map(Vec::from)
    }

    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let bytes = self.read_up_to(name, offset, len)?;
        if bytes.len() == len { Ok(bytes) } else { Err(Error::corrupt(self.object_location(name), "ends too early")) }
    }

    fn read_up_to(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        if len == 0 {
            return self.len(name).map(|_| Vec::new());
        }
        let range = offset..offset + len as u64;
        self.run("read", name, self.reached.client.get_range(&self.object(name), range)).map(Vec::from)
    }

    fn len(&self, name: &str) -> Result<u64> {
        self.run("look at", name, self.reached.client.head(&self.object(name))).map(|meta| meta.size)
    }

    // Objects are named by their content, so writing one again after a lost answer changes nothing, and heals one that was cut short.
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        let spool = match source {
            Payload::Bytes(bytes) => return self.put_bytes(name, bytes.to_vec()),
            Payload::TempObject(spool) => spool,
        };
        let elsewhere = || Error::Refused(format!("{name} was spooled by another storage"));
        let temporary = spool.0.on_disk().ok_or_else(elsewhere)?;
        let file = temporary.as_file();
        let failed = |error| Error::io("read", temporary.path())(error);
        let len = file.metadata().map_err(failed)?.len();
        if len > PART_BYTES { self.put_parts(name, file, len) } else { self.put_whole(name, file, len) }
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let object = self.object(name);
        let put = self.reached.client.put_opts(&object, bytes.to_vec().into(), PutMode::Create.into());
        match self.wait(put)? {
            Ok(_) => Ok(true),
            // The answer to the first try may be lost, and this is the answer to the second.
            Err(object_store::Error::AlreadyExists { .. }) => match self.read(name) {
                Ok(there) => Ok(there == bytes),
                Err(Error::Missing { .. }) => Ok(false),
                Err(e) => Err(e),
            },
            Err(error) if error.to_string().contains("NotImplemented") => {
                Err(Error::Unsupported { what: format!("a conditional write to {}", self.reached.endpoint) })
            }
            Err(error) => Err(self.explain("write", name, &error)),
        }
    }

    fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        self.run("look at", name, self.reached.client.head(&self.object(name)))
            .map(|meta| Some(meta.last_modified.into()))
    }

    fn temp_object(&self) -> Result<TempObject> {
        TempObject::in_dir(&self.scratch)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.list_after(prefix, "", visit)
    }

    fn list_after(&self, prefix: &str, after: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let below = self.object(prefix);
        let mut last = (!after.is_empty()).then(|| self.object(after));
        let mut tries = 0;
        loop {
            let mut found = match &last {
                None => self.reached.client.list(Some(&below)),
                Some(last) => self.reached.client.list_with_offset(Some(&below), last),
            };
            // Names come in order, so a listing that broke off goes on after the last of them.
            let error = loop {
                match self.wait(found.next())? {
                    None => return Ok(()),
                    Some(Err(error)) => break error,
                    Some(Ok(meta)) => {
                        tries = 0;
                        if let Some(name) = self.name(&meta.location) {
                            visit(name, meta.size)?;
                        }
                        last = Some(meta.location);
                    }
                }
            };
            self.list_again(prefix, error, &mut tries)?;
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        match self.run("remove", name, self.reached.client.delete(&self.object(name))) {
            Err(Error::Missing { .. }) => Ok(()),
            other => other,
        }
    }

    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}
