//! Records the changes of a run of lrl to the disk, call by call, and the state of the disk before each; then any such state, also one
//! that a power cut has made of it, is built as a lab of its own.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use lrl_testing::disk_image::{DiskImage, Id, Meta, Seen};

use crate::common::Lab;
use crate::helpers::strace;

/// What changes names or bytes, and what moves the place where a file is written.
const TRACED: &str = "trace=openat,?openat2,?creat,?open,write,pwrite64,writev,pwritev,?pwritev2,ftruncate,?truncate,fallocate,copy_file_range,\
                      sendfile,splice,ioctl,?rename,renameat,?renameat2,?link,linkat,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?symlink,\
                      symlinkat,fsync,fdatasync,syncfs,sync_file_range,fchmod,?chmod,fchmodat,utimensat,read,lseek,fcntl,dup,?dup2,dup3";

/// A recorded run.
pub struct Recording {
    /// The disk before each change, and in the end.
    pub states: Vec<DiskImage>,
    /// Which file an inode was in the recorded lab: what lrl notes about files names them so.
    inodes: HashMap<u64, Id>,
}

/// Runs lrl in a lab, which must succeed, and records it.
pub fn record(lab: &Lab, line: &str) -> Recording {
    let root = lab.path("").canonicalize().unwrap();
    let mut replay =
        Replay { image: load(&root), root, states: Vec::new(), places: HashMap::new(), offsets: Vec::new() };
    let logs = tempfile::tempdir().unwrap();
    // One file for each thread: no line is cut in two by another thread's.
    let log = logs.path().join("log").to_str().unwrap().to_string();
    let options = ["-ff", "-ttt", "-y", "-xx", "-s", "100000000", "-o", &log, "-e", TRACED];
    let output = strace(lab, &options, line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines: Vec<(f64, String)> = Vec::new();
    for entry in fs::read_dir(logs.path()).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(
            text.lines().map(|line| line.split_once(' ').unwrap()).map(|(t, l)| (t.parse().unwrap(), l.into())),
        );
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    lines.iter().for_each(|(_, line)| replay.step(line));
    replay.states.push(replay.image.clone());
    assert_same_disk(&replay.image, &replay.root);
    let mut inodes = HashMap::new();
    replay.image.walk(&mut |path, id, _| {
        inodes.insert(fs::symlink_metadata(below(&replay.root, path)).unwrap().ino(), id);
    });
    Recording { states: replay.states, inodes }
}

impl Recording {
    /// Builds a state as a lab of its own.
    pub fn build(&self, image: &DiskImage) -> Lab {
        let lab = Lab::empty();
        let root = lab.path("");
        let mut made: HashMap<Id, PathBuf> = HashMap::new();
        let mut documents = Vec::new();
        image.walk(&mut |path, id, seen| {
            let to = below(&root, path);
            match seen {
                Seen::Dir(_) if path == Path::new("/") => {}
                Seen::Dir(_) => fs::DirBuilder::new().mode(0o700).create(&to).unwrap(),
                Seen::Link(target) => symlink(target, &to).unwrap(),
                Seen::File(bytes, _) => {
                    if let Some(first) = made.get(&id) {
                        return fs::hard_link(first, &to).unwrap();
                    }
                    fs::write(&to, bytes).unwrap();
                    let name = path.file_name().unwrap().as_bytes();
                    if name.starts_with(b".lrl-") && name.ends_with(b".json") {
                        documents.push(to.clone());
                    }
                }
            }
            made.insert(id, to);
        });
        for path in documents {
            self.name_inodes_anew(&path, &made);
        }
        // Last, and directories after what is in them: writing changes times.
        let mut metas: Vec<(PathBuf, Meta)> = Vec::new();
        image.walk(&mut |path, _, seen| match seen {
            Seen::File(_, meta) | Seen::Dir(meta) if path != Path::new("/") => metas.push((below(&root, path), meta)),
            _ => {}
        });
        for (path, meta) in metas.into_iter().rev() {
            if let Some((secs, nanos)) = meta.time {
                let time = SystemTime::UNIX_EPOCH + Duration::new(secs as u64, nanos as u32);
                fs::File::open(&path).unwrap().set_modified(time).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(meta.mode)).unwrap();
        }
        lab
    }

    fn name_inodes_anew(&self, path: &Path, made: &HashMap<Id, PathBuf>) {
        let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap()) else { return };
        let anew = |inode: u64| {
            let now =
                self.inodes.get(&inode).and_then(|id| made.get(id)).and_then(|path| fs::symlink_metadata(path).ok());
            // Nothing has the number 0.
            now.map_or(0, |meta| meta.ino())
        };
        visit(&mut document, &anew);
        fs::write(path, serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
    }
}

/// Changes every number under the key `inode`.
fn visit(value: &mut serde_json::Value, anew: &dyn Fn(u64) -> u64) {
    match value {
        serde_json::Value::Object(map) => map.iter_mut().for_each(|(key, value)| match value.as_u64() {
            Some(inode) if key == "inode" => *value = anew(inode).into(),
            _ => visit(value, anew),
        }),
        serde_json::Value::Array(all) => all.iter_mut().for_each(|value| visit(value, anew)),
        _ => {}
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

/// Reads a directory tree, all of it durable.
fn load(root: &Path) -> DiskImage {
    fn add(image: &mut DiskImage, firsts: &mut HashMap<u64, Id>, from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (from, to, meta) = (entry.path(), to.join(entry.file_name()), entry.metadata().unwrap());
            let mode = meta.mode() & 0o7777;
            let id = if meta.is_dir() {
                image.create_dir(&to, mode).unwrap()
            } else if meta.is_symlink() {
                image.symlink(&fs::read_link(&from).unwrap(), &to).unwrap()
            } else if let Some(first) = firsts.get(&meta.ino()) {
                image.link(*first, &to).unwrap();
                *first
            } else {
                let id = image.create(&to, mode).unwrap();
                image.write(id, 0, &fs::read(&from).unwrap());
                firsts.insert(meta.ino(), id);
                id
            };
            image.set_meta(id, |of| of.time = Some((meta.mtime(), meta.mtime_nsec())));
            if meta.is_dir() {
                add(image, firsts, &from, &to);
            }
        }
    }
    let mut image = DiskImage::default();
    add(&mut image, &mut HashMap::new(), root, Path::new("/"));
    image.sync_all();
    image
}

/// A call that was missed would make every state wrong. What SQLite maps into memory is not seen, and not needed.
fn assert_same_disk(image: &DiskImage, root: &Path) {
    image.walk(&mut |path, _, seen| {
        let real = below(root, path);
        let meta = fs::symlink_metadata(&real).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        match seen {
            Seen::Dir(_) => {
                assert_eq!(meta.is_dir().then(|| fs::read_dir(&real).unwrap().count()), image.count(path), "{path:?}")
            }
            Seen::Link(target) => assert_eq!(fs::read_link(&real).unwrap(), target),
            Seen::File(_, _) if path.to_string_lossy().ends_with("-shm") => {}
            Seen::File(bytes, of) => {
                assert!(fs::read(&real).unwrap() == bytes, "{} is not what was recorded", path.display());
                assert_eq!(meta.mode() & 0o7777, of.mode, "{}", path.display());
            }
        }
    });
}

struct Replay {
    image: DiskImage,
    root: PathBuf,
    states: Vec<DiskImage>,
    /// Which place in a file a descriptor writes at; copies of a descriptor share it.
    places: HashMap<String, usize>,
    offsets: Vec<usize>,
}

/// A call's arguments and what it returned.
struct Call<'l> {
    name: &'l str,
    arguments: Vec<&'l str>,
    returned: &'l str,
}

impl<'l> Call<'l> {
    /// Takes a line apart; `None` for one that is no call, or one that failed.
    fn parse(line: &'l str) -> Option<Self> {
        let (name, rest) = line.split_once('(')?;
        let (inside, returned) = rest.rsplit_once(" = ")?;
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || returned.starts_with(['-', '?']) {
            return None;
        }
        let inside = inside.trim_end().strip_suffix(')')?;
        let (mut depth, mut start, mut arguments) = (0, 0, Vec::new());
        for (at, byte) in inside.bytes().enumerate() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b',' if depth == 0 => {
                    arguments.push(inside[start..at].trim());
                    start = at + 1;
                }
                _ => {}
            }
        }
        arguments.push(inside[start..].trim());
        Some(Self { name, arguments, returned })
    }

    fn number(&self, at: usize) -> usize {
        self.arguments[at].parse().unwrap()
    }

    fn octal(&self, at: usize) -> u32 {
        u32::from_str_radix(self.arguments[at], 8).unwrap()
    }

    /// A string's bytes.
    fn bytes(&self, at: usize) -> Vec<u8> {
        unescape(self.arguments[at].trim_matches('"'))
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|hex| u8::from_str_radix(&hex[..2], 16).unwrap()).collect()
}

/// Takes `3<path>` apart.
fn descriptor(text: &str) -> (&str, Option<PathBuf>) {
    let Some((number, path)) = text.split_once('<') else { return (text, None) };
    let is_there = !path.ends_with("(deleted)");
    let path = unescape(path.split('>').next().unwrap());
    (number, is_there.then(|| PathBuf::from(std::ffi::OsStr::from_bytes(&path))))
}

impl Replay {
    /// Finds the path of a file in the lab; `None` elsewhere.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let mut clean = PathBuf::from("/");
        for part in path.components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => _ = clean.pop(),
                _ => {}
            }
        }
        Some(Path::new("/").join(clean.strip_prefix(&self.root).ok()?))
    }

    fn open_file(&self, text: &str) -> Option<(Id, PathBuf)> {
        let path = self.inside(&descriptor(text).1?)?;
        Some((self.image.find(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())), path))
    }

    /// A path that is given in a directory, or in the lab.
    fn named(&self, dir: Option<&str>, name: &[u8]) -> Option<PathBuf> {
        let dir = dir.map_or(Some(self.root.clone()), |dir| descriptor(dir).1)?;
        self.inside(&dir.join(std::ffi::OsStr::from_bytes(name)))
    }

    fn place(&mut self, text: &str) -> &mut usize {
        let number = descriptor(text).0.to_string();
        let offsets = &mut self.offsets;
        let at = *self.places.entry(number).or_insert_with(|| {
            offsets.push(0);
            offsets.len() - 1
        });
        &mut self.offsets[at]
    }

    fn change(&mut self, act: impl FnOnce(&mut DiskImage)) {
        self.states.push(self.image.clone());
        act(&mut self.image);
    }

    fn step(&mut self, line: &str) {
        let Some(call) = Call::parse(line) else { return };
        let arguments = &call.arguments;
        // Of the two ways to name a file, the older takes no directory.
        let at = call.name.ends_with("at") || call.name.ends_with("at2");
        let dir = |n: usize| at.then(|| arguments[n]);
        let moved: usize = call.returned.split(['<', ' ']).next().unwrap().parse().unwrap_or(0);
        match call.name {
            "openat" | "open" => self.open(&call, arguments[usize::from(at)..].to_vec()),
            "fcntl" if arguments[1].starts_with("F_DUPFD") => self.share(arguments[0], call.returned),
            "dup" | "dup2" | "dup3" => self.share(arguments[0], call.returned),
            "read" => *self.place(arguments[0]) += moved,
            "lseek" => *self.place(arguments[0]) = moved,
            "write" => {
                let offset = *self.place(arguments[0]);
                *self.place(arguments[0]) += moved;
                if let Some((id, _)) = self.open_file(arguments[0]) {
                    self.change(|image| image.write(id, offset, &call.bytes(1)[..moved]));
                }
            }
            "pwrite64" => {
                if let Some((id, _)) = self.open_file(arguments[0]) {
                    self.change(|image| image.write(id, call.number(3), &call.bytes(1)[..moved]));
                }
            }
            "copy_file_range" => self.copy(&call, moved),
            "ftruncate" => {
                if let Some((id, _)) = self.open_file(arguments[0]) {
                    // With -xx a length comes as a number all the same.
                    self.change(|image| image.truncate(id, call.number(1)));
                }
            }
            "rename" | "renameat" | "renameat2" => {
                let (old, new) = if at { (call.bytes(1), call.bytes(3)) } else { (call.bytes(0), call.bytes(1)) };
                let (from, to) = (self.named(dir(0), &old), self.named(dir(2.min(arguments.len() - 1)), &new));
                let (Some(from), Some(to)) = (from, to) else { return };
                let exchange = arguments.last().is_some_and(|flags| flags.contains("RENAME_EXCHANGE"));
                self.change(|image| {
                    if exchange { image.exchange(&from, &to) } else { image.rename(&from, &to) }.unwrap()
                });
            }
            "link" | "linkat" => {
                let (old, new) = if at { (call.bytes(1), call.bytes(3)) } else { (call.bytes(0), call.bytes(1)) };
                let (from, to) = (self.named(dir(0), &old), self.named(dir(2.min(arguments.len() - 1)), &new));
                let (Some(from), Some(to)) = (from, to) else { return };
                let id = self.image.find(&from).unwrap();
                self.change(|image| image.link(id, &to).unwrap());
            }
            "unlink" | "unlinkat" | "rmdir" => {
                if let Some(path) = self.named(dir(0), &call.bytes(usize::from(at))) {
                    self.change(|image| image.remove(&path).unwrap());
                }
            }
            "mkdir" | "mkdirat" => {
                if let Some(path) = self.named(dir(0), &call.bytes(usize::from(at))) {
                    self.change(|image| _ = image.create_dir(&path, call.octal(1 + usize::from(at))).unwrap());
                }
            }
            "symlink" | "symlinkat" => {
                let target = call.bytes(0);
                if let Some(path) = self.named(at.then(|| arguments[1]), &call.bytes(1 + usize::from(at))) {
                    let target = Path::new(std::ffi::OsStr::from_bytes(&target)).to_path_buf();
                    self.change(|image| _ = image.symlink(&target, &path).unwrap());
                }
            }
            "fsync" | "fdatasync" => {
                if let Some((id, _)) = self.open_file(arguments[0]) {
                    self.change(|image| image.sync(id));
                }
            }
            "syncfs" => self.change(DiskImage::sync_all),
            "fchmod" | "chmod" | "fchmodat" => {
                let id = self.target(&call, at || call.name == "chmod", dir(0));
                let mode = call.octal(if at { 2 } else { 1 });
                if let Some(id) = id {
                    self.change(|image| image.set_meta(id, |meta| meta.mode = mode));
                }
            }
            "utimensat" => {
                let by_name = arguments[1] != "NULL";
                let id = self.target(&call, by_name, Some(arguments[0]));
                let numbers = |key: &str| -> Option<i64> {
                    let rest = arguments[2].rsplit_once(key)?.1;
                    rest.split(|c: char| !c.is_ascii_digit() && c != '-').next()?.parse().ok()
                };
                if let (Some(id), Some(time)) = (id, numbers("tv_sec=").zip(numbers("tv_nsec="))) {
                    self.change(|image| image.set_meta(id, |meta| meta.time = Some(time)));
                }
            }
            "ioctl" | "fcntl" | "sync_file_range" => {
                assert!(!line.contains("CLONE") || self.open_file(arguments[0]).is_none(), "cannot replay {line}");
            }
            _ => {
                let inside = arguments.iter().any(|text| text.contains('<') && self.open_file(text).is_some());
                assert!(!inside, "cannot replay {}", &line[..line.len().min(300)]);
            }
        }
    }

    /// Which file a call names by a path or has open.
    fn target(&self, call: &Call<'_>, by_name: bool, dir: Option<&str>) -> Option<Id> {
        match by_name {
            true => self.image.find(&self.named(dir, &call.bytes(usize::from(dir.is_some())))?).ok(),
            false => self.open_file(call.arguments[0]).map(|(id, _)| id),
        }
    }

    /// A copy of a descriptor writes at the same place.
    fn share(&mut self, old: &str, new: &str) {
        self.place(old);
        let at = self.places[descriptor(old).0];
        self.places.insert(descriptor(new).0.to_string(), at);
    }

    fn open(&mut self, call: &Call<'_>, arguments: Vec<&str>) {
        let (number, path) = descriptor(call.returned);
        self.places.remove(number);
        let Some(path) = path.and_then(|path| self.inside(&path)) else { return };
        let flags = arguments[1];
        assert!(!flags.contains("O_APPEND"), "cannot replay {flags}");
        if flags.contains("O_CREAT") && self.image.find(&path).is_err() {
            let mode = u32::from_str_radix(arguments[2], 8).unwrap();
            self.change(|image| _ = image.create(&path, mode & !0o022).unwrap());
        } else if flags.contains("O_TRUNC") {
            let id = self.image.find(&path).unwrap();
            self.change(|image| image.truncate(id, 0));
        }
    }

    fn copy(&mut self, call: &Call<'_>, len: usize) {
        let mut offsets = [0, 2].map(|n| {
            let stated =
                call.arguments[n + 1].trim_matches(['[', ']']).split_whitespace().next().unwrap().parse::<usize>();
            stated.unwrap_or_else(|_| {
                let place = self.place(call.arguments[n]);
                *place += len;
                *place - len
            })
        });
        let Some((to, _)) = self.open_file(call.arguments[2]) else { return };
        let (from, _) = self.open_file(call.arguments[0]).unwrap();
        let bytes = self.image.bytes(from)[std::mem::take(&mut offsets[0])..][..len].to_vec();
        self.change(|image| image.write(to, offsets[1], &bytes));
    }
}
