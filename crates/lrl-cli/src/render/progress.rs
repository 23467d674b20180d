//! The progress bar: what is done, how fast, how long it still takes. Drawn on standard error, and only on a terminal.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use lrl_store::progress::Phase;

/// A bar on standard error, or nothing where that is no terminal.
pub struct Bar {
    bar: ProgressBar,
    /// The stage counts snapshots, and shows its bytes beside them.
    counts: AtomicBool,
    bytes: Arc<AtomicU64>,
}

impl Bar {
    /// Makes a bar that shows nothing before its first phase, and nothing at all unless `visible`.
    pub fn new(visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("").unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, counts: AtomicBool::new(false), bytes: Arc::default() }
    }

    /// Starts a phase at zero; without a total there is no share and no time left.
    pub fn start(&self, phase: Phase, total: Option<u64>) {
        self.counts.store(phase.counts_snapshots(), Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.bar.set_message(name(phase));
        if let Ok(style) = ProgressStyle::with_template(template(phase, total)) {
            let bytes = self.bytes.clone();
            let done = move |_: &ProgressState, out: &mut dyn Write| {
                _ = write!(out, "{}", BinaryBytes(bytes.load(Ordering::Relaxed)));
            };
            self.bar.set_style(style.progress_chars("#>.").with_key("done", done).with_key("left", left));
        }
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.reset();
    }

    /// Adds what is done. Some totals are estimates: a stage that does more than that is not more than whole.
    pub fn advance(&self, bytes: u64, items: u64) {
        if self.counts.load(Ordering::Relaxed) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.bar.inc(items);
        } else {
            self.bar.inc(bytes);
        }
        if self.bar.length().is_some_and(|length| self.bar.position() > length) {
            self.bar.set_length(self.bar.position());
        }
    }

    /// Takes the bar off the terminal while something else is written there.
    pub fn suspend<T>(&self, job: impl FnOnce() -> T) -> T {
        self.bar.suspend(job)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// 80 columns hold each of them.
fn template(phase: Phase, total: Option<u64>) -> &'static str {
    match (phase, total) {
        (Phase::Copy, Some(_)) => "{msg} [{bar:16}] {pos}/{len} snapshots {done} {elapsed}, {left}",
        (Phase::Snapshots, Some(_)) => "{msg} [{bar:16}] {pos}/{len} snapshots {elapsed}, {left}",
        (_, Some(_)) => "{msg} [{bar:16}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {left}",
        (_, None) => "{msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}",
    }
}

/// How long it still takes; before anything is done nobody knows, and beyond an estimate it is no time at all.
fn left(state: &ProgressState, out: &mut dyn Write) {
    let is_beyond = state.len().is_some_and(|len| state.pos() >= len);
    _ = match (state.pos(), is_beyond) {
        (0, false) => write!(out, "time left not known yet"),
        (_, true) => write!(out, "nearly done"),
        _ => write!(out, "{:#} left", indicatif::HumanDuration(state.eta())),
    };
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Database => "database",
        Phase::Uploads => "uploads",
        Phase::Archive => "archive",
        Phase::Restore => "restoring",
        Phase::Verify => "verifying",
        Phase::Repack => "repacking",
        Phase::Copy => "copying",
        Phase::Snapshots => "walking",
    }
}

#[cfg(test)]
mod tests {
    use super::Bar;
    use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};
    use lrl_store::progress::Phase;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal of 80 columns that keeps its lines.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.trim_end().to_string());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(phase: Phase, total: Option<u64>, steps: &[(u64, u64)]) -> String {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let bar = Bar { bar: ProgressBar::with_draw_target(None, target), ..Bar::new(false) };
        bar.start(phase, total);
        steps.iter().for_each(|(bytes, items)| bar.advance(*bytes, *items));
        bar.bar.force_draw();
        let lines = screen.0.lock().unwrap();
        let line = lines.iter().rfind(|line| line.contains(super::name(phase))).unwrap().clone();
        assert!(line.chars().count() <= 80, "{line}");
        line
    }

    #[test]
    fn a_bar_shows_a_share_and_the_time_left_in_80_columns() {
        let mega = 1 << 20;
        let line = drawn(Phase::Restore, Some(1000 * mega), &[(250 * mega, 3)]);
        assert!(line.contains("250.00 MiB/1000.00 MiB") && line.ends_with(" left"), "{line}");
        assert!(drawn(Phase::Uploads, None, &[(5, 1)]).contains("uploads 5 B"));
        assert!(drawn(Phase::Verify, Some(10), &[]).ends_with("time left not known yet"));
    }

    #[test]
    fn snapshots_are_counted_with_their_bytes_beside_them() {
        let line = drawn(Phase::Copy, Some(17), &[(4096, 0), (4096, 1), (0, 2)]);
        assert!(line.contains("3/17 snapshots 8.00 KiB") && line.ends_with(" left"), "{line}");
        assert!(drawn(Phase::Snapshots, Some(4), &[(9, 1)]).contains("1/4 snapshots"));
    }

    #[test]
    fn more_than_was_estimated_is_not_more_than_whole() {
        let line = drawn(Phase::Uploads, Some(100), &[(60, 1), (60, 1)]);
        assert!(line.contains("120 B/120 B") && line.ends_with("nearly done"), "{line}");
    }
}
