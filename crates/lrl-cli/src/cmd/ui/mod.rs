//! `lrl ui`: pages for one browser, on this machine, for as long as somebody looks. Requests are let in by `guard`, taken apart by `address`, and
//! answered one after the other by `pages`; only downloads run beside them. Nothing here changes anything.

mod answer;
mod download;
mod guard;
mod pages;
mod server;
mod url;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use lrl_store::backend::Backend;
use lrl_store::crypt;
use lrl_store::error::Error;
use serde_json::json;

use self::answer::Answer;
use self::download::Downloads;
use self::guard::{Guard, OPEN};
use self::pages::Site;
use self::url::{Address, Base};
use crate::args::ui::UiArgs;
use crate::cmd::shared::open;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::units;
use crate::signal;

/// Requests that wait to be answered.
const MOST_WAITING: usize = 16;
const TICK: Duration = Duration::from_millis(200);

/// Serves pages until nobody asks any more, or a signal comes.
pub fn run(context: &Context<'_>, args: &UiArgs) -> Result {
    let paths = context.paths()?;
    // What is wrong with the store is told here, not in the browser.
    let backend: Arc<dyn Backend> = {
        open::open(context, &paths)?;
        context.left.backend.take().map_or_else(|| open::backend(context, &paths.store), Ok)?
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .map_err(Error::io("listen on", Path::new(&format!("127.0.0.1:{}", args.port))))?;
    let port = listener.local_addr().map_err(Error::io("listen on", Path::new("127.0.0.1")))?.port();
    let (token, cookie) = (secret()?, secret()?);
    let base = Base(format!("/{}", secret()?.get(..16).unwrap_or_default()));
    let address = format!("http://127.0.0.1:{port}{OPEN}?token={token}");
    let (jobs, waiting) = sync_channel(MOST_WAITING);
    let guard = Arc::new(Guard::new(token, cookie, base.0.clone()));
    server::start(listener, guard, jobs).map_err(Error::io("listen on", Path::new("127.0.0.1")))?;
    announce(context, args, &address, port)?;
    let downloads = Downloads::default();
    let site = Site { context, paths: &paths, limits: &args.limits, backend, base, downloads: downloads.clone() };
    let mut last = Instant::now();
    while !signal::interrupted() {
        match waiting.recv_timeout(TICK) {
            Ok(job) => {
                let answer = match Address::parse(&job.rest) {
                    Some(address) => pages::answer(&site, &address),
                    None => Answer::Text(400, "no page of lrl ui has such an address".into()),
                };
                // A browser that went away needs no answer.
                let _ = job.reply.send(answer);
                last = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if downloads.any() => last = Instant::now(),
            Err(RecvTimeoutError::Timeout) if last.elapsed() < args.idle => {}
            Err(RecvTimeoutError::Timeout) => {
                context.term.note(format!("nothing was asked for in {}: lrl ui ends", units::duration(args.idle)));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(Exit::Done)
}

/// Tells where the pages are: at once, for a program may wait for it.
fn announce(context: &Context<'_>, args: &UiArgs, address: &str, port: u16) -> Result<()> {
    if context.term.is_json() {
        context.term.json_part(&format!("{}\n", json!({ "address": address, "port": port })))?;
        return context.term.flush();
    }
    // Not `line`: what is printed there may be told to others.
    context.term.bytes(format!("{address}\n").as_bytes())?;
    context.term.flush()?;
    context.term.note(format!(
        "open it in a browser, once; it ends with Ctrl-C, or after {} without a request. From another machine: ssh -L {port}:127.0.0.1:{port} HOST",
        units::duration(args.idle)
    ));
    Ok(())
}

/// Returns a secret of 256 bits as hexadecimal digits.
fn secret() -> Result<String, Error> {
    Ok(units::hex(&crypt::new_secret()?[..]))
}
