//! The server: a connection for each request, a few at a time, and none for long.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::answer::{Answer, Job, Jobs, Pieces};
use super::guard::{Asked, Guard, Verdict};
use crate::render::html;
use crate::render::units::percent_encoded;

/// Connections at a time; others wait.
const MOST_CONNECTIONS: usize = 32;
/// How long a request may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may last, downloads too.
const CONNECTION_TIME: Duration = Duration::from_secs(6 * 3600);
/// Bytes of a request's head, at most.
const MOST_HEAD: usize = 16 << 10;

/// Answers requests in a thread of its own, for as long as the process lives.
///
/// # Errors
/// If the socket cannot be used.
pub fn start(listener: TcpListener, guard: Arc<Guard>, jobs: Jobs) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("ui-server".into()).spawn(move || {
        runtime.block_on(accept(&listener, &guard, &jobs));
    })?;
    Ok(())
}

async fn accept(listener: &tokio::net::TcpListener, guard: &Arc<Guard>, jobs: &Jobs) {
    let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files: others end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (guard, jobs) = (Arc::clone(guard), jobs.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (guard, jobs) = (Arc::clone(&guard), jobs.clone());
                async move { Ok::<_, Infallible>(response(answer(request, &guard, &jobs).await)) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .keep_alive(false)
                .max_buf_size(MOST_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no failure of anything here.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>, guard: &Guard, jobs: &Jobs) -> Answer {
    let headers = request.headers();
    let one = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let address = request.uri().path_and_query().map_or("", |it| it.as_str());
    let asked = Asked {
        method: request.method().as_str(),
        address,
        is_absolute: request.uri().authority().is_some(),
        hosts: all(headers, &header::HOST),
        origin: one(header::ORIGIN),
        fetch_site: one(HeaderName::from_static("sec-fetch-site")),
        cookies: all(headers, &header::COOKIE),
        has_body: !request.body().is_end_stream(),
    };
    match guard.decide(&asked) {
        Verdict::Refuse(status, why) => Answer::Text(status, why.into()),
        Verdict::Open => Answer::Other(format!("{}/", guard.base()), Some(guard.set_cookie())),
        Verdict::Pass => {
            let rest = address.strip_prefix(guard.base()).unwrap_or_default().to_string();
            let (reply, answered) = oneshot::channel();
            match jobs.try_send(Job { rest, reply }) {
                Ok(()) => answered.await.unwrap_or_else(|_| Answer::Text(503, "lrl ui ends".into())),
                Err(_) => Answer::Text(503, "busy: too much is asked for at once".into()),
            }
        }
    }
}

fn all<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect()
}

fn response(answer: Answer) -> Response<Sent> {
    let (status, kind, body) = match answer {
        Answer::Page(status, html) => (status, "text/html; charset=utf-8", Sent::whole(html)),
        Answer::Text(status, text) => (status, "text/plain; charset=utf-8", Sent::whole(format!("{text}\n"))),
        Answer::Other(to, cookie) => return other(&to, cookie),
        Answer::Download { name, len, pieces } => return download(&name, len, pieces),
    };
    let mut response = with_headers(status, kind, body);
    if status == 405 {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

fn other(to: &str, cookie: Option<String>) -> Response<Sent> {
    let mut response = with_headers(303, "text/plain; charset=utf-8", Sent::whole(String::new()));
    let headers = response.headers_mut();
    for (name, value) in [(header::LOCATION, Some(to.to_string())), (header::SET_COOKIE, cookie)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

fn download(name: &str, len: u64, pieces: Pieces) -> Response<Sent> {
    let mut response = with_headers(200, "application/octet-stream", Sent::Pieces(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    let encoded = percent_encoded(name.as_bytes(), b"-_.");
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename*=UTF-8''{encoded}")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn with_headers(status: u16, kind: &'static str, body: Sent) -> Response<Sent> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let policy = HeaderValue::try_from(format!("{}; frame-ancestors 'none'", html::policy(html::Forms::Here)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(policy) = policy {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// The body of an answer.
enum Sent {
    Whole(Option<Bytes>),
    Pieces(Pieces),
}

impl Sent {
    fn whole(text: String) -> Self {
        Self::Whole(Some(text.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(|bytes| Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
