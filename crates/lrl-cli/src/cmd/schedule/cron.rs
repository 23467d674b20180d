//! A line for cron, which mails what a run prints: nothing, if all is well.

use std::path::Path;

use super::needs::Needs;
use super::quote;
use crate::args::values::At;
use crate::exit::Result;

/// Writes the lines of a crontab, one for each time; in `/etc/cron.d` each names its user.
pub fn lines(site: &Needs, at: &[At], user: Option<&str>) -> Result<String> {
    let command = command(site)?;
    let user = user.map(|user| format!("{user} ")).unwrap_or_default();
    let line = |at: &At| match at {
        At::Daily { hour, minute } => format!("{minute} {hour} * * * {user}{command}\n"),
        At::Hourly => format!("0 * * * * {user}{command}\n"),
    };
    Ok(at.iter().map(line).collect())
}

fn command(site: &Needs) -> Result<String> {
    let word = |path: &Path| quote::text(path).and_then(quote::cron_word);
    let mut command = format!("cd {} && ", word(&site.directory)?);
    for (name, value) in &site.variables {
        command.push_str(&format!("{name}={} ", word(Path::new(value))?));
    }
    command.push_str(&format!("{} --config={} run --quiet", word(&site.program)?, word(&site.config)?));
    for flag in &site.flags {
        command.push_str(&format!(" {}", word(Path::new(flag))?));
    }
    Ok(command)
}
