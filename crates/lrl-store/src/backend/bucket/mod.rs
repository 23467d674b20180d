//! Objects in a bucket. The only place that uses the network; its async runtime stays in this file. The files beside it configure access to
//! each kind of bucket.

mod address;
#[cfg(feature = "azure")]
mod azure;
mod errors;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) mod rate_limit;
#[cfg(feature = "s3")]
mod s3;

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Object;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use self::address::{Address, Connection, FIRST_PAUSE, LONGEST_PAUSE};
use self::rate_limit::RateLimit;
use super::{Backend, Capabilities, MOST_WHOLE_BYTES, Payload, TempObject};
use crate::budget::{REMOVALS_IN_FLIGHT, UPLOAD_BYTES};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::progress::Interrupted;

/// How soon an interruption is noticed.
const TICK: Duration = Duration::from_millis(100);
/// Longer objects go up in parts of the same length, as some servers want them: at least what every server takes, so each is shorter than twice that.
const LEAST_PART: u64 = 5 << 20;
/// Nobody waits longer for the end of an upload that failed.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a bucket is reached.
pub struct Options {
    /// `s3://bucket/prefix?endpoint=…&region=…`, or the same with `gs://` or `az://` where they are built in.
    pub url: String,
    /// Variables whose names begin with one of [`VARIABLES`].
    pub variables: Vec<(String, String)>,
    /// A directory for temporary objects.
    pub scratch: PathBuf,
    /// Asked during requests; true ends them.
    pub interrupted: Interrupted,
}

/// Prefixes of the names of variables that configure access to a bucket.
pub const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A prefix of a bucket.
pub struct Bucket {
    runtime: Runtime,
    reached: Connection,
    address: Address,
    scratch: PathBuf,
    interrupted: Interrupted,
    pace: Option<RateLimit>,
    // Bytes that may be in memory on their way.
    window: Semaphore,
}

fn reach(address: &Address, variables: &[(String, String)]) -> Result<Connection> {
    match address.scheme.as_str() {
        #[cfg(feature = "s3")]
        "s3" => s3::reach(address, variables),
        #[cfg(feature = "gcs")]
        "gs" => gcs::reach(address, variables),
        #[cfg(feature = "azure")]
        "az" => azure::reach(address, variables),
        _ => Err(Error::Unsupported { what: format!("a store at {}", address.shown).into() }),
    }
}

impl Bucket {
    /// Parses the URL and the variables; makes no request yet.
    pub fn new(options: Options) -> Result<Self> {
        let address = Address::parse(&options.url)?;
        // `reqwest` is built without TLS of its own choice. A provider that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reached = reach(&address, &options.variables)?;
        // One thread drives the connections; the callers' threads do the rest.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("bucket").enable_all().build();
        let runtime = runtime.map_err(Error::io("start a thread for", &address.shown))?;
        let Options { scratch, interrupted, .. } = options;
        Ok(Self {
            runtime,
            reached,
            address,
            scratch,
            interrupted,
            window: Semaphore::new(UPLOAD_BYTES as usize),
            pace: None,
        })
    }

    /// Limits uploads to `bytes_per_second`, counted by objects and parts.
    pub(crate) fn limit_upload(self, bytes_per_second: u64) -> Self {
        Self { pace: Some(RateLimit::new(bytes_per_second)), ..self }
    }

    /// Lists the names one level below that have something below them.
    pub(crate) fn directories(&self) -> Result<Vec<String>> {
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
        let began = matches!(error, object_store::Error::Generic { .. }) && !errors::was_retried(&error);
        if !began || *tries as usize >= self.address.retries {
            return Err(errors::unlisted(&self.address, &self.reached, prefix, &error));
        }
        let pause = FIRST_PAUSE.saturating_mul(3u32.saturating_pow(*tries)).min(LONGEST_PAUSE);
        *tries += 1;
        self.wait(async { tokio::time::sleep(pause).await })
    }

    /// Waits until `bytes` may be sent.
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

    /// Reads a part of a temporary object when there is memory for it, and holds that until it is sent.
    async fn send<T>(
        &self,
        file: &File,
        range: Range<u64>,
        send: impl AsyncFnOnce(PutPayload) -> object_store::Result<T>,
    ) -> object_store::Result<T> {
        let failed = |source| object_store::Error::Generic { store: "spool", source };
        let len = range.end - range.start;
        let _memory = self.window.acquire_many(len as u32).await.map_err(|e| failed(e.into()))?;
        self.turn(len).await;
        let mut bytes = vec![0; len as usize];
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
    fn put_parts(&self, name: &str, file: &File, len: u64, count: u64) -> Result<()> {
        let object = self.object(name);
        let id = self.run("write", name, self.reached.client.create_multipart(&object))?;
        let part_len = len.div_ceil(count);
        let part = |number: u64| {
            let (object, id, at) = (&object, &id, number * part_len);
            self.send(file, at..len.min(at + part_len), async move |bytes| {
                self.reached.client.put_part(object, id, number as usize, bytes).await
            })
        };
        let uploaded = self.run("write", name, try_join_all((0..count).map(part)));
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
            // What cannot be removed now takes space until the bucket's own rule removes it.
            let abort =
                async { tokio::time::timeout(ABORT_TIMEOUT, self.reached.client.abort_multipart(&object, &id)).await };
            let _ = self.runtime.block_on(abort);
        }
        done
    }

    /// Visits what is below a prefix and comes after a name, in order.
    fn each_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &ObjectMeta) -> Result<()>,
    ) -> Result<()> {
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
                            visit(name, &meta)?;
                        }
                        last = Some(meta.location);
                    }
                }
            };
            self.list_again(prefix, error, &mut tries)?;
        }
    }

    fn explain(&self, op: &'static str, name: &str, error: &object_store::Error) -> Error {
        errors::explain(&self.address, &self.reached, op, name, error)
    }
}

impl Backend for Bucket {
    fn location(&self) -> String {
        self.address.location()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::BUCKET
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
        let temp = match source {
            Payload::Bytes(bytes) => return self.put_bytes(name, bytes.to_vec()),
            Payload::TempObject(temp) => temp,
        };
        let elsewhere = || Error::refused(format!("{name} was spooled by another storage"));
        let temporary = temp.0.on_disk().ok_or_else(elsewhere)?;
        let file = temporary.as_file();
        let failed = |error| Error::io("read", temporary.path())(error);
        let len = file.metadata().map_err(failed)?.len();
        match len / LEAST_PART {
            0 | 1 => self.put_whole(name, file, len),
            count => self.put_parts(name, file, len, count),
        }
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
                Err(Error::Unsupported { what: format!("a conditional write to {}", self.reached.endpoint).into() })
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
        self.each_after(prefix, after, &mut |name, meta| visit(name, meta.size))
    }

    fn list_modified(&self, prefix: &str, visit: &mut dyn FnMut(&str, Option<SystemTime>) -> Result<()>) -> Result<()> {
        self.each_after(prefix, "", &mut |name, meta| visit(name, Some(meta.last_modified.into())))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match self.run("remove", name, self.reached.client.delete(&self.object(name))) {
            Err(Error::Missing { .. }) => Ok(()),
            other => other,
        }
    }

    fn remove_all(&self, names: &[String]) -> Result<()> {
        let remove = |name: String| {
            let object = self.object(&name);
            async move {
                match self.reached.client.delete(&object).await {
                    Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => Err((name, error)),
                    _ => Ok(()),
                }
            }
        };
        let removed =
            stream::iter(names.iter().cloned().map(remove)).buffer_unordered(REMOVALS_IN_FLIGHT).try_collect::<()>();
        self.wait(removed)?.map_err(|(name, error)| self.explain("remove", &name, &error))
    }

    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}
