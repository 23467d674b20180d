//! What is answered to a request, whichever server sends it.

use std::io;
use std::sync::mpsc;

/// The pieces of a download, each verified; an error ends it before its length is reached.
pub type Pieces = tokio::sync::mpsc::Receiver<io::Result<Vec<u8>>>;

/// An answer.
pub enum Answer {
    /// A page.
    Page(u16, String),
    /// A text that tells what is wrong with the request.
    Text(u16, String),
    /// Another page is to be asked for; the cookie is set where one is given.
    Other(String, Option<String>),
    /// A file.
    Download {
        /// Its name for the browser.
        name: String,
        /// Its length.
        len: u64,
        /// Its bytes.
        pieces: Pieces,
    },
}

/// A request that was let in: what follows the base, and where the answer goes.
pub struct Job {
    /// The rest of the address.
    pub rest: String,
    /// Takes the answer.
    pub reply: tokio::sync::oneshot::Sender<Answer>,
}

/// Takes requests.
pub type Jobs = mpsc::SyncSender<Job>;
