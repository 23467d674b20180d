//! Where output goes: results to standard output, everything else to standard error, the bar to a terminal only.
//! Watches the engine for it. A closed pipe is remembered, not a failure: a backup goes on when nobody reads what it says.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lrl_store::error::Error;
use lrl_store::progress::{Observer, Phase, Problem};
use lrl_store::source::database::cell::Cell;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Failure, Result};
use crate::hint;
use crate::log::Tail;
use crate::render::{cells, progress::Bar, table::Table, units::safe};
use crate::signal;

mod colour;
mod sink;

pub use colour::Colour;
use sink::Sink;

/// The terminal, or what stands in its place.
pub struct Term {
    json: bool,
    quiet: bool,
    verbose: bool,
    /// Messages are kept in the log and not written.
    muted: bool,
    terminal_out: bool,
    colour_out: bool,
    colour_err: bool,
    bar: Bar,
    out: Mutex<Out>,
    alike: Mutex<BTreeMap<String, Alike>>,
    log: Mutex<Tail>,
}

/// Up to this many messages of one kind are written; the others are counted, unless `--verbose` asks for all.
const MOST_ALIKE: u64 = 10;

/// Messages that differ only in what they are about.
struct Alike {
    label: &'static str,
    colour: Option<Colour>,
    /// The last one, for all that are not written.
    example: String,
    count: u64,
}

struct Out {
    writer: Sink,
    /// The first failure; nothing is written after it.
    failed: Option<io::Error>,
    document: bool,
}

impl Term {
    /// Looks at the flags, at `NO_COLOR` and at what standard output and error are.
    pub fn new(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            muted: false,
            terminal_out: io::stdout().is_terminal(),
            colour_out: !plain && io::stdout().is_terminal(),
            colour_err: !plain && io::stderr().is_terminal(),
            bar: Bar::new(!global.quiet && io::stderr().is_terminal()),
            out: Mutex::new(Out { writer: Sink::Stdout(BufWriter::new(io::stdout())), failed: None, document: false }),
            alike: Mutex::new(BTreeMap::new()),
            log: Mutex::new(Tail::default()),
        }
    }

    /// Returns a terminal for one step of a run: its document is kept in memory, and notes are written with `--verbose` only.
    pub fn of_step(global: &Global) -> Self {
        let mut term = Self::new(global);
        (term.json, term.quiet) = (true, !global.verbose);
        term.lock().writer = Sink::Memory(Some(Vec::new()));
        term
    }

    /// Returns a terminal for one round of a watch: as of a step, but messages are only kept in its log, unless `--verbose` asks for them.
    pub fn of_round(global: &Global) -> Self {
        Self { bar: Bar::new(false), muted: !global.verbose, ..Self::of_step(global) }
    }

    /// Ends a step or a round; returns the document that its verb wrote, if it wrote one that is not too long.
    pub fn document(&self) -> Option<serde_json::Value> {
        self.bar.finish();
        self.tell_counted();
        match &self.lock().writer {
            Sink::Memory(Some(text)) => serde_json::from_slice(text).ok(),
            _ => None,
        }
    }

    /// Returns whether the result is one JSON document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells the story of a run on standard output, at once; not with `--json` or `--quiet`. Foreign names in it
    /// have gone through [`safe`].
    pub fn say(&self, line: impl Display) {
        self.keep(&line.to_string());
        if !self.json && !self.quiet {
            self.write(|out| writeln!(out, "{line}").and_then(|()| out.flush()));
        }
    }

    /// Writes a line of a result to standard output; not with `--json`. Foreign names in it have gone
    /// through [`safe`]. Fails once nobody reads any more.
    pub fn line(&self, line: impl Display) -> Result<()> {
        self.keep(&line.to_string());
        if !self.json {
            self.write(|out| writeln!(out, "{line}"));
        }
        self.written()
    }

    /// Writes a table to standard output; not with `--json`.
    pub fn table(&self, table: &Table) -> Result<()> {
        table.lines().iter().enumerate().try_for_each(|(i, line)| match i {
            0 => self.line(self.paint(Colour::Dim, line)),
            _ => self.line(line),
        })
    }

    /// Writes the one JSON document, whether asked for or not: the caller looks at [`Term::is_json`].
    pub fn json(&self, document: &impl Serialize) -> Result<()> {
        self.write(|out| {
            serde_json::to_writer_pretty(&mut *out, document)?;
            writeln!(out)
        });
        self.lock().document = true;
        self.written()
    }

    /// Writes a part of the one JSON document, whose writer sees to its form; nothing else is written as a document after it.
    pub fn json_part(&self, part: &str) -> Result<()> {
        if self.json {
            self.lock().document = true;
            self.write(|out| out.write_all(part.as_bytes()));
        }
        self.written()
    }

    /// Writes bytes to standard output as they are. Fails once nobody reads any more.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        self.write(|out| out.write_all(bytes));
        self.written()
    }

    /// Writes a row of CSV to standard output; what a terminal would obey is escaped where it is one.
    pub fn csv(&self, cells: &[Cell<'_>]) -> Result<()> {
        let mut row = Vec::new();
        cells::csv_row(cells, self.terminal_out, &mut row);
        self.bytes(&row)
    }

    /// Writes SQL to standard output; what a terminal would obey is escaped where it is one, and is not SQL any more.
    pub fn script(&self, text: &str) -> Result<()> {
        if !self.terminal_out {
            return self.bytes(text.as_bytes());
        }
        let lines: Vec<_> = text.split('\n').map(|line| safe(line).into_owned()).collect();
        self.bytes(lines.join("\n").as_bytes())
    }

    /// Writes out what is buffered, where somebody waits for it.
    pub fn flush(&self) -> Result<()> {
        self.write(|out| out.flush());
        self.written()
    }

    /// Asks whether to go on. Where nobody can be asked (no terminal, `--json`), the answer is yes.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        let is_asked = io::stdin().is_terminal() && io::stderr().is_terminal() && !self.is_json();
        if !is_asked {
            return Ok(true);
        }
        self.flush()?;
        let _ = write!(io::stderr(), "{question} [y/N] ");
        let stdin = io::stdin();
        let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // Ctrl-C does not end a read.
        while matches!(poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&tick)), Ok(0) | Err(Errno::INTR)) {
            if signal::interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
        let mut answer = String::new();
        // An answer that cannot be read is none.
        let _ = stdin.read_line(&mut answer);
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Colours text for standard output, where that is a terminal.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        colour.paint(self.colour_out, text)
    }

    /// Tells on standard error what a person may want to know; not with `--quiet`.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            let text = text.to_string();
            self.grouped(None, "note", &text, &text);
        }
    }

    /// Tells on standard error what `--verbose` asks for.
    pub fn detail(&self, text: impl Display) {
        if self.verbose {
            self.message(Some(Colour::Dim), "", &text.to_string());
        }
    }

    /// Warns on standard error.
    pub fn warn(&self, text: impl Display) {
        let text = text.to_string();
        self.grouped(Some(Colour::Yellow), "warning", &text, &text);
    }

    /// Writes a message, unless many of its kind have been written: hundreds of lines about one cause hide what else there is.
    fn grouped(&self, colour: Option<Colour>, label: &'static str, text: &str, about: &str) {
        if !self.verbose {
            let mut alike = self.alike.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Alike { label, colour, example: String::new(), count: 0 };
            let same = alike.entry(format!("{label} {}", kind_of(about))).or_insert_with(new);
            same.count += 1;
            if same.count > MOST_ALIKE {
                same.example = text.to_string();
                return;
            }
        }
        self.message(colour, label, text);
    }

    /// Tells of the messages that were only counted.
    fn tell_counted(&self) {
        let alike = std::mem::take(&mut *self.alike.lock().unwrap_or_else(PoisonError::into_inner));
        for Alike { label, colour, example, count } in alike.into_values().filter(|same| same.count > MOST_ALIKE) {
            let more = count - MOST_ALIKE;
            let text = match more {
                1 => example,
                more => format!("{more} more like these, the last one: {example} (-v writes them all)"),
            };
            self.message(colour, label, &text);
        }
    }

    /// Reports a failure on standard error, and as the JSON document if that is still owed.
    pub fn failure(&self, failure: &Failure, exit: u8) {
        self.bar.finish();
        self.tell_counted();
        if let Failure::Output(error) = failure
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return;
        }
        self.error(failure.message());
        self.hint(failure);
        if self.json && !self.lock().document {
            let _ = self.json(&serde_json::json!({ "success": false, "error": failure.json(exit) }));
        }
    }

    /// Tells on standard error that something failed.
    pub fn error(&self, text: impl Display) {
        self.message(Some(Colour::Red), "error", &text.to_string());
    }

    /// Tells on standard error what to do about a failure, where that is known.
    pub fn hint(&self, failure: &Failure) {
        failure.hint().iter().for_each(|hint| self.hint_text(hint));
    }

    /// Tells on standard error what to do next.
    pub fn hint_text(&self, hint: &str) {
        self.raw_message(&format!("  hint: {hint}"));
    }

    /// Takes the bar away and writes out what is still buffered. Fails if not all of standard output could be written.
    pub fn finish(&self) -> Result<()> {
        self.bar.finish();
        self.tell_counted();
        self.write(Write::flush);
        self.written()
    }

    fn message(&self, colour: Option<Colour>, kind: &str, text: &str) {
        let label = if kind.is_empty() { String::new() } else { format!("{kind}: ") };
        let label = colour.map_or(label.clone(), |colour| colour.paint(self.colour_err && !kind.is_empty(), &label));
        self.raw_message(&format!("lrl: {label}{}", safe(text)));
    }

    /// Returns the last part of what was printed, or would have been without `--quiet` and `--json`.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    fn keep(&self, text: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn raw_message(&self, line: &str) {
        self.keep(line);
        if self.muted {
            return;
        }
        self.write(Write::flush);
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    fn write(&self, job: impl FnOnce(&mut Sink) -> io::Result<()>) {
        self.bar.suspend(|| {
            let mut out = self.lock();
            if out.failed.is_none() {
                out.failed = job(&mut out.writer).err();
            }
        });
    }

    fn written(&self) -> Result<()> {
        match &self.lock().failed {
            Some(error) => {
                Err(Failure::Output(error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error)))
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what a message has in common with others of its kind: all but names and numbers.
pub fn kind_of(text: &str) -> String {
    let is_name = |word: &str| word.contains(|c: char| c.is_ascii_digit() || matches!(c, '/' | '`' | '"' | '\''));
    text.split_whitespace().map(|word| if is_name(word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

impl Observer for Term {
    fn phase(&self, phase: Phase, total: Option<u64>) {
        self.bar.start(phase, total);
    }

    fn advance(&self, bytes: u64, files: u64) {
        self.bar.advance(bytes, files);
    }

    fn problem(&self, problem: &Problem) {
        let reason = hint::message(&problem.reason);
        let text = format!("{}: {reason}", problem.path);
        match problem.lost {
            true => self.grouped(Some(Colour::Yellow), "warning", &text, &reason),
            false if !self.quiet => self.grouped(None, "note", &text, &reason),
            false => {}
        }
    }

    fn interrupted(&self) -> bool {
        signal::interrupted()
    }
}
