//! Tells how a run goes: a monitoring service by a request, and programs of the user's. Whatever fails there changes nothing about the run.

mod event;
mod hook;
mod http;
mod ping;
mod redact;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use lrl_store::time::{Time, time_of};
use lrl_store::units::hex;

use self::event::{End, Event};
use self::redact::Redactor;
use crate::args::NotifyArgs;
use crate::config::File;
use crate::context::Context;
use crate::trust::{self, Refusal};

/// A file that was named by mistake must not fill the memory.
const MOST_BYTES: u64 = 64 << 10;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its exit code.
    pub code: u8,
    /// The error that ended it, if one did.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// A run that has begun, with those who wait for its end.
pub struct Telling<'a> {
    notify: &'a NotifyArgs,
    url: Option<String>,
    event: Event,
    redactor: Redactor,
    /// The request about the start is made while the run goes on.
    start: Option<Background<Result<(), String>>>,
}

/// Tells that a run begins, if anybody is to be told: `--on-start` is waited for, a request is not.
pub fn begin<'a>(context: &Context<'a>) -> Option<Telling<'a>> {
    let mut telling = prepare(context, context.cli.command.timed_name()?)?;
    let request = telling.url.as_ref().and_then(|url| ping::request(telling.notify.ping_kind, url, &telling.event));
    let limit = telling.notify.tell_limit;
    telling.start = request.map(|request| in_background(move || http::send(&request, limit)));
    telling.run_on_start(context);
    Some(telling)
}

/// Returns whether somebody is told of a success.
pub fn tells_success(context: &Context<'_>) -> bool {
    let arguments = context.cli.command.notify();
    arguments.is_some_and(|notify| {
        notify.ping_url.is_some() || notify.ping_url_file.is_some() || !notify.on_success.is_empty()
    })
}

/// Prepares to tell of what has no start that a service waits for the end of: only [`Telling::end`] makes a request.
pub fn prepare<'a>(context: &Context<'a>, verb: &'static str) -> Option<Telling<'a>> {
    let notify = context.cli.command.notify()?;
    let hooks = [&notify.on_start, &notify.on_success, &notify.on_failure];
    let url = match url_of(context, notify) {
        Ok(url) => url,
        Err(why) => {
            context.term.warn(format!("ping-url-file: not told: {why}"));
            None
        }
    };
    if url.is_none() && hooks.iter().all(|words| words.is_empty()) {
        return None;
    }
    // Of a URL also what its service calls a token.
    let parts = url.iter().flat_map(|url| url.split(['/', '?', '&', '=', '#']));
    let tokens = parts.filter(|part| part.len() >= 16).map(str::to_string);
    let redactor = Redactor::new(url.clone().into_iter().chain(tokens).chain(redact::of_environment()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let event = Event {
        run: random_id(),
        verb,
        source: context.cli.global.source.clone(),
        store: redactor.clean(&context.store_name()),
        host: host.trim().into(),
        started: now(),
        end: None,
    };
    Some(Telling { notify, url, event, redactor, start: None })
}

impl Telling<'_> {
    /// Runs `--on-start` and waits for it.
    pub fn run_on_start(&self, context: &Context<'_>) {
        let document = self.event.document().to_string();
        warn(context, &self.redactor, "on-start", hook::run(&self.notify.on_start, document, self.notify.tell_limit));
    }

    /// Tells how the run ended: by a request and by a program at the same time, each up to its limit. A failure is a warning.
    pub fn end(mut self, context: &Context<'_>, ended: &Ended) {
        let (notify, limit) = (self.notify, self.notify.tell_limit);
        self.event.end = Some(End {
            finished: now(),
            seconds: ended.took.as_secs_f64(),
            code: ended.code,
            error: ended.error.as_ref().map(|error| self.redactor.clean(error)),
            log: self.redactor.clean(&context.term.log()),
        });
        let request = self.url.as_ref().and_then(|url| ping::request(notify.ping_kind, url, &self.event));
        // The end must not arrive before the start.
        let start = self.start.take();
        let began = Instant::now();
        let sending = in_background(move || {
            let start = start.map_or(Ok(()), |start| wait_for(start).unwrap_or_else(Err));
            (start, request.map_or(Ok(()), |request| http::send(&request, limit)))
        });
        let (name, words) = match ended.code {
            0 => ("on-success", &notify.on_success),
            _ => ("on-failure", &notify.on_failure),
        };
        warn(context, &self.redactor, name, hook::run(words, self.event.document().to_string(), limit));
        let (start, end) = wait_for(sending).unwrap_or_else(|why| (Ok(()), Err(why)));
        let kind = notify.ping_kind.name();
        warn(context, &self.redactor, &format!("ping-url ({kind}), about the start"), start);
        warn(context, &self.redactor, &format!("ping-url ({kind}), about the end"), end);
        if self.url.is_some() || !words.is_empty() {
            context.term.detail(format!("told in {:.1} s how the run ended", began.elapsed().as_secs_f64()));
        }
    }
}

/// Returns the URL, from where it is; an empty one turns it off, as for other settings.
fn url_of(context: &Context<'_>, notify: &NotifyArgs) -> Result<Option<String>, String> {
    if let Some(url) = &notify.ping_url {
        if is_read_by_others(context.file) {
            context.term.note("lrl.toml has ping-url in it, and others can read it: `chmod 600`, or ping-url-file");
        }
        return Ok(Some(url.reveal().to_string()).filter(|url| !url.is_empty()));
    }
    let Some(path) = notify.ping_url_file.as_ref().filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
    let (mut text, until) = (Vec::new(), Instant::now() + notify.tell_limit);
    trust::read_secret(path, MOST_BYTES, &mut text, &|| Instant::now() > until).map_err(|refusal| match refusal {
        Refusal::Io(error) => format!("{}: {error}", path.display()),
        Refusal::Untrusted(why) => why,
        Refusal::Interrupted => format!("{}: nobody wrote to it in time", path.display()),
    })?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().next().map(|line| line.trim().to_string()).filter(|url| !url.is_empty()))
}

/// Returns whether a settings file with the URL in it can be read by others than its owner.
fn is_read_by_others(file: &File) -> bool {
    let mode = file.path.as_ref().and_then(|path| path.metadata().ok()).map(|meta| meta.permissions().mode());
    file.sets("ping-url") && mode.is_some_and(|mode| mode & 0o044 != 0)
}

/// A job in a thread of its own, if there could be one.
type Background<T> = io::Result<JoinHandle<T>>;

fn in_background<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Background<T> {
    thread::Builder::new().name("told".into()).spawn(job)
}

fn wait_for<T>(job: Background<T>) -> Result<T, String> {
    job.map_err(|e| format!("no thread could be started: {e}"))?.join().map_err(|_| "internal error".to_string())
}

fn warn(context: &Context<'_>, redactor: &Redactor, what: &str, result: Result<(), String>) {
    if let Err(why) = result {
        context.term.warn(format!("{what}: not told: {}", redactor.clean(&why)));
    }
}

fn now() -> Time {
    time_of(SystemTime::now())
}

/// Returns a random UUID; services take any text, so that one without randomness tells less, not nothing.
fn random_id() -> String {
    let mut bytes: [u8; 16] = lrl_store::crypt::random().unwrap_or_default();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let digits = hex(&bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
