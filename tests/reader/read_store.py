#!/usr/bin/env python3
"""Reads a store of lrl, written from docs/FORMAT.md alone: a second reader shows that the document is enough.

It verifies every pack, index, snapshot and record, and every chunk that it reads, and writes the databases and files of the newest
snapshot to a directory, or with --all those of each to a directory below it, named by the snapshot's id. Nothing but Python 3.8 is needed, and something that unpacks zstd: Python 3.14 or the command `zstd`. An
encrypted store takes a key file or a passphrase (which alone takes a minute). It holds whole files: it is a proof, not a tool.
Usage: read_store.py STORE DIRECTORY [--all] [--key-file FILE | --password-file FILE]
Exit: 0 done, 1 damaged, 12 no slot opens with that, 77 nothing unpacks zstd
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import primitives
from primitives import blake3, derive, keyed, open_box, unseal, x25519

SOURCE, ID = "[A-Za-z0-9_-][A-Za-z0-9._-]*", "[0-9a-f]{64}"


def must(condition, what):
    if not condition:
        sys.exit(f"damaged: {what}")


def find_zstd():
    """Returns a function of (frame, prefix) that unpacks one frame behind a raw prefix."""
    try:
        from compression import zstd
        raw = lambda prefix: zstd.ZstdDict(prefix, is_raw=True).as_prefix
        options = {zstd.DecompressionParameter.window_log_max: 27}
        return lambda frame, prefix: zstd.decompress(frame, raw(prefix) if len(prefix) >= 8 else None, options)
    except ImportError:
        pass
    if shutil.which("zstd"):
        def command(frame, prefix):
            with tempfile.TemporaryDirectory() as place:
                base = pathlib.Path(place, "base")
                base.write_bytes(prefix)
                patch = [f"--patch-from={base}"] if prefix else []
                run = subprocess.run(["zstd", "-dcq", "--long=27", *patch], input=frame, stdout=subprocess.PIPE)
                must(run.returncode == 0, "a zstd frame")
                return run.stdout
        return command
    return None


class Reader:
    """Takes fields from the front of bytes."""

    def __init__(self, data, tag=0):
        self.data, self.at, self.tag = data, 0, tag

    def take(self, count):
        must(self.at + count <= len(self.data), "it ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]

    def varint(self):
        value = 0
        for shift in range(0, 64, 7):
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                must(value < 1 << 64, "a varint")
                return value
        must(False, "a varint")

    def blob(self):
        return self.take(self.varint())

    def record(self, placed):
        chunk = self.take(32)
        place = (self.number("I"), self.number("I")) if placed else None
        encoded, plain, encoding, depth, bases = struct.unpack("<IIBBB", self.take(11))
        must(plain <= 4 << 20 and self.tag <= encoded <= plain + self.tag and encoding <= 2, "a record")
        must((1 <= bases <= 4 and 1 <= depth <= 8) if encoding == 2 else bases == depth == 0, "a record's bases")
        must(encoding != 0 or encoded == plain + self.tag, "a stored record")
        return chunk, place, (encoded, plain, encoding, [self.take(32) for _ in range(bases)], depth)

    def done(self):
        must(self.at == len(self.data), "bytes after the end")


class Keys:
    """What opens an encrypted store. A reader needs no cuts and no public key."""

    def __init__(self, root, store_id, secret, is_file):
        self.store_id = store_id
        master = None
        for path in names(root, f"keys/{ID}"):
            text = path.read_bytes()
            must(blake3(text).hex() == path.name, path)
            master = master or self.slot(text, json.loads(text), secret, is_file)
        if not master:
            print("nothing opens this store: give the key file or the passphrase of a full key", file=sys.stderr)
            sys.exit(12)
        writers = derive("lrl store format 1: writer's secret", master)
        self.ids = derive("lrl store format 1: ids of chunks and documents", writers)
        self.structure = derive("lrl store format 1: indexes and directories of packs", writers)
        self.names = derive("lrl store format 1: names of sources", writers)
        self.nonces = derive("lrl store format 1: nonces of names of sources", writers)
        self.private = derive("lrl store format 1: content key pair", master)

    def context(self, kind, rest=b""):
        return self.store_id + bytes([len(kind)]) + kind.encode() + rest

    def slot(self, text, slot, secret, is_file):
        """Returns the master key, if it is in this slot and this secret opens it."""
        must(slot["format"] == 1 and slot["class"] in ("full", "writer"), "a slot of another kind")
        how = slot.get("argon2id")
        if slot["class"] == "writer" or secret is None or is_file == bool(how):
            return None
        if how:
            must(how["m_kib"] <= 256 << 10 and how["t"] <= 64 and how["p"] <= 16, "a slot asks for too much")
            key = primitives.argon2id(secret, bytes.fromhex(how["salt"]), how["m_kib"], how["t"], how["p"])
        else:
            key = derive("lrl store format 1: key file", secret)
        sealed = bytes.fromhex(slot["sealed"])
        return unseal(key, sealed[:24], self.context("slot", text[: text.rindex(b',"sealed":"')]), sealed[24:])

    def pack(self, data):
        """Returns the key of a pack's chunks, and its directory."""
        must(data[:8] == b"LRLP\1\1\0\0" and data[-16:] == bytes(16), "the head of a pack")
        at = struct.unpack("<I", data[-40:-36])[0]
        context = self.context("directory", data[:88] + data[-40:-32])
        key = keyed(self.structure, data[8:40])
        return open_box(self.private, data[8:88]), unseal(key, bytes(24), context, data[at:-40] + data[-32:-16])

    def chunk(self, key, chunk, offset, record, sealed):
        encoded, plain, encoding, bases, depth = record
        told = struct.pack("<IIBBB", encoded, plain, encoding, depth, len(bases))
        context = self.context("chunk", chunk + told + b"".join(bases))
        return unseal(key, struct.pack("<Q", offset) + chunk[:16], context, sealed)

    def document(self, data, first):
        """Unseals an index, or what is for readers only: a snapshot or a record."""
        if first == "index":
            head, key = 40, keyed(self.structure, data[8:40])
        else:
            head, key = 88, open_box(self.private, data[8:88])
        must(data[:8] == (b"LRLE\1\1\0\0" if first == "index" else b"LRLE\1\2\0\0") and key, f"the head of an object of {first}")
        blocks = [data[at:at + 4112] for at in range(head, len(data), 4112)]
        ends = [n + 1 == len(blocks) for n in range(len(blocks))]
        context = self.context("object", first.encode())
        texts = [unseal(key, struct.pack("<QB15x", n, end), context, block) for n, (end, block) in enumerate(zip(ends, blocks))]
        must(texts and None not in texts, f"an object of {first}")
        return b"".join(texts)

    def source(self, veil):
        veil = bytes.fromhex(veil)
        padded = unseal(self.names, veil[:24], self.context("source"), veil[24:])
        must(padded and len(padded) % 32 == 0, "the name of a source")
        name = padded.rstrip(b"\0")
        must(len(padded) - len(name) < 32 and keyed(self.nonces, name)[:24] == veil[:24], "the name of a source")
        return name.decode()


def names(root, pattern):
    """Finds objects. Names that do not fit are not of the store."""
    fits = re.compile(pattern).fullmatch
    return [path for path in sorted(root.glob("/".join("*" * (pattern.count("/") + 1)))) if fits(str(path.relative_to(root)))]


class Store:
    def __init__(self, root, zstd, secret=None, is_file=True):
        self.root, self.zstd, self.plain = pathlib.Path(root), zstd, {}
        text = (self.root / "config").read_bytes()
        body, mark, tail = text.rpartition(b',"checksum":"')
        must(mark and tail == blake3(body).hex().encode() + b'"}\n', "config")
        config = json.loads(text)
        must(config["format"] == 1 and not config["must_know_to_read"], "unknown format")
        must(config["crypto"] in ("none", "xchacha20poly1305-x25519-blake3"), "unknown crypto")
        encrypted = config["crypto"] != "none"
        must(encrypted or secret is None, "a key is given, and the store is not encrypted")
        self.keys = Keys(self.root, bytes.fromhex(config["store_id"]), secret, is_file) if encrypted else None
        self.id = (lambda data: keyed(self.keys.ids, data)) if encrypted else blake3
        self.packs = {bytes.fromhex(p.name): self.pack(p) for p in names(self.root, f"packs/[0-9a-f]{{2}}/{ID}")}
        self.places = {}
        for path in names(self.root, f"index/{ID}"):
            self.index(path)
        # What no index tells, the directories of packs do.
        for pack, (_, records, _) in self.packs.items():
            for (chunk, offset), record in records.items():
                self.places.setdefault(chunk, (pack, offset, record))

    def pack(self, path):
        data = path.read_bytes()
        must(path.parent.name == path.name[:2] and blake3(data).hex() == path.name, path)
        at, count = struct.unpack("<II", data[-40:-32])
        if self.keys:
            key, directory = self.keys.pack(data)
            must(key and directory is not None, f"the seal of {path}")
        else:
            key, directory = None, data[at:-40]
            must(data[:8] == b"LRLP\1\0\0\0", path)
            must(blake3(data[:8] + directory + data[-40:-32]) == data[-32:], f"directory of {path}")
        reader, end, records = Reader(directory, 16 if self.keys else 0), 88 if self.keys else 8, {}
        for _ in range(count):
            chunk, _, record = reader.record(False)
            records[chunk, end] = record
            end += record[0]
        reader.done()
        must(at == end, f"{path} has gaps")
        return data, records, key

    def document(self, path):
        """Returns the bytes of an index, a snapshot or a record, with the rest of its name."""
        first, *rest = path.relative_to(self.root).parts
        if not self.keys:
            return path.read_bytes(), *rest
        where = [self.keys.source(veil) for veil in rest[:-1]]
        return self.keys.document(path.read_bytes(), first), *where, rest[-1]

    def index(self, path):
        data, _ = self.document(path)
        must(data[:8] == b"LRLI\1\0\0\0" and data[-32:].hex() == path.name and blake3(data[:-32]) == data[-32:], path)
        total, blocks, packs = struct.unpack("<QII", data[-48:-32])
        table = [data[8 + 32 * n:40 + 32 * n] for n in range(packs)]
        at, last = 8 + 32 * packs, b""
        for n in range(blocks):
            block = data[at:at + 4096] if n + 1 < blocks else data[at:-48]
            at += len(block)
            must(blake3(block[:-32]) == block[-32:], f"block {n} of {path}")
            reader = Reader(block[:-32], 16 if self.keys else 0)
            for _ in range(reader.number("H")):
                chunk, (pack, offset), record = reader.record(True)
                must(chunk >= last and pack < packs, f"{path} is out of order")
                must(table[pack] in self.packs, f"{path} names a pack that is gone")
                must(self.packs[table[pack]][1].get((chunk, offset)) == record, f"{path} and its pack differ")
                self.places[chunk], last, total = (table[pack], offset, record), chunk, total - 1
        must(total == 0 and at == len(data) - 48, f"{path} has another number of records")

    def snapshots(self):
        """Reads all snapshots, and checks the records of drills and repairs."""
        source = "[0-9a-f]{144,}" if self.keys else SOURCE
        found = {}
        for path in names(self.root, f"(snapshots|drills)/{source}/[0-9a-f]{{16}}-{ID}"):
            text, source, name = self.document(path)
            number, _, name = name.partition("-")
            document = json.loads(text)
            is_snapshot = path.relative_to(self.root).parts[0] == "snapshots"
            must(self.id(text).hex() == name and text.endswith(b"}\n") and document["format"] == 2, path)
            if is_snapshot:
                must(document["source"] == source and f"{document['sequence']:016x}" == number, path)
                found[source, number, name] = document
            else:
                must(document["source"] == source and f"{document['finished']['secs']:016x}" == number, path)
        for path in names(self.root, f"repairs/{ID}"):
            must(self.id(self.document(path)[0]).hex() == path.name, path)
        return found

    def chunk(self, chunk):
        if chunk not in self.plain:
            must(chunk in self.places, f"chunk {chunk.hex()} is gone")
            pack, offset, record = self.places[chunk]
            encoded, length, encoding, bases, _ = record
            data = self.packs[pack][0][offset:offset + encoded]
            if self.keys:
                data = self.keys.chunk(self.packs[pack][2], chunk, offset, record, data)
                must(data is not None, f"the seal of chunk {chunk.hex()}")
            if encoding:
                data = self.zstd(data, b"".join(map(self.chunk, bases)))
            must(len(data) == length and self.id(data) == chunk, f"chunk {chunk.hex()}")
            self.plain[chunk] = data
        return self.plain[chunk]

    def items(self, kind, root, level=None):
        reader = Reader(self.chunk(root))
        must(reader.number("B") == kind, "a list of another kind")
        found = reader.number("B")
        must(found <= 8 and level in (None, found), "a node at another level")
        for _ in range(reader.varint()):
            if found:
                child, weight, key = reader.take(32), reader.varint(), reader.blob()
                below = list(self.items(kind, child, found - 1))
                must(weight == sum(n for n, _ in below) if kind == 1 else weight == len(below), "a weight")
                must(key == (below[0][1]["path"] if kind == 2 else b""), "a first key")
                yield from below
            else:
                yield self.piece(reader) if kind == 1 else (1, self.entry(reader))
        reader.done()

    def piece(self, reader):
        head = reader.varint()
        return head >> 1, None if head & 1 else reader.take(32)

    def content(self, pieces):
        parts = [bytes(length) if chunk is None else self.chunk(chunk) for length, chunk in pieces]
        must([len(part) for part in parts] == [length for length, _ in pieces], "a piece's length")
        return b"".join(parts)

    def entry(self, reader):
        path, flags, mode = reader.blob(), reader.number("B"), reader.number("H")
        kind = flags & 0x7F
        entry = {"path": path, "kind": kind, "mode": mode, "uid": reader.varint(), "gid": reader.varint()}
        entry["mtime"] = reader.number("q"), reader.number("I")
        if kind in (1, 2):
            size = reader.varint()
            pieces = [self.piece(reader) for _ in range(reader.varint())] if kind == 1 else list(self.items(1, reader.take(32)))
            entry["data"] = self.content(pieces)
            must(len(entry["data"]) == size, "a file's size")
        elif kind in (3, 4):
            entry["target"] = reader.blob()
        else:
            must(kind == 0, "an entry's kind")
        entry["xattrs"] = self.xattrs(reader) if flags & 0x80 else []
        must(not entry["xattrs"] or kind < 3, "a link with extended attributes")
        return entry

    def xattrs(self, reader):
        must(reader.varint() == 1 and reader.number("B") == 1, "an extra that is unknown")
        inner = Reader(reader.blob())
        found = [(inner.blob(), inner.blob()) for _ in range(inner.varint())]
        inner.done()
        names = [name for name, _ in found]
        must(1 <= len(names) <= 64 and names == sorted(set(names)), "the number or order of extended attributes")
        must(all(0 < len(name) < 256 and 0 not in name for name in names), "the name of an extended attribute")
        must(sum(len(value) for _, value in found) <= 64 << 10, "the length of extended attributes")
        return found


def raw_path(text):
    """Returns the bytes of a path in a document: a backslash begins an escape."""
    must(re.fullmatch(r"([^\\]|\\\\|\\x[0-9a-fA-F]{2})*", text, re.DOTALL), "the escapes of a path")
    unescape = lambda found: b"\\" if found[1] == b"\\" else bytes.fromhex(found[1][1:].decode())
    return re.sub(rb"\\(\\|x[0-9a-fA-F]{2})", unescape, text.encode())


def check_paths(paths):
    """Paths lead nowhere else, and are in order, each once."""
    for path in paths:
        must(all(part not in (b"", b".", b"..") for part in path.split(b"/")) and 0 not in path, "a path")
    keys = [path.replace(b"/", b"\0") for path in paths]
    must(keys == sorted(set(keys)), "the order of paths")


def write(store, snapshot, out):
    files, root = snapshot.get("files"), snapshot.get("root")
    entries = [entry for _, entry in store.items(2, bytes.fromhex(files["list"]))] if files else []
    databases = {raw_path(database["path"]): database for database in snapshot.get("databases", [])}
    must(len(databases) == len(snapshot.get("databases", [])), "two databases with one path")
    check_paths([entry["path"] for entry in entries])
    check_paths(list(databases))
    if files and "" not in files["roots"]:
        must(all(os.fsdecode(entry["path"].split(b"/")[0]) in files["roots"] for entry in entries), "the root of an entry")
    elif files:
        must(len(files["roots"]) == 1, "a root beside the one without a name")
    os.mkdir(out)
    place = lambda path: os.path.join(os.fsencode(out), path)
    for entry in entries:
        path, target = place(entry["path"]), entry.get("target")
        if entry["kind"] == 0:
            os.mkdir(path)
        elif entry["kind"] == 3:
            os.symlink(target, path)
        elif entry["kind"] == 4:
            os.link(place(target), path)
        else:
            with open(path, "xb") as file:
                file.write(entry["data"])
        if entry["kind"] in (0, 1, 2):
            os.chmod(path, entry["mode"] | 0o700 * (entry["kind"] == 0))
    for path, database in databases.items():
        image = store.content(list(store.items(1, bytes.fromhex(database["root"]))))
        must(len(image) == database["size_bytes"], "the length of an image")
        must(database.get("sha256") in (None, hashlib.sha256(image).hexdigest()), "an image")
        os.makedirs(os.path.dirname(place(path)), exist_ok=True)
        with open(place(path), "xb") as file:
            file.write(image)
        os.chmod(place(path), database["mode"])
        nanoseconds = database["mtime"]["secs"] * 10**9 + database["mtime"]["nanos"]
        os.utime(place(path), ns=(nanoseconds, nanoseconds))
    for entry in reversed(entries):
        # Late, so that nothing inherits a directory's ACL; and as a restore, without those that give rights.
        for name, value in entry["xattrs"]:
            if name.startswith((b"user.", b"system.posix_acl_")):
                os.setxattr(place(entry["path"]), name, value)
        nanoseconds = entry["mtime"][0] * 10**9 + entry["mtime"][1]
        os.utime(place(entry["path"]), ns=(nanoseconds, nanoseconds), follow_symlinks=False)
    if root:
        os.chmod(out, root["mode"] | 0o700)
        nanoseconds = root["mtime"]["secs"] * 10**9 + root["mtime"]["nanos"]
        os.utime(out, ns=(nanoseconds, nanoseconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--all", action="store_true")
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--key-file", type=pathlib.Path)
    keys.add_argument("--password-file", type=pathlib.Path)
    options = parser.parse_args()
    primitives.check()
    zstd = find_zstd()
    if not zstd:
        print("nothing here unpacks zstd", file=sys.stderr)
        return 77
    secret = None
    if options.key_file:
        secret = bytes.fromhex(options.key_file.read_text())
        must(len(secret) == 32, options.key_file)
    elif options.password_file:
        line = options.password_file.read_bytes().split(b"\n")[0]
        secret = line[:-1] if line.endswith(b"\r") else line
    store = Store(options.store, zstd, secret, bool(options.key_file))
    snapshots = store.snapshots()
    must(snapshots, "there is no snapshot")
    if options.all:
        options.directory.mkdir()
        for (_, _, name), snapshot in snapshots.items():
            write(store, snapshot, options.directory / name)
    else:
        write(store, snapshots[max(snapshots)], options.directory)
    deltas = sum(record[2] == 2 for _, _, record in store.places.values())
    print(f"{len(snapshots)} snapshots, {len(store.packs)} packs, {len(store.places)} chunks, {deltas} of them deltas")
    return 0


if __name__ == "__main__":
    sys.exit(main())
