#!/usr/bin/env python3
"""Backs a lab up while it is written to, restores every snapshot, and compares each with what the writer had committed.

    live_writer.py --lrl target/release/lrl --migrations PATH/migrations [--rounds 20] [--wal] [--uploads DIR …]

The database is made by the application's own migrations (a checkout of it is named by --migrations), or without them by
examples/make_lab.py's schema. A writer commits ten times a second: an event, a changed title, now and then an upload with its row.
Each restored database must hold exactly the events 1…n, the title of event n, and a file for every row, where n lies between
what was committed before the backup began and what was committed when it ended.
"""
import argparse, glob, hashlib, json, os, random, shutil, sqlite3, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))

def connect(data):
    con = sqlite3.connect(os.path.join(data, "lrl.db"), timeout=30, isolation_level=None)
    con.execute("PRAGMA foreign_keys=ON")
    return con

def make(data, migrations, wal):
    os.makedirs(os.path.join(data, "assets"))
    if not migrations:
        shutil.rmtree(data)
        shutil.copytree(os.path.join(HERE, "../../examples/lab"), data)
    con = connect(data)
    if wal:
        con.execute("PRAGMA journal_mode=WAL")
    for path in sorted(glob.glob(os.path.join(migrations, "*.sql"))) if migrations else []:
        con.executescript(open(path).read().split("-- Down")[0])
    columns = {t: [r[1:4] for r in con.execute(f"PRAGMA table_info({t})")] for t in ("users", "content_items", "audit_events", "assets")}
    return con, columns

def row(con, columns, table, **values):
    """Inserts a row, filling NOT NULL columns that are not given."""
    known = {"status": "published" if table == "content_items" else "active", "visibility": "public", "tier": "free"}
    for name, kind, required in columns[table]:
        if name not in values and required:
            values[name] = known.get(name, 0 if "INT" in kind.upper() else f"{name}-{values.get('id')}")
    values = {k: v for k, v in values.items() if k in [c[0] for c in columns[table]]}
    con.execute(f"INSERT INTO {table}({','.join(values)}) VALUES({','.join('?' * len(values))})", list(values.values()))

def write(data, migrations, wal, files, log):
    """The application: ten commits a second until it is killed."""
    con, columns = make(data, migrations, wal)
    rng = random.Random(7)
    con.execute("BEGIN")
    row(con, columns, "users", id="u", email="u@example.org")
    for i in range(3000):
        row(con, columns, "content_items", id=f"c{i}", slug=f"slug-{i}", title="event 0", summary="lorem ipsum " * 150, owner_user_id="u")
    con.execute("COMMIT")
    n = 0
    while True:
        n += 1
        upload = None
        if n % 5 == 0 and files:
            # A file is stored before its row names it, as the application does.
            content = open(rng.choice(files), "rb").read() + str(n).encode()
            upload = f"{n:06d}/v1.bin"
            os.makedirs(os.path.join(data, "assets", f"{n:06d}"))
            with open(os.path.join(data, "assets", upload), "wb") as out:
                out.write(content)
        con.execute("BEGIN IMMEDIATE")
        row(con, columns, "audit_events", id=f"event-{n}", action="write", target_id=str(n))
        con.execute("UPDATE content_items SET title=? WHERE id IN (?,?)", (f"event {n}", "c0", f"c{rng.randrange(1, 3000)}"))
        if upload:
            row(con, columns, "assets", id=f"a{n}", filename_original="v1.bin", size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(), storage_path=upload, created_by_user_id="u")
        con.execute("COMMIT")
        with open(log, "a") as out:
            out.write(f"{n}\n")
        time.sleep(0.1)

def committed(log):
    return int(open(log).read().split()[-1]) if os.path.exists(log) and os.path.getsize(log) else 0

def check(out, low, high):
    con = sqlite3.connect(f"file:{out}/lrl.db?immutable=1", uri=True)
    assert con.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    events = sorted(int(i.split("-")[1]) for (i,) in con.execute("SELECT id FROM audit_events WHERE id LIKE 'event-%'"))
    n = len(events)
    assert events == list(range(1, n + 1)), "a hole in the events"
    # The log line is written just after the commit: one commit may be ahead of it.
    assert low <= n <= high + 1, f"{n} events, expected {low} to {high}"
    assert con.execute("SELECT title FROM content_items WHERE id='c0'").fetchone() == (f"event {n}",)
    for path, size, digest in con.execute("SELECT storage_path,size_bytes,sha256 FROM assets WHERE id GLOB 'a[0-9]*' AND filename_original='v1.bin'"):
        content = open(os.path.join(out, "assets", path), "rb").read()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest), path
    return n

def main():
    p = argparse.ArgumentParser()
    p.add_argument("--lrl", default="target/release/lrl"); p.add_argument("--migrations"); p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--wal", action="store_true"); p.add_argument("--uploads", nargs="*", default=[]); p.add_argument("--pause", type=float, default=0.5)
    p.add_argument("--as-writer")
    a = p.parse_args()
    files = [f for d in a.uploads for r, _, fs in os.walk(d) for f in (os.path.join(r, x) for x in fs)
             if os.path.isfile(f) and not os.path.islink(f) and 2000 < os.path.getsize(f) < 3_000_000]
    if a.as_writer:
        return write(a.as_writer + "/data", a.migrations, a.wal, sorted(files), a.as_writer + "/log")
    lrl = os.path.abspath(a.lrl)
    work = tempfile.mkdtemp(prefix="lrl-live-")
    env = {k: v for k, v in os.environ.items() if k not in ("LAB_DATA_DIR", "STORAGE_PATH", "LRL_STORE")}
    writer = subprocess.Popen([sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--as-writer", work])
    try:
        while committed(work + "/log") < 3:
            assert writer.poll() is None, "the writer died"
            time.sleep(0.1)
        states = []
        for _ in range(a.rounds):
            low = committed(work + "/log")
            r = subprocess.run([lrl, "backup", "--json", "--data-dir", work + "/data", "--out", work + "/backups"], cwd=work, env=env, capture_output=True, text=True)
            assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
            states.append((json.loads(r.stdout)["snapshot"], low, committed(work + "/log")))
            time.sleep(a.pause)
        assert writer.poll() is None, "the writer died"
        r = subprocess.run([lrl, "drill", "--backup", work + "/backups"], cwd=work, env=env, capture_output=True, text=True)
        assert r.returncode == 0, (r.stdout, r.stderr)
    finally:
        writer.kill(); writer.wait()
    for i, (snapshot, low, high) in enumerate(states):
        out = f"{work}/restored-{i}"
        r = subprocess.run([lrl, "restore", snapshot, "--backup", work + "/backups", "--data-dir", out], cwd=work, env=env, capture_output=True, text=True)
        assert r.returncode == 0, (r.stdout, r.stderr)
        print(f"snapshot {snapshot[:8]}: {check(out, low, high)} events, between {low} and {high}")
        shutil.rmtree(out)
    shutil.rmtree(work)
    print(f"{len(states)} passed, 0 failed")

main()
