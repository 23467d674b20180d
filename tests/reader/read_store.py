#!/usr/bin/env python3
"""Reads a store of lrl, written from docs/FORMAT.md alone: a second reader shows that the document is enough.

It verifies every pack, every index, every snapshot and every chunk, and writes the newest snapshot's database and uploads to a
directory. Nothing but Python 3.8 is needed, and something that unpacks zstd: Python 3.14 or the command `zstd`.
Slow, and it holds whole files: it is a proof, not a tool.
Usage: read_store.py STORE DIRECTORY     Exit: 0 done, 1 damaged, 77 nothing unpacks zstd
"""
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

# BLAKE3, plain hash (https://github.com/BLAKE3-team/BLAKE3-specs).
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIX = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
START, END, PARENT, ROOT = 1, 2, 4, 8


def compress(chaining, block, counter, flags):
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = [*chaining, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, len(block), flags]
    for _ in range(7):
        for n, (a, b, c, d) in enumerate(MIX):
            for word, turn, back in ((words[2 * n], 16, 12), (words[2 * n + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
                x = v[d] ^ v[a]
                v[d] = (x >> turn | x << 32 - turn) & 0xFFFFFFFF
                v[c] = (v[c] + v[d]) & 0xFFFFFFFF
                x = v[b] ^ v[c]
                v[b] = (x >> back | x << 32 - back) & 0xFFFFFFFF
        words = [words[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def subtree(data, counter, root):
    """Hashes a subtree; the left one has the largest power of two of 1024-byte leaves that leaves something for the right."""
    if len(data) <= 1024:
        chaining, blocks = IV, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
        for n, block in enumerate(blocks):
            last = n + 1 == len(blocks)
            flags = (START if n == 0 else 0) | (END if last else 0) | (ROOT if last else 0) * root
            chaining = compress(chaining, block, counter, flags)
        return chaining
    left = 1 << ((len(data) - 1) // 1024).bit_length() - 1
    children = subtree(data[:left * 1024], counter, 0) + subtree(data[left * 1024:], counter + left, 0)
    return compress(IV, struct.pack("<16I", *children), 0, PARENT | ROOT * root)


def blake3(data):
    return struct.pack("<8I", *subtree(bytes(data), 0, 1))


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

    def __init__(self, data):
        self.data, self.at = data, 0

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
        must(plain <= 4 << 20 and encoded <= plain and encoding <= 2, "a record")
        must((1 <= bases <= 4 and 1 <= depth <= 8) if encoding == 2 else bases == depth == 0, "a record's bases")
        must(encoding != 0 or encoded == plain, "a stored record")
        return chunk, place, (encoded, plain, encoding, [self.take(32) for _ in range(bases)])

    def done(self):
        must(self.at == len(self.data), "bytes after the end")


class Store:
    def __init__(self, root, zstd):
        self.root, self.zstd, self.plain = pathlib.Path(root), zstd, {}
        text = (self.root / "config").read_bytes()
        body, mark, tail = text.rpartition(b',"checksum":"')
        must(mark and tail == blake3(body).hex().encode() + b'"}\n', "config")
        config = json.loads(text)
        must(config["format"] == 1 and config["crypto"] == "none" and not config["must_know_to_read"], "unknown format")
        self.packs = {bytes.fromhex(p.name): self.pack(p) for p in sorted(self.root.glob("packs/??/*"))}
        self.places = {}
        for path in sorted(self.root.glob("index/*")):
            self.index(path)

    def pack(self, path):
        data = path.read_bytes()
        must(path.parent.name == path.name[:2] and blake3(data).hex() == path.name, path)
        must(data[:8] == b"LRLP\1\0\0\0", path)
        directory, count = struct.unpack("<II", data[-40:-32])
        must(blake3(data[:8] + data[directory:-32]) == data[-32:], f"directory of {path}")
        reader, at, records = Reader(data[directory:-40]), 8, {}
        for _ in range(count):
            chunk, _, record = reader.record(False)
            records[chunk, at] = record
            at += record[0]
        reader.done()
        must(at == directory, f"{path} has gaps")
        return data, records

    def index(self, path):
        data = path.read_bytes()
        must(data[:8] == b"LRLI\1\0\0\0" and data[-32:].hex() == path.name and blake3(data[:-32]) == data[-32:], path)
        total, blocks, packs = struct.unpack("<QII", data[-48:-32])
        table = [data[8 + 32 * n:40 + 32 * n] for n in range(packs)]
        at, last = 8 + 32 * packs, b""
        for n in range(blocks):
            block = data[at:at + 4096] if n + 1 < blocks else data[at:-48]
            at += len(block)
            must(blake3(block[:-32]) == block[-32:], f"block {n} of {path}")
            reader = Reader(block[:-32])
            for _ in range(reader.number("H")):
                chunk, (pack, offset), record = reader.record(True)
                must(chunk >= last and pack < packs, f"{path} is out of order")
                must(self.packs[table[pack]][1].get((chunk, offset)) == record, f"{path} and its pack differ")
                self.places[chunk], last, total = (table[pack], offset, record), chunk, total - 1
        must(total == 0 and at == len(data) - 48, f"{path} has another number of records")

    def chunk(self, chunk):
        if chunk not in self.plain:
            pack, offset, (encoded, length, encoding, bases) = self.places[chunk]
            data = self.packs[pack][0][offset:offset + encoded]
            if encoding:
                data = self.zstd(data, b"".join(map(self.chunk, bases)))
            must(len(data) == length and blake3(data) == chunk, f"chunk {chunk.hex()}")
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
        path, kind, mode = reader.blob(), reader.number("B"), reader.number("H")
        must(path and all(part not in (b"", b".", b"..") for part in path.split(b"/")) and 0 not in path, "a path")
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
        return entry


def write(store, snapshot, out):
    database, uploads = snapshot.get("database"), snapshot.get("uploads")
    if database:
        image = store.content(list(store.items(1, bytes.fromhex(database["root"]))))
        must(hashlib.sha256(image).hexdigest() == database["sha256"], "the image")
        (out / "lrl.db").write_bytes(image)
    entries = [entry for _, entry in store.items(2, bytes.fromhex(uploads["list"]))] if uploads else []
    keys = [entry["path"].replace(b"/", b"\0") for entry in entries]
    must(keys == sorted(set(keys)), "the order of entries")
    for entry in entries:
        path, target = os.path.join(os.fsencode(out), entry["path"]), entry.get("target")
        if entry["kind"] == 0:
            os.mkdir(path)
        elif entry["kind"] == 3:
            os.symlink(target, path)
        elif entry["kind"] == 4:
            os.link(os.path.join(os.fsencode(out), target), path)
        else:
            with open(path, "xb") as file:
                file.write(entry["data"])
        if entry["kind"] in (0, 1, 2):
            os.chmod(path, entry["mode"] | 0o700 * (entry["kind"] == 0))
    for entry in reversed(entries):
        nanoseconds = entry["mtime"][0] * 10**9 + entry["mtime"][1]
        os.utime(os.path.join(os.fsencode(out), entry["path"]), ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def main():
    root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    must(blake3(b"abc").hex().startswith("6437b3ac38465133"), "this program's BLAKE3")
    zstd = find_zstd()
    if not zstd:
        print("nothing here unpacks zstd", file=sys.stderr)
        return 77
    store, snapshots = Store(root, zstd), {}
    for path in sorted(root.glob("snapshots/*/*")):
        sequence, _, name = path.name.partition("-")
        text = path.read_bytes()
        snapshot = json.loads(text)
        must(blake3(text).hex() == name and text.endswith(b"}\n") and snapshot["format"] == 1, path)
        must(snapshot["source"] == path.parent.name and f"{snapshot['sequence']:016x}" == sequence, path)
        snapshots[path.parent.name, sequence, name] = snapshot
    out.mkdir()
    write(store, snapshots[max(snapshots)], out)
    deltas = sum(record[2] == 2 for _, _, record in store.places.values())
    print(f"{len(snapshots)} snapshots, {len(store.packs)} packs, {len(store.places)} chunks, {deltas} of them deltas")
    return 0


if __name__ == "__main__":
    sys.exit(main())
