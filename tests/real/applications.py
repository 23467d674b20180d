#!/usr/bin/env python3
"""Backs up what real applications write, while they write it, and restores every snapshot.

    python3 -m venv v && v/bin/pip install anki buku django ipython datasette sqlite-utils nbformat diskcache beets coverage huey
    v/bin/python tests/real/applications.py --lrl target/release/lrl [--rounds 20] [--only NAME …]

Each application's own code makes a site in a directory, then a process of its own changes it without a pause while `lrl backup --root` runs
--rounds times. Every snapshot is restored elsewhere: each of its databases passes SQLite's integrity check where Python's SQLite knows its
collations, and holds as many rows of the application as it had committed when the backup began, up to as many as when it ended; every file
that was complete before the backup is there with its bytes. At the end, with the writer stopped, the last snapshot is drilled, and equals the
site by `.dump` and by file. Prints one line for each application; ends with 1 if one failed.
"""
import argparse, hashlib, json, os, shutil, sqlite3, subprocess, sys, tempfile, time

APPS = {}

def app(rows, name=None):
    """Registers a writer: a generator that makes the site in a directory and then one change at each step. `rows` is the query that counts them."""
    def register(function):
        APPS[name or function.__name__] = (rows, function)
        return function
    return register

@app(("collection.anki2", "SELECT count(*) FROM notes"))
def anki(root):
    from anki.collection import Collection
    Collection(os.path.join(root, "collection.anki2")).close()
    yield
    while True:
        # An open collection is locked for everybody else, readers too: a backup waits until it is closed.
        col = Collection(os.path.join(root, "collection.anki2"))
        note = col.new_note(col.models.by_name("Basic"))
        note["Front"] = f"question {time.time_ns()}"
        note["Back"] = col.media.write_data(f"picture-{time.time_ns()}.txt", os.urandom(500))
        col.add_note(note, 1)
        col.close()
        yield

@app(("bookmarks.db", "SELECT count(*) FROM bookmarks"))
def buku(root):
    from buku import BukuDb
    db = BukuDb(dbfile=os.path.join(root, "bookmarks.db"))
    yield
    while True:
        db.add_rec(f"https://example.org/{time.time_ns()}", title_in="t", tags_in=",a,", fetch=False)
        yield

@app(("db.sqlite3", "SELECT count(*) FROM auth_user"))
def django(root):
    import django
    from django.conf import settings
    settings.configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"], MEDIA_ROOT=os.path.join(root, "media"),
                       DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(root, "db.sqlite3")}}, SECRET_KEY="x")
    django.setup()
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User
    yield
    while True:
        name = default_storage.save(f"uploads/{time.time_ns()}.bin", ContentFile(os.urandom(3000)))
        User.objects.create(username=str(time.time_ns()), last_name=name[-30:])
        yield

@app(("history.sqlite", "SELECT count(*) FROM history"))
def ipython(root):
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config
    shell = InteractiveShell(config=Config(HistoryManager={"hist_file": os.path.join(root, "history.sqlite"), "db_cache_size": 0}))
    yield
    while True:
        shell.history_manager.store_inputs(shell.execution_count, "1 + 1")
        shell.execution_count += 1
        shell.history_manager.writeout_cache()
        yield

@app(("content.db", "SELECT count(*) FROM pages"))
def datasette(root):
    import sqlite_utils
    db = sqlite_utils.Database(os.path.join(root, "content.db"))
    db.enable_wal()
    db["pages"].insert({"id": 0, "title": "first", "body": "words"}, pk="id")
    db["pages"].enable_fts(["title", "body"], create_triggers=True)
    with open(os.path.join(root, "metadata.json"), "w") as file:
        json.dump({"title": "pages"}, file)
    subprocess.run([sys.executable, "-m", "datasette", "inspect", os.path.join(root, "content.db"), "--inspect-file", os.path.join(root, "counts.json")],
                   check=True, stdout=subprocess.DEVNULL)
    number = 0
    yield
    while True:
        number += 1
        with db.conn:
            db.conn.execute("INSERT INTO pages VALUES (?, 'a title', 'some words')", (number,))
        yield

@app(("nbsignatures.db", "SELECT count(*) FROM nbsignatures"))
def jupyter(root):
    import nbformat
    from nbformat.sign import NotebookNotary
    notary = NotebookNotary(db_file=os.path.join(root, "nbsignatures.db"), secret_file=os.path.join(root, "notebook_secret"))
    yield
    while True:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"{time.time_ns()}")])
        nbformat.write(notebook, os.path.join(root, f"{time.time_ns()}.ipynb"))
        notary.sign(notebook)
        yield

@app(("cache.db", "SELECT count(*) FROM Cache"))
def diskcache(root):
    import diskcache
    cache = diskcache.Cache(root, eviction_policy="none")
    yield
    while True:
        cache[str(time.time_ns())] = os.urandom(40000)
        yield

@app(("musiclibrary.db", "SELECT count(*) FROM items"))
def beets(root):
    from beets.library import Item, Library
    library = Library(os.path.join(root, "musiclibrary.db"), os.path.join(root, "Music"))
    yield
    while True:
        library.add(Item(title=f"song {time.time_ns()}", artist="a", path=os.path.join(root, "Music/a.mp3").encode()))
        yield

@app((".coverage", "SELECT count(*) FROM line_bits"))
def coverage(root):
    from coverage import CoverageData
    number = 0
    yield
    while True:
        number += 1
        data = CoverageData(basename=os.path.join(root, ".coverage"))
        data.read() if os.path.exists(os.path.join(root, ".coverage")) else None
        data.add_lines({os.path.join(root, f"module{number}.py"): [1, 2, number]})
        data.write()
        data.close()
        yield

@app(("tasks.db", "SELECT count(*) FROM task"))
def huey(root):
    from huey import SqliteHuey
    queue = SqliteHuey("site", filename=os.path.join(root, "tasks.db"))
    task = queue.task()(lambda number: number)
    yield
    while True:
        task(1)
        yield

def write(name, root, ready):
    """The writer's process: one line on standard output, the number of its changes so far, after each."""
    for number, _ in enumerate(APPS[name][1](root)):
        with open(ready + ".new", "w") as file:
            file.write(str(number))
        os.rename(ready + ".new", ready)
        time.sleep(0.002)

def count(path, query):
    # The rows that the application counts as its own; a coverage file has none before the first.
    if not os.path.exists(path):
        return 0
    db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return db.execute(query).fetchone()[0]
    finally:
        db.close()

def integrity(path):
    db = sqlite3.connect(path)
    db.create_collation("unicase", lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()))
    result = db.execute("PRAGMA integrity_check").fetchall()
    db.close()
    assert result == [("ok",)], f"{path}: {result[:3]}"

def is_database(path):
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"

def files(root):
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            shown = os.path.relpath(path, root)
            if shown.startswith(".lrl") or name.endswith(("-wal", "-shm", "-journal")):
                continue
            if is_database(path):
                db = sqlite3.connect(path)
                db.create_collation("unicase", lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()))
                found[shown] = "\n".join(db.iterdump())
                db.close()
            else:
                with open(path, "rb") as file:
                    found[shown] = hashlib.sha256(file.read()).hexdigest()
    return found

def run(lrl, name, rounds):
    (database, query), _ = APPS[name]
    place = tempfile.mkdtemp(prefix="lrl-real-")
    root, ready = os.path.join(place, "site"), os.path.join(place, "ready")
    os.mkdir(root)
    environment = {**os.environ, "LRL_STATE_DIR": os.path.join(place, "state")}
    def call(*words):
        done = subprocess.run([lrl, *words], cwd=place, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done
    done = lambda: int(open(ready).read())
    writer = subprocess.Popen([sys.executable, __file__, "--write", name, root, ready])
    try:
        while not os.path.exists(ready):
            assert writer.poll() is None, "the writer ended"
            time.sleep(0.01)
        first = count_live(os.path.join(root, database), query) - done()
        bounds, slowest = [], 0
        for _ in range(rounds):
            before, began = done(), time.time()
            call("backup", "--root", "site", "--snapshot-only")
            slowest = max(slowest, time.time() - began)
            bounds.append((before, done() + 1))
            assert writer.poll() is None, "the writer ended"
    finally:
        writer.kill()
        writer.wait()
    call("backup", "--root", "site", "--snapshot-only")
    snapshots = json.loads(call("snapshots", "--json", "--source", "site").stdout)["snapshots"]
    assert len(snapshots) == rounds + 1
    for snapshot, (low, high) in zip(snapshots, bounds):
        shutil.rmtree(os.path.join(place, "back"), ignore_errors=True)
        call("restore", snapshot["id"], "--source", "site", "--target", "back", "--force")
        rows = count(os.path.join(place, "back", database), query) - first
        # One more may have been committed and not yet been counted by the writer.
        assert low - 1 <= rows <= high + 1, f"{rows} rows, committed were {low} to {high}"
        for part in snapshot["databases"]:
            integrity(os.path.join(place, "back", part["path"]))
    call("drill", "--snapshot", "latest", "--source", "site")
    shutil.rmtree(os.path.join(place, "back"))
    call("restore", "latest", "--source", "site", "--target", "back")
    live, back = files(root), files(os.path.join(place, "back"))
    assert live == back, f"differ: {[path for path in live.keys() | back.keys() if live.get(path) != back.get(path)][:5]}"
    databases = len(snapshots[-1]["databases"])
    print(f"{name}: {rounds} snapshots while {bounds[-1][1]} changes were made, {databases} databases, {len(live) - databases} files; "
          f"the slowest backup took {slowest * 1000:.0f} ms", flush=True)
    shutil.rmtree(place)

def count_live(path, query):
    if not os.path.exists(path):
        return 0
    db = sqlite3.connect(path, timeout=30)
    try:
        return db.execute(query).fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        db.close()

if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(*sys.argv[2:5])
    parser = argparse.ArgumentParser()
    parser.add_argument("--lrl", required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(APPS))
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.only:
        try:
            run(os.path.abspath(arguments.lrl), name, arguments.rounds)
        except Exception as error:
            failed += 1
            print(f"{name}: FAILED: {error}", flush=True)
    sys.exit(bool(failed))
