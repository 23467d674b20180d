//! Reads any `.tar.gz`: ours, Python's, GNU tar's. Streams members to a visitor in bounded memory and proves
//! the frame: gzip checksums, whole members, the closing blocks. Never writes, never trusts a name: `extract` does both.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use flate2::read::MultiGzDecoder;

use super::headers;
use super::headers::{MissedBecause, Pax};
use super::tar::{BLOCK, padding};
use crate::budget::{RUN_BYTES, RUNS};
use crate::error::{Error, Result};
use crate::format::xattr::Xattrs;
use crate::hint::Message;
use crate::time::Time;

/// Longest extension header (names, PAX records) that is read; real ones have hundreds of bytes.
const EXTENSION_MAX: u64 = 1 << 20;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A hard link to an earlier member.
    Hardlink,
    /// Anything else: a device, a FIFO, a volume label; its type flag.
    Other(u8),
}

/// One member of an archive, as its headers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Raw bytes, unchecked: may be absolute, climb, or hold anything.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Length of a regular file in bytes, else 0.
    pub size: u64,
    /// Mode bits (0o7777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of the last change; nanoseconds where PAX records have them.
    pub mtime: Time,
    /// Raw target of a link, unchecked.
    pub link: Vec<u8>,
    /// Extended attributes of a file or directory.
    pub xattrs: Xattrs,
    /// Names of those that are not among them, and why; up to a few.
    pub missed: Vec<(Vec<u8>, MissedBecause)>,
}

/// Asked with the count of plain bytes so far; an error stops the reading (a compression bomb, a full disk).
pub(crate) type Limit<'a> = dyn Fn(u64) -> Result<()> + 'a;

/// Receives members in order; what it leaves of a member's data is skipped.
pub(crate) type Visit<'a> = dyn FnMut(&Member, &mut Data<'_, '_>) -> Result<()> + 'a;

/// Reads a whole archive. Succeeds only if its checksums fit and its end is there.
pub(crate) fn walk(archive: &Path, limit: &Limit<'_>, visit: &mut Visit<'_>) -> Result<()> {
    let file = File::open(archive).map_err(Error::io("open", archive))?;
    std::thread::scope(|scope| {
        let (sender, runs) = sync_channel(RUNS);
        let (spent, spare) = channel();
        scope.spawn(move || inflate(file, &sender, &spare));
        // Dropping the stream closes both channels, and with them the thread's work, however this ends.
        let mut stream = Stream { archive, limit, runs, spent, run: Vec::new(), at: 0, total: 0 };
        stream.members(visit)
    })
}

/// Decompresses on a thread of its own while others hash and write.
fn inflate(file: File, sender: &SyncSender<io::Result<Vec<u8>>>, spare: &Receiver<Vec<u8>>) {
    let mut plain = MultiGzDecoder::new(file);
    loop {
        let mut run = spare.try_recv().unwrap_or_default();
        run.resize(RUN_BYTES, 0);
        let mut len = 0;
        let end = loop {
            match plain.read(&mut run[len..]) {
                Ok(0) => break Some(Ok(Vec::new())),
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Some(Err(e)),
            }
            if len == RUN_BYTES {
                break None;
            }
        };
        run.truncate(len);
        if len > 0 && sender.send(Ok(run)).is_err() {
            return;
        }
        if let Some(end) = end {
            // Nobody listens any more only if the reading has failed already.
            let _ = sender.send(end);
            return;
        }
    }
}

/// The plain bytes of an archive, in order.
struct Stream<'a> {
    archive: &'a Path,
    limit: &'a Limit<'a>,
    runs: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    run: Vec<u8>,
    at: usize,
    total: u64,
}

/// Headers that change the member after them.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pending: bool,
}

impl Stream<'_> {
    fn corrupt(&self, detail: impl Into<Message>) -> Error {
        Error::corrupt(self.archive.display(), detail)
    }

    /// Returns bytes that are there; none at the end.
    fn available(&mut self) -> Result<&[u8]> {
        if self.at == self.run.len() {
            let _ = self.spent.send(std::mem::take(&mut self.run));
            self.at = 0;
            // A closed channel follows the empty run that said "end".
            self.run = match self.runs.recv() {
                Ok(Ok(run)) => run,
                Err(_) => Vec::new(),
                Ok(Err(e)) if e.raw_os_error().is_some() => return Err(Error::io("read", self.archive)(e)),
                Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.corrupt("it ends in the middle of its gzip stream"));
                }
                Ok(Err(e)) => return Err(self.corrupt(format!("its gzip stream cannot be read: {e}"))),
            };
            self.total += self.run.len() as u64;
            (self.limit)(self.total)?;
        }
        Ok(&self.run[self.at..])
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut len = 0;
        while len < BLOCK {
            let bytes = self.available()?;
            let n = bytes.len().min(BLOCK - len);
            if n == 0 && len == 0 {
                return Ok(None);
            }
            if n == 0 {
                return Err(self.corrupt("it ends in the middle of a block"));
            }
            block[len..len + n].copy_from_slice(&bytes[..n]);
            self.at += n;
            len += n;
        }
        Ok(Some(block))
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let n = self.available()?.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(self.corrupt("it ends in the middle of a member"));
            }
            self.at += n;
            count -= n as u64;
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(self.corrupt(format!("it holds an extension header of {size} bytes")));
        }
        let mut data = Vec::new();
        let mut left = size as usize;
        while left > 0 {
            let bytes = self.available()?;
            let n = bytes.len().min(left);
            if n == 0 {
                return Err(self.corrupt("it ends in the middle of an extension header"));
            }
            data.extend_from_slice(&bytes[..n]);
            self.at += n;
            left -= n;
        }
        self.skip(padding(size) as u64)?;
        Ok(data)
    }

    fn members(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let mut global = Pax::default();
        let mut ext = Extensions::default();
        loop {
            let Some(block) = self.block()? else {
                return Err(self.corrupt("it ends without the closing blocks of a tar archive"));
            };
            if block.iter().all(|b| *b == 0) {
                return if ext.pending { Err(self.corrupt("it ends after an extension header")) } else { self.end() };
            }
            let header = headers::decode(&block).map_err(|why| self.corrupt(format!("it holds a header {why}")))?;
            match header.flag {
                b'x' | b'g' => {
                    let data = self.extension(header.size)?;
                    let pax = if header.flag == b'g' { &mut global } else { &mut ext.pax };
                    headers::decode_pax(&data, pax).map_err(|why| self.corrupt(format!("it holds a header {why}")))?;
                    ext.pending |= header.flag == b'x';
                }
                b'L' | b'K' => {
                    let text = headers::until_nul(&self.extension(header.size)?).to_vec();
                    *(if header.flag == b'L' { &mut ext.name } else { &mut ext.link }) = Some(text);
                    ext.pending = true;
                }
                _ => {
                    let member = self.member(header, std::mem::take(&mut ext), &global)?;
                    let mut data = Data { left: member.size, given: 0, stream: self };
                    visit(&member, &mut data)?;
                    let left = data.finish();
                    self.skip(left)?;
                    self.skip(padding(member.size) as u64)?;
                }
            }
        }
    }

    fn member(&self, header: headers::Block, ext: Extensions, global: &Pax) -> Result<Member> {
        let Extensions { pax, name, link, .. } = ext;
        let path = pax.path.or(name).or_else(|| global.path.clone()).unwrap_or(header.name);
        let shown = String::from_utf8_lossy(&path).into_owned();
        if pax.sparse || global.sparse || header.flag == b'S' {
            let what = format!("a sparse member ({shown}) of the archive {}", self.archive.display());
            return Err(Error::Unsupported { what: what.into() });
        }
        let kind = match header.flag {
            // Before ustar, a closing slash was what made a directory.
            b'0' | 0 | b'7' if path.ends_with(b"/") => MemberKind::Dir,
            b'0' | 0 | b'7' => MemberKind::File,
            b'1' => MemberKind::Hardlink,
            b'2' => MemberKind::Symlink,
            b'5' => MemberKind::Dir,
            flag => MemberKind::Other(flag),
        };
        let size = pax.size.or(global.size).unwrap_or(header.size);
        if size > 0 && kind != MemberKind::File {
            return Err(self.corrupt(format!("its member {shown} has contents, but is no regular file")));
        }
        let has_xattrs = matches!(kind, MemberKind::File | MemberKind::Dir);
        let owner = |id: u64| {
            u32::try_from(id).map_err(|_| self.corrupt(format!("its member {shown} has an owner of more than 32 bits")))
        };
        Ok(Member {
            kind,
            size,
            mode: header.mode,
            uid: owner(pax.uid.or(global.uid).unwrap_or(header.uid))?,
            gid: owner(pax.gid.or(global.gid).unwrap_or(header.gid))?,
            mtime: pax.mtime.or(global.mtime).unwrap_or(Time { secs: header.mtime, nanos: 0 }),
            link: pax.linkpath.or(link).or_else(|| global.linkpath.clone()).unwrap_or(header.link),
            path,
            xattrs: if has_xattrs { pax.xattrs } else { Xattrs::new() },
            missed: if has_xattrs { pax.missed } else { Vec::new() },
        })
    }

    /// Reads to the end of the file, so that gzip's own checksum is compared; only zeros may follow.
    fn end(&mut self) -> Result<()> {
        match self.block()? {
            Some(block) if block.iter().all(|b| *b == 0) => {}
            _ => return Err(self.corrupt("it ends with one closing block, not two")),
        }
        loop {
            let bytes = self.available()?;
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().any(|b| *b != 0) {
                return Err(self.corrupt("it holds data after its closing blocks"));
            }
            self.at = self.run.len();
        }
    }
}

/// The contents of one member.
pub(crate) struct Data<'s, 'a> {
    stream: &'s mut Stream<'a>,
    left: u64,
    given: usize,
}

impl Data<'_, '_> {
    /// Returns the next run of bytes; `None` at the member's end.
    pub(crate) fn run(&mut self) -> Result<Option<&[u8]>> {
        let given = std::mem::take(&mut self.given);
        self.consume(given);
        if self.left == 0 {
            return Ok(None);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = self.stream.available()?.len().min(left);
        if len == 0 {
            return Err(self.stream.corrupt("it ends in the middle of a member"));
        }
        self.given = len;
        Ok(Some(&self.stream.run[self.stream.at..self.stream.at + len]))
    }

    fn consume(&mut self, len: usize) {
        self.stream.at += len;
        self.left -= len as u64;
    }

    /// Returns how many bytes nobody asked for.
    fn finish(mut self) -> u64 {
        self.consume(self.given);
        self.left
    }
}

/// For readers that want `std::io`: engine errors come as [`io::Error::other`], their text kept.
impl Read for Data<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.run().map_err(io::Error::other)?.map_or(0, |run| {
            let len = run.len().min(buf.len());
            buf[..len].copy_from_slice(&run[..len]);
            len
        });
        self.given = len;
        Ok(len)
    }
}
