//! A line with a delay: a proxy on loopback that hands every byte on a fixed time after it came, in both directions.
//!
//! It simulates a long line of unlimited rate: bytes keep their spacing, any number can be in flight at once, and a connection costs a round
//! trip before its first byte, as its handshake would. Not modelled: lost packets, and the slow start of a fresh connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;

/// Up to this many runs of bytes are in flight in each direction of a connection before the line pushes back: 32 MiB.
const RUNS: usize = 512;
const RUN: usize = 64 << 10;

type Run = (Instant, Vec<u8>);

/// Starts a line to `server`, as long as the process lives; returns its near end.
pub fn start(server: SocketAddr, delay: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || connect(client, server, delay));
        }
    });
    Ok(near)
}

fn connect(client: TcpStream, server: SocketAddr, delay: Duration) -> Option<()> {
    thread::sleep(2 * delay);
    let server = TcpStream::connect(server).ok()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok()?;
    }
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to) = (from.try_clone().ok()?, to.try_clone().ok()?);
        let (runs, coming) = sync_channel(RUNS);
        thread::spawn(move || take(from, &runs));
        thread::spawn(move || hand_on(to, &coming, delay));
    }
    Some(())
}

fn take(mut from: TcpStream, runs: &SyncSender<Run>) {
    let mut buffer = vec![0; RUN];
    while let Ok(len) = from.read(&mut buffer) {
        // The end of a direction is handed on as late as its bytes.
        if runs.send((Instant::now(), buffer[..len].to_vec())).is_err() || len == 0 {
            break;
        }
    }
}

fn hand_on(mut to: TcpStream, coming: &Receiver<Run>, delay: Duration) {
    for (came, bytes) in coming {
        thread::sleep((came + delay).saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    #[test]
    fn bytes_come_late_whole_and_in_order_and_so_does_the_end() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let delay = Duration::from_millis(20);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let start = Instant::now();
        let mut stream = TcpStream::connect(super::start(at, delay).unwrap()).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == sent);
        // Never sooner; how much later is the machine's.
        assert!(start.elapsed() >= 4 * delay);
        echo.join().unwrap();
    }
}
