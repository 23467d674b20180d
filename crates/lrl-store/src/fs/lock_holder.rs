//! Who holds a lock, for the message: asked of the system, so it is true at that moment, and nothing stale is left by a run that died.
//! Only reads `/proc`; where that is not there, or the holder is in another pid namespace, nobody is named.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{major, minor};

/// `/proc` counts a process's start in these, whatever the kernel's own clock.
const TICKS_PER_SECOND: u64 = 100;

/// Names the processes that hold a lock on this file: "process 4711 (lrl prune) for 12 s".
pub(crate) fn holders(file: &File) -> Option<String> {
    let meta = file.metadata().ok()?;
    let inode = format!("{:02x}:{:02x}:{}", major(meta.dev()), minor(meta.dev()), meta.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut found: Vec<u32> = locks.lines().filter_map(|line| pid_in(line, &inode)).collect();
    found.sort_unstable();
    found.dedup();
    // A reader of /proc/locks is itself no holder; a thread of this process may be.
    let named: Vec<String> = found.into_iter().map(describe).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// Takes the process out of a line such as `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`. One with `->` waits itself.
fn pid_in(line: &str, inode: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [_, "FLOCK", _, _, pid, place, ..] if *place == inode => pid.parse().ok().filter(|pid| *pid != 0),
        _ => None,
    }
}

fn describe(pid: u32) -> String {
    let mut text = format!("process {pid}");
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> =
        line.split(|byte| *byte == 0).take(2).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if let Some(program) = words.first().and_then(|word| word.rsplit('/').next()).filter(|name| !name.is_empty()) {
        // No more than the verb: flags may name what is nobody's business.
        let verb = words.get(1).filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()));
        text += &format!(" ({program}{})", verb.map(|verb| format!(" {verb}")).unwrap_or_default());
    }
    if let Some(seconds) = seconds_alive(pid) {
        text += &format!(" for {seconds} s");
    }
    text
}

fn seconds_alive(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; the start is the 20th word after it.
    let started: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let now: u64 = uptime.split('.').next()?.parse().ok()?;
    now.checked_sub(started / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::{holders, pid_in};
    use fs2::FileExt;

    #[test]
    fn a_line_names_who_holds_not_who_waits() {
        let place = "08:01:131";
        assert_eq!(pid_in("1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF", place), Some(4711));
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF",
            "1: POSIX  ADVISORY  WRITE 4711 08:01:131 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 4711 08:01:132 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 0 08:01:131 0 EOF",
            "",
        ] {
            assert_eq!(pid_in(other, place), None, "{other}");
        }
    }

    #[test]
    fn a_lock_that_nobody_holds_names_nobody() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(holders(&file), None);
        file.lock_exclusive().unwrap();
        // Some file systems show other device numbers there.
        let pid = format!("process {}", std::process::id());
        assert!(holders(&file).is_none_or(|text| text.starts_with(&pid)));
    }
}
