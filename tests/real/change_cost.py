"""What a change costs at a size: first snapshots, one changed row, and what a writer waits meanwhile, lrl beside restic.

    python3 tests/real/change_cost.py target/release/lrl DIR [MIB ...]

makes a database of each size (128 and 2048 MiB if none is named) below DIR, of words that compress to less than a half, in WAL and in rollback mode, and
prints a line for each case: medians of three runs, the longest wait of all runs. Files are in the page cache. Needs free room of four times the
largest size.
"""

import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

ROUNDS = 3


def make(path, mib, mode):
    os.makedirs(os.path.dirname(path))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={mode}")
    database.execute("PRAGMA synchronous=OFF")
    database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT, n INT)")
    dice = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(dice.choices(letters, k=dice.randint(2, 9))) for _ in range(4000)]
    database.execute("BEGIN")
    size = rows = 0
    while size < mib << 20:
        body = " ".join(dice.choices(words, k=150))
        database.execute("INSERT INTO t(body, n) VALUES(?, ?)", (body, rows))
        size, rows = size + len(body) + 20, rows + 1
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return rows


def stored(directory):
    below = (os.path.join(at, name) for at, _, names in os.walk(directory) if "cache" not in at for name in names)
    return sum(os.lstat(path).st_size for path in below)


class Writer(threading.Thread):
    """Commits twenty times a second and keeps how long each commit took."""

    def __init__(self, path, rows):
        super().__init__()
        self.path, self.rows, self.waits, self.ends = path, rows, [], threading.Event()

    def run(self):
        database = sqlite3.connect(self.path, timeout=300, isolation_level=None)
        while not self.ends.is_set():
            began = time.monotonic()
            database.execute("UPDATE t SET n = n + 1 WHERE id = ?", (random.randint(1, self.rows),))
            self.waits.append(time.monotonic() - began)
            time.sleep(0.05)
        database.close()


class Tool:
    def __init__(self, name, site, env):
        self.name, self.site, self.env = name, site, env

    def run(self, *command):
        began = time.monotonic()
        subprocess.run(command, cwd=self.site, env=self.env, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began


class Lrl(Tool):
    def __init__(self, program, site):
        home = os.path.join(site, "home")
        super().__init__("lrl", site, dict(os.environ, HOME=home, LRL_STATE_DIR=os.path.join(home, "state")))
        self.program, self.home, self.store = os.path.abspath(program), home, os.path.join(site, "backups")

    def begin(self):
        for directory in (self.store, self.home):
            shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(self.home)

    def back_up(self):
        return self.run(self.program, "backup", "--snapshot-only", "--quiet", "--data-dir", "data")


class Restic(Tool):
    def __init__(self, site):
        super().__init__("restic", site, dict(os.environ, RESTIC_PASSWORD="benchmark"))
        self.store = os.path.join(site, "restic")

    def begin(self):
        shutil.rmtree(self.store, ignore_errors=True)
        self.run("restic", "init", "--quiet", "--repo", self.store)

    def back_up(self):
        return self.run("restic", "backup", "--quiet", "--repo", self.store, "data")


def measure(tool, path, rows, label):
    first, one, added, waits, during = [], [], [], [], []
    for round_ in range(ROUNDS):
        tool.begin()
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("UPDATE t SET n = n + 1 WHERE id = 1")
        first.append(tool.back_up())
        size = stored(tool.store)
        database.execute("UPDATE t SET n = n + 1 WHERE id = ?", (rows // 2 + round_,))
        one.append(tool.back_up())
        added.append(stored(tool.store) - size)
        database.close()
        tool.begin()
        writer = Writer(path, rows)
        writer.start()
        during.append(tool.back_up())
        writer.ends.set()
        writer.join()
        waits += writer.waits
    waits.sort()
    middle = statistics.median
    print(
        f"{label}, {tool.name}: first {middle(first):.2f} s, {size / 1e6:.0f} MB; one row {middle(one):.3f} s, {middle(added):.0f} B; "
        f"writer beside a first snapshot of {middle(during):.1f} s: p50 {waits[len(waits) // 2] * 1e3:.1f} ms, "
        f"p99 {waits[len(waits) * 99 // 100] * 1e3:.1f} ms, longest {waits[-1] * 1e3:.0f} ms",
        flush=True,
    )


def main():
    program, top = sys.argv[1:3]
    for mib in [int(size) for size in sys.argv[3:]] or [128, 2048]:
        for mode in ("WAL", "DELETE"):
            site = os.path.join(top, f"{mode}-{mib}")
            path = os.path.join(site, "data", "lrl.db")
            rows = make(path, mib, mode)
            os.makedirs(os.path.join(site, "data", "assets"))
            for tool in [Lrl(program, site)] + [Restic(site)] * (shutil.which("restic") is not None):
                measure(tool, path, rows, f"{mib} MiB, {mode}")
            shutil.rmtree(site)


if __name__ == "__main__":
    main()
