//! The progress bar: what is done, how fast, how long it still takes. Drawn on standard error, and only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lrl_store::progress::Phase;

/// Makes a bar that shows nothing before its first phase, and nothing at all unless `visible`.
pub fn bar(visible: bool) -> ProgressBar {
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template("").unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Starts a phase at zero; without a total there is no share and no time left.
pub fn start(bar: &ProgressBar, phase: Phase, total_bytes: Option<u64>) {
    bar.set_message(name(phase));
    // 80 columns hold it.
    let template = match total_bytes {
        Some(_) => "{msg} [{bar:16}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
        None => "{msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("#>."));
    }
    match total_bytes {
        Some(total) => bar.set_length(total),
        None => bar.unset_length(),
    }
    bar.reset();
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
    }
}
