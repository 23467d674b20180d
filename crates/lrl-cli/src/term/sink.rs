//! Where results go.

use std::io::{self, BufWriter, Stdout, Write};

/// Where results go.
pub(super) enum Sink {
    Stdout(BufWriter<Stdout>),
    /// The document of one step of a run, kept for the run's own; none once it is too long.
    Memory(Option<Vec<u8>>),
}

/// A longer document of a step is left out of that of the run.
const MOST_CAPTURED: usize = 1 << 20;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(writer) => return writer.write(bytes),
            Self::Memory(Some(kept)) if kept.len() + bytes.len() <= MOST_CAPTURED => kept.extend_from_slice(bytes),
            Self::Memory(kept) => *kept = None,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(writer) => writer.flush(),
            Self::Memory(_) => Ok(()),
        }
    }
}
