#!/usr/bin/env python3
"""Makes the sample lab in examples/lab: a small database with the application's table names, and uploads that its rows fit.

Everything is made here, from nothing but Python; the same script gives the same contents.
Usage: python3 examples/make_lab.py [DIRECTORY]
"""
import hashlib
import pathlib
import shutil
import sqlite3
import struct
import sys
import zlib

SCHEMA = """
CREATE TABLE users (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL, password_hash TEXT NOT NULL,
    status TEXT NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL);
CREATE TABLE role_assignments (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id), role TEXT NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id), token_hash TEXT NOT NULL,
    expires_at DATETIME NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE assets (
    id TEXT PRIMARY KEY, filename_original TEXT NOT NULL, mime_type TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL, storage_path TEXT NOT NULL, visibility TEXT NOT NULL,
    created_by_user_id TEXT NOT NULL REFERENCES users(id), created_at DATETIME NOT NULL);
CREATE TABLE content_items (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, summary TEXT,
    status TEXT NOT NULL, published_at DATETIME, owner_user_id TEXT NOT NULL REFERENCES users(id),
    visibility TEXT NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL);
CREATE TABLE content_blocks (
    id TEXT PRIMARY KEY, content_item_id TEXT NOT NULL REFERENCES content_items(id), block_type TEXT NOT NULL,
    data_json TEXT NOT NULL, position INTEGER NOT NULL);
CREATE TABLE link_groups (id TEXT PRIMARY KEY, title TEXT NOT NULL, position INTEGER NOT NULL);
CREATE TABLE link_items (
    id TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, url TEXT NOT NULL, status TEXT NOT NULL,
    position INTEGER NOT NULL, visibility TEXT NOT NULL, group_id TEXT REFERENCES link_groups(id));
CREATE TABLE audit_events (
    id TEXT PRIMARY KEY, actor_user_id TEXT, action TEXT NOT NULL, target_type TEXT NOT NULL, target_id TEXT NOT NULL,
    meta_json TEXT NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE site_settings (
    id INTEGER PRIMARY KEY CHECK (id = 1), site_title TEXT NOT NULL, site_subtitle TEXT NOT NULL,
    theme TEXT NOT NULL, updated_at DATETIME NOT NULL);
CREATE INDEX content_blocks_by_item ON content_blocks(content_item_id, position);
"""

WORDS = "field notes on small instruments water light moss slow careful measure again each morning before rain".split()


def identifier(kind, number):
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()[:32]


def when(number):
    return f"2026-01-{number % 28 + 1:02d}T{number % 24:02d}:00:00+00:00"


def prose(seed, words):
    state, out = seed * 2654435761 + 1, []
    for _ in range(words):
        state = (state * 1103515245 + 12345) % 2**31
        out.append(WORDS[(state >> 8) % len(WORDS)])
    return " ".join(out).capitalize() + "."


def png(side):
    """A colour gradient as an 8-bit RGB PNG."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // side, y * 255 // side, (x * y) % 256)) for x in range(side)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def pdf(text):
    """One page with one line of text."""
    stream = f"BT /F1 18 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1, table, len(objects) + 1, len(out))


UPLOADS = [
    ("moss.png", "image/png", png(48)),
    ("banner.png", "image/png", png(96)),
    ("protocol.pdf", "application/pdf", pdf("Measuring moss: a protocol for small labs")),
    ("readings.csv", "text/csv", ("day,light,water\n" + "".join(
        f"2026-01-{d:02d},{d * 37 % 101},{d * 53 % 89}\n" for d in range(1, 29))).encode()),
    ("notes.txt", "text/plain", ("\n\n".join(prose(n, 60) for n in range(12)) + "\n").encode()),
    ("Überblick 2026.txt", "text/plain; charset=utf-8", "Ein Überblick über das Jahr. 苔の観察。\n".encode()),
    ("empty.txt", "text/plain", b""),
]


def main():
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "lab"
    shutil.rmtree(target, ignore_errors=True)
    (target / "assets").mkdir(parents=True)
    database = sqlite3.connect(target / "lrl.db")
    database.executescript("PRAGMA foreign_keys = ON; PRAGMA page_size = 4096;" + SCHEMA)

    def add(table, *rows):
        database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    users = [(identifier("user", n), f"{name.lower()}@example.org", name, "argon2id$sample$" + identifier("hash", n), "active",
              when(n), when(n)) for n, name in enumerate(["Ada", "Grace", "Barbara"])]
    add("users", *users)
    add("role_assignments", *[(identifier("role", n), user[0], "owner" if n == 0 else "editor", when(n)) for n, user in enumerate(users)])
    add("sessions", (identifier("session", 0), users[0][0], identifier("token", 0), when(27), when(1)))
    for n, (name, mime, data) in enumerate(UPLOADS):
        asset = identifier("asset", n)
        path = f"{asset}/{name}"
        (target / "assets" / asset).mkdir()
        (target / "assets" / path).write_bytes(data)
        add("assets", (asset, name, mime, len(data), hashlib.sha256(data).hexdigest(), path, "public", users[n % 3][0], when(n)))
    for n in range(24):
        item = identifier("item", n)
        add("content_items", (item, "note" if n % 3 else "article", f"note-{n}", prose(n, 5), prose(n + 50, 14),
                              "published" if n % 4 else "draft", when(n) if n % 4 else None, users[n % 3][0], "public",
                              when(n), when(n + 1)))
        add("content_blocks", *[(identifier(f"block {n}", b), item, "markdown", '{"text": "%s"}' % prose(n * 10 + b, 80), b)
                                for b in range(4)])
    add("link_groups", (identifier("group", 0), "Elsewhere", 0))
    add("link_items", *[(identifier("link", n), slug, slug.title(), f"https://example.org/{slug}", "active", n, "public",
                         identifier("group", 0)) for n, slug in enumerate(["garden", "instruments", "letters"])])
    add("audit_events", *[(identifier("audit", n), users[0][0], "content.publish", "content", identifier("item", n), "{}", when(n))
                          for n in range(10)])
    add("site_settings", (1, "Little Research Lab", "A sample for lrl", "system", when(0)))
    database.commit()
    database.execute("VACUUM")
    database.close()


if __name__ == "__main__":
    main()
