//! An S3 server on loopback, in this process: the requests that lrl uses, with a log of them, and with faults on demand.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::sha256;

/// The one bucket and the one key that there are.
pub const BUCKET: &str = "lab-bucket";
pub const KEY: &str = "AKTEST";

/// What goes wrong with a request.
#[derive(Clone, Copy)]
pub enum Fault {
    /// The server answers with this status and code, and does nothing.
    Says(u16, &'static str),
    /// The request is carried out, but the answer is lost.
    Lost,
    /// The connection ends before anything is done.
    Gone,
    /// The connection ends in the middle of the answer.
    Cut,
    /// The answer lacks its second half, and does not show it.
    Garbled,
    /// No answer comes while the server runs.
    Hangs,
}

/// Decides about each request, by its method and target.
type Faults = Box<dyn FnMut(&str, &str) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: HashMap<String, (String, BTreeMap<u32, Vec<u8>>)>,
    ids: u64,
    log: Vec<String>,
    faults: Option<Faults>,
    page: usize,
    hanging: usize,
    /// Packs on their way, and their bytes; and the most of both.
    underway: (usize, usize),
    most_underway: (usize, usize),
    /// When objects were written, in seconds since 1970 by the server's clock.
    written: HashMap<String, i64>,
    /// How far that clock is ahead.
    ahead: i64,
    ignores_conditions: bool,
}

impl State {
    fn now(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_secs() as i64 + self.ahead
    }

    fn put(&mut self, key: String, bytes: Vec<u8>) {
        self.written.insert(key.clone(), self.now());
        self.objects.insert(key, bytes);
    }

    fn written(&self, key: &str, format: &str) -> String {
        let secs = self.written.get(key).copied().unwrap_or_else(|| self.now());
        jiff::Timestamp::from_second(secs).unwrap().strftime(format).to_string()
    }
}

/// A running server; it stops when it is dropped.
pub struct Bucket {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

struct Request {
    method: String,
    target: String,
    key: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Bucket {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { page: 1000, ..State::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (state, stop) = (Arc::clone(&shared), Arc::clone(&stopped));
                std::thread::spawn(move || _ = serve(stream, &state, &stop));
            }
        });
        Self { endpoint, state, stop }
    }

    /// Returns the URL of a store in the bucket.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region=test&retries=2", self.endpoint)
    }

    /// Lists at most this many objects in each page.
    pub fn page(&self, names: usize) {
        self.state.lock().unwrap().page = names;
    }

    /// Decides about faults from here on.
    pub fn fault(&self, faults: impl FnMut(&str, &str) -> Option<Fault> + Send + 'static) {
        self.state.lock().unwrap().faults = Some(Box::new(faults));
    }

    pub fn no_fault(&self) {
        let mut state = self.state.lock().unwrap();
        (state.faults, state.hanging) = (None, 0);
    }

    /// Counts the requests that got no answer since there were faults.
    pub fn hanging(&self) -> usize {
        self.state.lock().unwrap().hanging
    }

    /// Puts the server's clock forward.
    pub fn pass(&self, seconds: i64) {
        self.state.lock().unwrap().ahead += seconds;
    }

    /// Takes `If-None-Match` from here on, and does not look at it.
    pub fn ignore_conditions(&self) {
        self.state.lock().unwrap().ignores_conditions = true;
    }

    /// Returns the requests since the last time, as `METHOD /target`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub fn log_has(&self, method: &str) -> bool {
        self.state.lock().unwrap().log.iter().any(|line| line.starts_with(method))
    }

    pub fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Changes the objects behind lrl's back.
    pub fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        change(&mut self.state.lock().unwrap().objects);
    }

    /// Returns how many packs, and bytes of them, were on their way at once at most.
    pub fn most_underway(&self) -> (usize, usize) {
        self.state.lock().unwrap().most_underway
    }

    /// Counts uploads in parts that were neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, stop: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some((request, part)) = read_request(&mut reader, state)? {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let fault = {
            let mut state = state.lock().unwrap();
            state.log.push(format!("{} {}", request.method, request.target));
            state.faults.as_mut().and_then(|faults| faults(&request.method, &request.target))
        };
        let answer = match fault {
            Some(Fault::Gone) => break,
            Some(Fault::Hangs) => {
                state.lock().unwrap().hanging += 1;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                break;
            }
            Some(Fault::Says(status, code)) => error(status, code),
            Some(Fault::Lost | Fault::Cut | Fault::Garbled) | None => answer(&mut state.lock().unwrap(), &request),
        };
        let half = answer.body.len() / 2;
        let mut answer = answer;
        if matches!(fault, Some(Fault::Garbled)) {
            answer.body.truncate(half);
        }
        if matches!(fault, Some(Fault::Lost)) {
            break;
        }
        let is_head = request.method == "HEAD";
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        answer.headers.iter().for_each(|(name, value)| write!(head, "{name}: {value}\r\n").unwrap());
        let key = request.key.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let written = state.lock().unwrap().written(key, "%a, %d %b %Y %H:%M:%S GMT");
        write!(head, "Last-Modified: {written}\r\nETag: \"1\"\r\n\r\n").unwrap();
        // Whoever has read the answer may send the next one.
        drop(part);
        writer.write_all(head.as_bytes())?;
        if matches!(fault, Some(Fault::Cut)) {
            writer.write_all(&answer.body[..half])?;
            break;
        }
        if !is_head {
            writer.write_all(&answer.body)?;
        }
        writer.flush()?;
    }
    Ok(())
}

/// A pack of a length that is on its way until it is answered.
struct Underway<'a>(&'a Mutex<State>, usize);

impl<'a> Underway<'a> {
    fn begins(state: &'a Mutex<State>, len: usize) -> Self {
        let mut now = state.lock().unwrap();
        now.underway = (now.underway.0 + 1, now.underway.1 + len);
        now.most_underway = (now.most_underway.0.max(now.underway.0), now.most_underway.1.max(now.underway.1));
        Self(state, len)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let (packs, bytes) = &mut self.0.lock().unwrap().underway;
        (*packs, *bytes) = (*packs - 1, *bytes - self.1);
    }
}

type Read<'a> = (Request, Option<Underway<'a>>);

fn read_request<'a>(reader: &mut impl BufRead, state: &'a Mutex<State>) -> std::io::Result<Option<Read<'a>>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_string(), words.next().unwrap_or_default().to_string());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let underway = (method == "PUT" && target.contains("/packs/")).then(|| Underway::begins(state, len));
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(key, value)| (decode(key), decode(value))).collect();
    Ok(Some((Request { key: decode(path), method, query, headers, body, target }, underway)))
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            plain.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
            at += 3;
        } else {
            plain.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    String::from_utf8(plain).unwrap()
}

fn plain(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: Vec::new(), body: body.into() }
}

fn error(status: u16, code: &str) -> Answer {
    plain(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as asked</Message></Error>"))
}

fn answer(state: &mut State, request: &Request) -> Answer {
    let authorization = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
    if !authorization.contains(&format!("Credential={KEY}/")) {
        return error(403, "InvalidAccessKeyId");
    }
    let stated = request.headers.get("x-amz-content-sha256").map(String::as_str).unwrap_or_default();
    if stated != sha256(&request.body) {
        return error(400, "XAmzContentSHA256Mismatch");
    }
    let path = request.key.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return error(404, "NoSuchBucket");
    }
    let upload = request.query.get("uploadId").cloned();
    match (request.method.as_str(), upload) {
        ("GET", None) if key.is_empty() => list(state, &request.query),
        ("GET" | "HEAD", None) => read(state, key, request.headers.get("range")),
        ("PUT", None) => {
            let only_new = request.headers.get("if-none-match").is_some_and(|tag| tag == "*");
            if only_new && !state.ignores_conditions && state.objects.contains_key(key) {
                return error(412, "PreconditionFailed");
            }
            state.put(key.into(), request.body.clone());
            plain(200, "")
        }
        ("DELETE", None) => {
            state.objects.remove(key);
            plain(204, "")
        }
        ("POST", None) if request.query.contains_key("uploads") => {
            state.ids += 1;
            let id = format!("upload-{}", state.ids);
            state.uploads.insert(id.clone(), (key.into(), BTreeMap::new()));
            plain(
                200,
                format!(
                    "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ),
            )
        }
        ("PUT", Some(id)) => match state.uploads.get_mut(&id) {
            None => error(404, "NoSuchUpload"),
            Some((_, parts)) => {
                parts.insert(request.query["partNumber"].parse().unwrap(), request.body.clone());
                plain(200, "")
            }
        },
        ("POST", Some(id)) => match state.uploads.remove(&id) {
            None => error(404, "NoSuchUpload"),
            Some((key, parts)) => {
                let last = parts.len();
                if parts.values().take(last.saturating_sub(1)).any(|part| part.len() < 5 << 20) {
                    return error(400, "EntityTooSmall");
                }
                state.put(key, parts.into_values().flatten().collect());
                plain(200, "<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>")
            }
        },
        ("DELETE", Some(id)) => {
            state.uploads.remove(&id);
            plain(204, "")
        }
        _ => error(501, "NotImplemented"),
    }
}

fn read(state: &State, key: &str, range: Option<&String>) -> Answer {
    let Some(object) = state.objects.get(key) else { return error(404, "NoSuchKey") };
    let Some(range) = range else { return plain(200, object.clone()) };
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(object.len(), |to: usize| (to + 1).min(object.len()));
    if from >= object.len() {
        return error(416, "InvalidRange");
    }
    let mut answer = plain(206, &object[from..to]);
    answer.headers.push(("Content-Range", format!("bytes {from}-{}/{}", to - 1, object.len())));
    answer
}

fn list(state: &State, query: &HashMap<String, String>) -> Answer {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let after = text("continuation-token").max(text("start-after"));
    let mut found = state.objects.iter().filter(|(key, _)| key.starts_with(text("prefix")) && key.as_str() > after);
    if text("delimiter") == "/" {
        // Paged only where lrl lists much: names one level below are few.
        let (mut files, mut below) = (String::new(), std::collections::BTreeSet::new());
        for (key, bytes) in found {
            match key[text("prefix").len()..].split_once('/') {
                Some((name, _)) => _ = below.insert(format!("{}{name}/", text("prefix"))),
                None => files += &contents(state, key, bytes),
            }
        }
        let below: String =
            below.iter().map(|name| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")).collect();
        let head = format!("<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>");
        return plain(200, format!("{head}{files}{below}</ListBucketResult>"));
    }
    let page: Vec<_> = found.by_ref().take(state.page).collect();
    let more = found.next().is_some();
    let mut xml = format!("<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{more}</IsTruncated>");
    if let Some((last, _)) = page.last().filter(|_| more) {
        write!(xml, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
    }
    page.into_iter().for_each(|(key, bytes)| xml += &contents(state, key, bytes));
    plain(200, xml + "</ListBucketResult>")
}

fn contents(state: &State, key: &str, bytes: &[u8]) -> String {
    let (len, time) = (bytes.len(), state.written(key, "%Y-%m-%dT%H:%M:%S.000Z"));
    format!(
        "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>\"1\"</ETag><Size>{len}</Size></Contents>"
    )
}
