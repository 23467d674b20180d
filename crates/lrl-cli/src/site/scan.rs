//! A look at a directory: names, sizes, and the headers of what may be databases. Follows no links, opens nothing else, changes nothing.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use lrl_store::error::{Error, Result};
use lrl_store::progress::{Observer, checkpoint};
use lrl_store::set::own_files;
use lrl_store::source::database::source::database_of;
use lrl_store::source::database::{Header, read_header};
use lrl_store::source::files::exclude::Excludes;
use lrl_store::source::files::kept_copies;

use super::found::{FoundDatabase, Heap, LinkOut, Listed, Oddity, Scan};
use super::rules::literal;

/// What a look watches for.
pub struct Watch<'a> {
    /// Patterns that leave something out.
    pub exclude: &'a [String],
    /// Patterns of secrets.
    pub secret: &'a [String],
}

/// Directories with these names can often be made again.
const CACHES: [&str; 12] = [
    "cache",
    "caches",
    ".cache",
    "_cache",
    "tmp",
    "temp",
    ".tmp",
    "log",
    "logs",
    "__pycache__",
    "node_modules",
    "transcodes",
];
/// Patterns of what is lrl's own, at most.
const MOST_OWN: usize = 200;
/// The signature of a tag file by which a directory says itself that it is a cache.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Looks at everything below `dir`.
pub fn scan(dir: &Path, watch: &Watch<'_>, observer: &dyn Observer) -> Result<Scan> {
    let one = |pattern: &String| Excludes::new(std::slice::from_ref(pattern), &[]);
    let mut scanner = Scanner {
        root: fs::canonicalize(dir).map_err(Error::io("open", dir))?,
        excludes: watch.exclude.iter().map(one).collect::<Result<_>>()?,
        secrets: watch.secret.iter().map(one).collect::<Result<_>>()?,
        scan: Scan::default(),
    };
    scanner.scan.excluded = watch.exclude.iter().map(|p| Heap { pattern: p.clone(), ..Heap::default() }).collect();
    scanner.scan.secrets = watch.secret.iter().map(|_| Listed::default()).collect();
    let mut waiting = vec![Dir { path: dir.to_path_buf(), below: Vec::new(), heap: None }];
    while let Some(dir) = waiting.pop() {
        checkpoint(observer)?;
        scanner.directory(&dir, &mut waiting, observer)?;
    }
    let mut scan = scanner.scan;
    scan.databases.items.sort();
    scan.caches.items.retain(|heap| heap.files > 0);
    scan.caches.items.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.pattern.cmp(&b.pattern)));
    scan.secrets.iter_mut().for_each(|secrets| secrets.items.sort());
    scan.links_out.items.sort();
    scan.oddities.items.sort();
    Ok(scan)
}

/// Where the bytes of a directory are counted.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// Among what a pattern leaves out.
    Excluded(usize),
    /// Among what looks like a cache, and as files.
    Cache(usize),
}

struct Dir {
    path: PathBuf,
    below: Vec<u8>,
    heap: Option<Counted>,
}

struct Scanner {
    root: PathBuf,
    excludes: Vec<Excludes>,
    secrets: Vec<Excludes>,
    scan: Scan,
}

impl Scanner {
    fn directory(&mut self, dir: &Dir, waiting: &mut Vec<Dir>, observer: &dyn Observer) -> Result<()> {
        let entries = match fs::read_dir(&dir.path) {
            Ok(entries) => entries,
            Err(error) if dir.below.is_empty() => return Err(Error::io("open", &dir.path)(error)),
            Err(error) => {
                self.odd(&dir.below, format!("cannot be read: {error}"), true);
                return Ok(());
            }
        };
        self.scan.directories += u64::from(!dir.below.is_empty());
        for (n, entry) in entries.enumerate() {
            if n % 1024 == 1023 {
                checkpoint(observer)?;
            }
            let looked = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)));
            let (entry, kind) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    self.odd(&dir.below, format!("cannot be read to its end: {error}"), true);
                    break;
                }
            };
            let mut below = dir.below.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.file_name().as_bytes());
            match kind.is_dir() {
                true => waiting.extend(self.enter(&entry, below, dir.heap)),
                false => self.leaf(&entry, kind, &below, dir.heap),
            }
        }
        Ok(())
    }

    /// Prepares a look into a directory; `None` for one that is lrl's own.
    fn enter(&mut self, entry: &DirEntry, below: Vec<u8>, heap: Option<Counted>) -> Option<Dir> {
        let path = entry.path();
        if kept_copies::is_kept(entry_name(&below)) {
            return None;
        }
        if let (true, Ok(text)) = (own_files::is_store(&path), str::from_utf8(&below)) {
            self.own(literal(text));
            return None;
        }
        let heap = match heap {
            Some(Counted::Excluded(n)) => Some(Counted::Excluded(n)),
            heap => match first_match(&self.excludes, &below, true) {
                Some(n) => Some(Counted::Excluded(n)),
                None => heap.or_else(|| self.cache(&path, &below)),
            },
        };
        Some(Dir { path, below, heap })
    }

    /// Notes a pattern of what is lrl's own.
    fn own(&mut self, pattern: String) {
        if self.scan.own.len() < MOST_OWN {
            self.scan.own.insert(pattern);
        }
    }

    /// Begins to count a directory that looks like a cache.
    fn cache(&mut self, path: &Path, below: &[u8]) -> Option<Counted> {
        let name = entry_name(below).to_ascii_lowercase();
        let is_cache = CACHES.iter().any(|known| *known.as_bytes() == *name)
            || [&b"_cache"[..], b"-cache"].iter().any(|end| name.ends_with(end))
            || fs::symlink_metadata(path.join(CACHE_TAG)).is_ok_and(|meta| meta.is_file());
        let text = str::from_utf8(below).ok().filter(|_| is_cache)?;
        let list = &mut self.scan.caches;
        list.push(Heap { pattern: text.to_string(), ..Heap::default() });
        Some(list.items.len() - 1).filter(|_| list.more == 0).map(Counted::Cache)
    }

    fn leaf(&mut self, entry: &DirEntry, kind: FileType, below: &[u8], heap: Option<Counted>) {
        if kind.is_symlink() {
            return self.link(entry, below, heap);
        }
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // Deleted a moment ago.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.odd(below, format!("cannot be looked at: {error}"), true),
        };
        if !kind.is_file() {
            let what = match () {
                () if kind.is_fifo() => "a named pipe",
                () if kind.is_socket() => "a socket",
                () => "a device",
            };
            return self.odd(below, format!("is {what}, which holds no data"), false);
        }
        if kept_copies::is_kept(entry_name(below)) {
            return;
        }
        let set = str::from_utf8(below).ok().and_then(|text| {
            let (dir, name) = text.rsplit_once('/').unwrap_or(("", text));
            let start = if dir.is_empty() { "/".into() } else { literal(dir) };
            own_files::set_pattern(name).map(|pattern| format!("{start}{pattern}"))
        });
        if let Some(pattern) = set {
            return self.own(pattern);
        }
        let excluded = match heap {
            Some(Counted::Excluded(n)) => Some(n),
            _ => first_match(&self.excludes, below, false),
        };
        if let Some(n) = excluded {
            return count(self.scan.excluded.get_mut(n), &meta);
        }
        if let Some(Counted::Cache(n)) = heap {
            count(self.scan.caches.items.get_mut(n), &meta);
        }
        if may_be_database(below, meta.len()) {
            match read_header(&entry.path()) {
                Ok(Some(header)) => return self.database(&entry.path(), below, &meta, header),
                Ok(None) => {}
                Err(error) => self.odd(below, format!("cannot be read: {error}"), true),
            }
        }
        if is_side_file(&entry.path()) {
            return;
        }
        self.scan.files += 1;
        self.scan.bytes += meta.len();
        if let Some(n) = first_match(&self.secrets, below, false)
            && let Some(secrets) = self.scan.secrets.get_mut(n)
        {
            secrets.push(below.to_vec());
        }
    }

    fn database(&mut self, path: &Path, below: &[u8], meta: &Metadata, header: Header) {
        let wal = fs::symlink_metadata(beside(path, "-wal")).map_or(0, |meta| meta.len());
        let Header { page_size, is_wal, .. } = header;
        let (path, size_bytes) = (below.to_vec(), meta.len());
        self.scan.databases.push(FoundDatabase { path, size_bytes, wal_bytes: wal, page_size, is_wal });
    }

    fn link(&mut self, entry: &DirEntry, below: &[u8], heap: Option<Counted>) {
        if matches!(heap, Some(Counted::Excluded(_))) || first_match(&self.excludes, below, false).is_some() {
            return;
        }
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            Err(error) => return self.odd(below, format!("cannot be read: {error}"), true),
        };
        self.scan.files += 1;
        if self.leads_out(&entry.path(), below, &target) {
            let target = target.as_os_str().as_bytes().to_vec();
            self.scan.links_out.push(LinkOut { path: below.to_vec(), target });
        }
    }

    /// A link that leads nowhere is judged by its text.
    fn leads_out(&self, path: &Path, below: &[u8], target: &Path) -> bool {
        if let Ok(real) = fs::canonicalize(path) {
            return !real.starts_with(&self.root);
        }
        if target.is_absolute() {
            return !target.starts_with(&self.root);
        }
        let mut depth = below.iter().filter(|byte| **byte == b'/').count();
        for part in target.components() {
            match part {
                std::path::Component::ParentDir if depth == 0 => return true,
                std::path::Component::ParentDir => depth -= 1,
                std::path::Component::Normal(_) => depth += 1,
                _ => {}
            }
        }
        false
    }

    fn odd(&mut self, below: &[u8], reason: String, lost: bool) {
        self.scan.oddities.push(Oddity { path: below.to_vec(), reason, lost });
    }
}

fn count(heap: Option<&mut Heap>, meta: &Metadata) {
    if let Some(heap) = heap {
        heap.files += 1;
        heap.bytes += meta.len();
    }
}

fn first_match(patterns: &[Excludes], below: &[u8], is_dir: bool) -> Option<usize> {
    patterns.iter().position(|pattern| pattern.matches(below, is_dir))
}

fn entry_name(below: &[u8]) -> &[u8] {
    below.rsplit(|byte| *byte == b'/').next().unwrap_or(below)
}

/// A database is as long as some number of pages, at least of 512 bytes; one that is being extended may not be, but has its name.
fn may_be_database(below: &[u8], len: u64) -> bool {
    let named = || {
        let extension = Path::new(OsStr::from_bytes(below)).extension().unwrap_or_default().to_ascii_lowercase();
        ["db", "db3", "sqlite", "sqlite3", "sqlitedb", "s3db"].iter().any(|known| extension == *known)
    };
    len >= 512 && (len.is_multiple_of(512) || named())
}

/// Returns whether this is the WAL, its index or the journal of a database beside it.
fn is_side_file(path: &Path) -> bool {
    database_of(path.as_os_str().as_bytes()).is_some_and(|base| {
        let base = Path::new(OsStr::from_bytes(base));
        fs::symlink_metadata(base).is_ok_and(|meta| meta.is_file()) && matches!(read_header(base), Ok(Some(_)))
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}
