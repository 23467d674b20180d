//! A tool with directories of its own, and what happens around each of its runs.

use std::fs;
use std::path::Path;

use crate::error::{At, Result};
use crate::measure::{self, Usage};
use crate::tools::{Place, Task, Tool};

/// One tool with its own directories.
pub struct Contender {
    /// The tool.
    pub tool: Tool,
    /// Its directories.
    pub place: Place,
}

impl Contender {
    /// Gives a tool directories of its own below `root`.
    pub fn new(tool: &Tool, data: &Path, root: &Path) -> Self {
        let own = |what: &str| root.join(tool.name).join(what);
        let (repository, target, home) = (own("repository"), own("target"), own("home"));
        Self { tool: tool.clone(), place: Place { data: data.into(), repository, target, home, runs: 0 } }
    }

    /// Gives it an empty repository; the inner result is that of its own command.
    pub fn begin(&mut self, log: &Path) -> Result<Result<()>> {
        let Self { tool, place } = self;
        [&place.repository, &place.home].into_iter().try_for_each(|directory| make_empty(directory))?;
        place.runs = 0;
        let init = tool.command(Task::Init, place);
        Ok(init.map_or(Ok(()), |mut init| measure::run(&mut init, log, None).map(drop)))
    }
}

/// Returns which of `count` tools take their turns in round `n`: another one first in each.
pub fn order(count: usize, n: u32) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (turn + n as usize) % count)
}

/// Returns the figures of a run as they are kept, and why it failed, without the names of this machine's directories.
pub fn outcome(ran: Result<Usage>, work: &Path) -> (Usage, Option<String>) {
    let rounded = |figure: f64, unit: f64| (figure * unit).round() / unit;
    match ran {
        Ok(Usage { wall, cpu, peak }) => {
            (Usage { wall: rounded(wall, 1e4), cpu: rounded(cpu, 1e4), peak: rounded(peak, 10.0) }, None)
        }
        Err(error) => {
            let reason = error.to_string().replace(&*work.to_string_lossy(), "WORK");
            (Usage { wall: 0.0, cpu: 0.0, peak: 0.0 }, Some(reason))
        }
    }
}

/// Removes a directory, if it is there, and makes it anew.
pub fn make_empty(directory: &Path) -> Result<()> {
    remove(directory)?;
    fs::create_dir_all(directory).at(directory)
}

/// Removes a directory, if it is there.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(directory),
        _ => Ok(()),
    }
}
