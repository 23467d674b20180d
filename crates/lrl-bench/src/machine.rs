//! What the benchmark ran on, as far as the figures depend on it.

use std::fs;
use std::path::Path;

use crate::results::Fact;

/// Returns the processor, the memory, the kernel and the file system that `work` lies on; what cannot be found out is `unknown`.
pub fn describe(work: &Path) -> Vec<Fact> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<f64>().ok());
    let facts = [
        ("processor", field(&read("/proc/cpuinfo"), "model name")),
        ("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
        ("memory", memory.map(|kib| format!("{:.1} GiB", kib / f64::from(1 << 20)))),
        (
            "kernel",
            Some(format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim())),
        ),
        ("file system", file_system(&read("/proc/self/mountinfo"), work)),
    ];
    facts.map(|(name, value)| Fact { name: name.into(), value: value.unwrap_or_else(|| "unknown".into()) }).into()
}

/// Returns the type of the mount that holds `path`: the deepest one, of equal ones the last.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').next()?))
    });
    mounts.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{describe, file_system};

    #[test]
    fn the_deepest_mount_counts() {
        let mounts =
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /tmp rw shared:1 - tmpfs t rw\n3 1 0:6 / /t rw - xfs x rw\n";
        assert_eq!(file_system(mounts, Path::new("/tmp")).as_deref(), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/")).as_deref(), Some("ext4"));
    }

    #[test]
    fn this_machine_is_described() {
        let facts = describe(Path::new("/"));
        assert_eq!(facts.len(), 5);
        assert!(facts.iter().all(|fact| !fact.value.is_empty()));
    }
}
