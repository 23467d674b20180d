//! A monitoring service: records what it is told, and answers as it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and target, as `POST /x/start?rid=…`.
    pub line: String,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Request {
    /// Returns a header's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// What it does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Answers with a status.
    Status(u16),
    /// Never answers.
    Hang,
}

/// A server on a port of its own.
pub struct Receiver {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Receiver {
    /// Starts one that answers with 200.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, requests: Arc::default(), answer: Arc::new(Mutex::new(Answer::Status(200))) };
        let (requests, answer) = (receiver.requests.clone(), receiver.answer.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, answer) = (requests.clone(), *answer.lock().unwrap());
                std::thread::spawn(move || _ = serve(stream.unwrap(), &requests, answer));
            }
        });
        receiver
    }

    /// Changes what it answers.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Takes the requests so far.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn serve(stream: TcpStream, requests: &Mutex<Vec<Request>>, answer: Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.trim().split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let line = line.trim().trim_end_matches(" HTTP/1.1").to_string();
    requests.lock().unwrap().push(Request { line, headers, body: String::from_utf8(body).unwrap() });
    match answer {
        Answer::Status(status) => {
            write!(&stream, "HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
        }
        Answer::Hang => {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
    }
}
