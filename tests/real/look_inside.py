#!/usr/bin/env python3
"""Looks inside real databases with every verb that does, and compares each answer with what SQLite says of the database itself.

    python3 -m venv v && v/bin/pip install anki
    v/bin/python tests/real/look_inside.py --lrl target/release/lrl [--chinook FILE] [--only NAME …]

`chinook` is the sample database Chinook_Sqlite.sqlite of github.com/lerocha/chinook-database, given by --chinook; `chromium` the profile that Debian's
chromium makes; `anki` a collection, by the package of that name; `lab` the sample lab, made by examples/make_lab.py. What is not there is skipped with
a note.

Each site is backed up, every table of each of its databases is changed (rows deleted, updated, a table dropped, another made), and it is backed up
again. Then: `sql` and `rows` count what is there; `diff --rows` counts what differs, as multisets of rows; `diff --sql`, applied to either state, gives
the other by `.dump`; `dump --table` as SQL, CSV and SQLite has the table's rows; `restore --table` puts the older rows into the live database, and
--undo makes it by `.dump` what it was; nothing that only looks changes a byte. Of the lab rows and their files come back beside a writer that never
pauses, and go again. Prints a line for each database; ends with 1 if anything is not so.
"""
import argparse, collections, csv, hashlib, io, json, os, shutil, sqlite3, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))

def unicase(a, b):
    return (a.lower() > b.lower()) - (a.lower() < b.lower())

def connect(path):
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    db.create_collation("unicase", unicase)
    # What a database says is not always UTF-8.
    db.text_factory = lambda bytes: bytes.decode("utf-8", "surrogateescape")
    return db

def quoted(name):
    return '"' + name.replace('"', '""') + '"'

def dump(path):
    db = connect(path)
    lines = sorted(db.iterdump())
    db.close()
    return lines

def tables(db):
    """Names of ordinary tables, and whether each has no rowid."""
    found = db.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return {name: bool(wr) for name, wr in sorted(found)}

def stored(db, table):
    return [(row[1], row[5]) for row in db.execute(f"PRAGMA table_xinfo({quoted(table)})") if row[6] == 0]

def rows(db, table):
    # quote() ends a text at its first NUL.
    columns = ", ".join(f"iif(typeof({quoted(name)}) = 'text', hex({quoted(name)}), quote({quoted(name)}))" for name, _ in stored(db, table))
    return collections.Counter(db.execute(f"SELECT {columns} FROM {quoted(table)}"))

def change(path):
    """Changes every table; drops one, makes another."""
    db = connect(path)
    skipped = 0
    for table, without_rowid in tables(db).items():
        key = ", ".join(quoted(name) for name, at in stored(db, table) if at) if without_rowid else "rowid"
        is_picked = f"({key}) IN (SELECT {key} FROM {quoted(table)} ORDER BY {key} LIMIT (SELECT (count(*) + 6) / 7 FROM {quoted(table)})"
        others = [name for name, at in stored(db, table) if not at]
        try:
            db.execute(f"DELETE FROM {quoted(table)} WHERE {is_picked})")
            for name in others[-1:]:
                name = quoted(name)
                db.execute(f"UPDATE {quoted(table)} SET {name} = CASE typeof({name}) WHEN 'integer' THEN {name} + 1 WHEN 'real' THEN {name} / 3"
                           f" WHEN 'null' THEN 'it''s' || char(10) || 'ü' WHEN 'text' THEN {name} || '''ü' ELSE CAST({name} || x'00ff' AS BLOB) END WHERE {is_picked} OFFSET 3)")
        except (sqlite3.IntegrityError, sqlite3.OperationalError):
            skipped += 1
    used = " ".join(sql or "" for sql, in db.execute("SELECT sql FROM sqlite_schema WHERE type IN ('view', 'trigger')"))
    dropped = next((name for name in tables(db) if name not in used), None)
    dropped and db.execute(f"DROP TABLE {quoted(dropped)}")
    db.execute("CREATE TABLE \"made since\"(k PRIMARY KEY, \"a \"\"b\"\"\", c AS (k || 1)) WITHOUT ROWID")
    db.executemany("INSERT INTO \"made since\" VALUES(?, ?)", [(1, None), ("one", "it's"), (1.5, b"\0\xff"), (b"one", "\n\0ü")])
    db.close()
    return dropped, skipped

class Site:
    def __init__(self, lrl, place, root="site"):
        self.lrl, self.place, self.root = lrl, place, os.path.join(place, root)
        self.words = ["--source", "looked", "--root", root]
        self.environment = {**os.environ, "LRL_STATE_DIR": os.path.join(place, "state")}

    def call(self, *words, codes=(0,), stdin=None):
        done = subprocess.run([self.lrl, *words], cwd=self.place, env=self.environment, capture_output=True, input=stdin)
        if done.returncode not in codes:
            raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout[-500:]}{done.stderr.decode()}")
        return done

    def backup(self):
        self.call("backup", *self.words, "--snapshot-only", "--json")
        return json.loads(self.call("snapshots", "--json", "--source", "looked").stdout)["snapshots"][-1]

    def json(self, *words, codes=(0,)):
        return json.loads(self.call(*words, "--json", codes=codes).stdout)

def bytes_of(root):
    found = {}
    for directory, below, names in os.walk(root):
        # What an undo keeps aside is lrl's own.
        below[:] = [name for name in below if not name.endswith((".undone", ".pre-restore"))]
        for name in names:
            # A reader's marks in a -shm are no data.
            if not name.endswith(("-shm", ".undone", ".pre-restore")) and not name.startswith(".lrl"):
                with open(os.path.join(directory, name), "rb") as file:
                    found[os.path.relpath(os.path.join(directory, name), root)] = hashlib.sha256(file.read()).hexdigest()
    return found

def look(site, name, old, new, path, dropped):
    """Every verb that only reads; returns what was left out because the application's own collation or function is needed."""
    source, database = ["--source", "looked"], ["--database", path]
    images = {}
    for which, snapshot in (("old", old), ("new", new)):
        images[which] = os.path.join(site.place, f"{which}.sqlite")
        with open(images[which], "wb") as file:
            file.write(site.call("dump", snapshot["id"], path, *source).stdout)
    dbs = {which: connect(image) for which, image in images.items()}
    # sql, in three forms
    query = "SELECT count(*) AS n, 'it''s', NULL, x'00' FROM sqlite_schema"
    expected = dbs["old"].execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    assert site.json("sql", old["id"], query, *source, *database)["rows"][0][0] == expected, "sql --json"
    assert list(csv.reader(io.StringIO(site.call("sql", old["id"], "-", "--csv", *source, *database, stdin=query.encode()).stdout.decode())))[1][0] == str(expected), "sql --csv"
    assert str(expected) in site.call("sql", old["id"], query, *source, *database).stdout.decode(), "sql"
    for statement in ("DELETE FROM sqlite_schema", "ATTACH 'other.db' AS other", "PRAGMA journal_mode=DELETE", "SELECT load_extension('x')"):
        site.call("sql", old["id"], statement, *source, *database, codes=(1, 2))
    # rows
    counted = {one["id"]: one["rows"] for one in site.json("rows", "--last", "1000", *source, *database)["snapshots"]}
    for which, snapshot in (("old", old), ("new", new)):
        # Where the application's collation is needed to count, nothing is told.
        own = {table: dbs[which].execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0] for table in tables(dbs[which])}
        told = {table: count for table, count in counted[snapshot["id"]].items() if table in own}
        uncounted = {table for table, count in told.items() if count is None}
        own, told = ({table: count for table, count in one.items() if table not in uncounted} for one in (own, told))
        assert told == own, f"rows: {[(t, told.get(t), own[t]) for t in own if told.get(t) != own[t]]}"
    # diff --rows
    document = site.json("diff", old["id"], new["id"], "--rows", *source, *database, codes=(0, 3))
    both = [table for table in tables(dbs["old"]) if table in tables(dbs["new"])]
    told = {one["table"]: one for one in document["tables"]}
    for table in both:
        before, after = rows(dbs["old"], table), rows(dbs["new"], table)
        one = told.get(table, {})
        if "removed" in one:
            found = one["removed"] + one["changed"], one["added"] + one["changed"]
            assert found == ((before - after).total(), (after - before).total()), f"diff of {table}: {one}"
        else:
            # Its own order is that of a collation that only the application has.
            assert before == after or one or any(table in str(one) for one in document["left_out"]), f"diff: {table} is not there"
    # diff --sql, there and back
    complete = True
    for here, there, words in (("old", "new", (old, new)), ("new", "old", (new, old))):
        done = site.call("diff", words[0]["id"], words[1]["id"], "--rows", "--sql", *source, *database, codes=(0, 3))
        if done.returncode == 3:
            complete = False
            continue
        copy = os.path.join(site.place, "copy.sqlite")
        shutil.copy(images[here], copy)
        script = connect(copy)
        script.executescript(done.stdout.decode("utf-8", "surrogateescape"))
        script.close()
        assert dump(copy) == dump(images[there]), f"diff --sql: {sorted(set(dump(copy)) ^ set(dump(images[there])))[:4]}"
    # dump --table, in three forms
    refused = []
    for table in tables(dbs["old"]):
        expected = rows(dbs["old"], table)
        done = site.call("dump", old["id"], "--table", table, *source, *database, codes=(0, 1, 3))
        if done.returncode == 0:
            made = connect(":memory:")
            made.executescript(done.stdout.decode("utf-8", "surrogateescape"))
            assert rows(made, table) == expected, f"dump --table {table}"
        else:
            refused.append((table, done.stderr.decode().strip()))
        text = site.call("dump", old["id"], "--table", table, "--csv", *source, *database).stdout.decode("utf-8", "surrogateescape")
        csv.field_size_limit(1 << 30)
        # One column that is NULL is an empty line, which Python's reader skips.
        is_counted = len(stored(dbs["old"], table)) > 1 and "\0" not in text
        assert not is_counted or sum(1 for _ in csv.reader(io.StringIO(text, newline=""))) == expected.total() + 1, f"dump --table {table} --csv"
        into = os.path.join(site.place, "into.sqlite")
        site.call("dump", old["id"], "--table", table, "--into", into, *source, *database)
        small = connect(into)
        assert rows(small, table) == expected, f"dump --table {table} --into"
        small.close()
        os.remove(into)
    for db in dbs.values():
        db.close()
    return document["left_out"], complete, refused, both

def put_back(site, old, path, both, dropped):
    """restore --table of each table, and --undo; returns what was refused."""
    live, refused = os.path.join(site.root, path), {}
    image = connect(os.path.join(site.place, "old.sqlite"))
    wanted = [table for table in both if image.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1").fetchone()][:12]
    done = 0
    for table in [*wanted, *([dropped] if dropped else [])]:
        before = dump(live)
        words = ["restore", old["id"], "--table", table, *site.words, "--database", path]
        has_key = site.json(*words, "--dry-run", codes=(0, 1)).get("plan", {}).get("key")
        run = site.call(*words, *(["--replace"] if has_key and table != dropped else []), codes=(0, 1))
        if run.returncode:
            refused[table] = run.stderr.decode().strip().replace("\n", " ")
            assert dump(live) == before, f"a restore of {table} that was refused changed something"
            continue
        db = connect(live)
        assert not rows(image, table) - rows(db, table), f"restore --table {table}: not all rows are there"
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], f"restore --table {table}: integrity_check"
        db.close()
        undone = site.call("restore", "--undo", *site.words, codes=(0, 1))
        if b"had nothing to do" in undone.stderr or b"nothing to undo" in undone.stderr:
            assert dump(live) == before
            continue
        assert undone.returncode == 0, f"--undo of {table}: {undone.stderr.decode()}"
        assert dump(live) == before, f"restore --table {table}, --undo: {sorted(set(dump(live)) ^ set(before))[:4]}"
        done += 1
    image.close()
    return done, refused

def try_site(lrl, name, make):
    place = tempfile.mkdtemp(prefix="lrl-look-")
    site = Site(lrl, place)
    os.mkdir(site.root)
    make(site.root)
    old = site.backup()
    changed = {}
    for part in old["databases"]:
        changed[part["path"]] = change(os.path.join(site.root, part["path"]))
    time.sleep(1.1)
    new = site.backup()
    assert {part["path"] for part in new["databases"]} == set(changed)
    for path, (dropped, skipped) in changed.items():
        before = bytes_of(site.root)
        left_out, complete, refused_dumps, both = look(site, name, old, new, path, dropped)
        assert bytes_of(site.root) == before, f"{path}: looking has changed something"
        done, refused = put_back(site, old, path, both, dropped)
        print(f"{name}: {path}: {len(both)} tables in both states; {done} restored and undone"
              + (f"; {skipped} not changed here" if skipped else "")
              + ("" if complete else f"; diff --sql needs the application (exit 3); left out: {left_out}"), flush=True)
        for table, why in [*refused.items(), *refused_dumps]:
            print(f"    {table}: {why[:200]}", flush=True)
    shutil.rmtree(place)

def lab(lrl):
    """Rows and their files of a running application."""
    place = tempfile.mkdtemp(prefix="lrl-look-")
    site = Site(lrl, place)
    site.words = ["--source", "looked", "--data-dir", "site"]
    subprocess.run([sys.executable, os.path.join(HERE, "../../examples/make_lab.py"), site.root], check=True, stdout=subprocess.DEVNULL)
    live = os.path.join(site.root, "lrl.db")
    old = site.backup()
    db = connect(live)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE busy(n INTEGER PRIMARY KEY)")
    whole, files = rows(db, "assets"), bytes_of(os.path.join(site.root, "assets"))
    stop, written = threading.Event(), [0]
    def write():
        own = connect(live)
        while not stop.is_set():
            own.execute("INSERT INTO busy DEFAULT VALUES")
            written[0] += 1
            time.sleep(0.002)
        own.close()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        db.execute("DROP TABLE assets")
        shutil.rmtree(os.path.join(site.root, "assets"))
        os.mkdir(os.path.join(site.root, "assets"))
        words = ["restore", old["id"], "--table", "assets", "--data-dir", "site", "--source", "looked"]
        site.call(*words)
        assert rows(db, "assets") == whole, "the rows are not back"
        back = bytes_of(os.path.join(site.root, "assets"))
        named = {path for path, in db.execute("SELECT storage_path FROM assets")}
        assert back and all(files[path] == digest for path, digest in back.items()), "the files are not back"
        assert named >= set(back) and len(back) == len(named & set(files)), f"{sorted(named ^ set(back))[:5]}"
        for there in (False, True, False):
            site.call("restore", "--undo", "--data-dir", "site", "--source", "looked")
            assert ("assets" in tables(db)) == there, "--undo: the table"
            assert bool(bytes_of(os.path.join(site.root, "assets"))) == there, "--undo: the files"
    finally:
        stop.set()
        writer.join()
    assert db.execute("SELECT count(*) FROM busy").fetchone()[0] == written[0], "something that the application wrote is lost"
    db.close()
    print(f"lab: assets dropped, {len(back)} files deleted; all back beside {written[0]} writes, undone, redone, undone", flush=True)
    shutil.rmtree(place)

def make_chinook(file):
    return lambda root: shutil.copy(file, os.path.join(root, "chinook.sqlite"))

def make_chromium(root):
    page = os.path.join(root, "page.html")
    with open(page, "w") as file:
        file.write("<title>a page</title><form><input name=q value=words></form>")
    for number in range(3):
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=2000", "--dump-dom",
                        f"--user-data-dir={root}/profile", f"file://{page}?{number}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
    for name in os.listdir(os.path.join(root, "profile")):
        # A lock of the browser is a link that leads nowhere.
        name.startswith("Singleton") and os.remove(os.path.join(root, "profile", name))

def make_anki(root):
    from anki.collection import Collection
    col = Collection(os.path.join(root, "collection.anki2"))
    for number in range(50):
        note = col.new_note(col.models.by_name("Basic"))
        note["Front"], note["Back"] = f"question {number}", col.media.write_data(f"picture-{number}.txt", os.urandom(500))
        note.tags = ["Tag", f"tag{number % 5}"]
        col.add_note(note, 1)
    col.close()

def make_lab(root):
    os.rmdir(root)
    subprocess.run([sys.executable, os.path.join(HERE, "../../examples/make_lab.py"), root], check=True, stdout=subprocess.DEVNULL)

def has_anki():
    try:
        import anki
        return True
    except ImportError:
        return False

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lrl", required=True)
    parser.add_argument("--chinook")
    parser.add_argument("--only", nargs="*", default=["chinook", "chromium", "anki", "lab"])
    arguments = parser.parse_args()
    lrl, failed = os.path.abspath(arguments.lrl), 0
    ways = {
        "chinook": (arguments.chinook, "--chinook is not given", lambda: try_site(lrl, "chinook", make_chinook(arguments.chinook))),
        "chromium": (shutil.which("chromium"), "there is no chromium", lambda: try_site(lrl, "chromium", make_chromium)),
        "anki": (has_anki(), "Python has no package anki", lambda: try_site(lrl, "anki", make_anki)),
        "lab": (True, "", lambda: (try_site(lrl, "lab", make_lab), lab(lrl))),
    }
    for name in arguments.only:
        is_there, why, way = ways[name]
        if not is_there:
            print(f"{name}: skipped: {why}", flush=True)
            continue
        try:
            way()
        except Exception as error:
            failed += 1
            print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
    sys.exit(bool(failed))
