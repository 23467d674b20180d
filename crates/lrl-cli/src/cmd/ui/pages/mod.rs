//! The pages: each reads what it shows, in bounded time, and writes it.

mod browse;
mod diff;
mod file;
mod frame;
mod home;
mod rows;
mod search;
mod site;
mod snapshots;
mod sql;

pub use site::Site;

use lrl_store::error::Error;

use self::site::Limited;
use super::answer::Answer;
use super::url::Address;
use crate::exit::Failure;

/// Answers a request.
pub fn answer(site: &Site<'_>, address: &Address) -> Answer {
    let limited = Limited::new();
    let answered = site.open(&limited).and_then(|store| {
        let asked = site::Asked { site, store: &store, address, limited: &limited };
        match address.page.as_str() {
            "" => home::page(&asked),
            "snapshots" => snapshots::page(&asked),
            "at" => snapshots::at(&asked),
            "browse" => browse::page(&asked),
            "file" => file::page(&asked),
            "download" => file::download(&asked),
            "rows" => rows::page(&asked),
            "search" => search::page(&asked),
            "diff" => diff::page(&asked),
            "sql" => sql::page(&asked),
            _ => Err(Error::NotFound("there is no such page".into()).into()),
        }
    });
    answered.unwrap_or_else(|failure| failed(site, &failure))
}

fn failed(site: &Site<'_>, failure: &Failure) -> Answer {
    let (status, text) = match failure {
        Failure::Engine(Error::NotFound(_)) => (404, failure.message()),
        Failure::Engine(Error::Interrupted) => {
            (503, "this took too long for a page; the command in a terminal has all the time that it needs".to_string())
        }
        Failure::Usage(_) | Failure::Engine(Error::Refused(_)) => (400, failure.message()),
        _ => (500, failure.message()),
    };
    let page = frame::page(site, "Not shown", |h| {
        h.leaf("h1", "", "This cannot be shown");
        h.leaf("p", "", &text);
    });
    Answer::Page(status, page)
}
