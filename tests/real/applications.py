#!/usr/bin/env python3
"""Backs up what real applications write, while they write it, and restores every snapshot.

    python3 -m venv v && v/bin/pip install anki buku django ipython datasette sqlite-utils nbformat diskcache beets coverage huey radicale
    v/bin/python tests/real/applications.py --lrl target/release/lrl [--rounds 20] [--only NAME …]

Each application's own code makes a site in a directory, then a process of its own changes it. In each of --rounds rounds two backups are made: one
while it changes the site without a pause, one while it holds still between two changes. At the end every snapshot is restored elsewhere. Those of
the first kind: each database passes SQLite's integrity check where Python's SQLite knows its collations, and holds as many rows of the application
as it had committed when the backup began, up to as many as when it ended. Those of the second kind equal the site of that moment by `.dump` and by
file. With the writer stopped the last snapshot is drilled: where rows name files, each of them is looked for with its size and digest. An application
that is not there is skipped with a note: `fossil` and `chromium` are Debian's; `rails` needs its ruby-rails and ruby-sqlite3; `paperless` its sources
(--paperless DIR, which has src/; --paperless-python names a Python with the packages of its pyproject.toml, those for language models left out, and
pikepdf and img2pdf) and a Redis on this machine. Prints one line for each application; ends with 1 if one failed.
"""
import argparse, hashlib, json, os, shutil, sqlite3, subprocess, sys, tempfile, time

APPS = {}

# What `lrl.toml` says of an application beside its root: rows that name files.
SETTINGS = {
    "django": """[[check]]\nrows = "SELECT 'media/' || last_name AS path FROM auth_user"\n""",
    "diskcache": """[[check]]\nrows = "SELECT filename AS path, size FROM Cache WHERE filename IS NOT NULL"\n""",
    "rails": 'app = "rails"\n',
    "paperless": 'app = "paperless"\n',
}

# What the presets leave out.
LEFT_OUT = ("data/log/", "media/media.lock")

def app(rows, name=None):
    """Registers a writer: a generator that makes the site in a directory and then one change at each step. `rows` is the query that counts them, or the
    ending of the files that do."""
    def register(function):
        APPS[name or function.__name__] = (rows, function)
        return function
    return register

class Skipped(Exception):
    """What an application needs is not there."""

@app(("collection.anki2", "SELECT count(*) FROM notes"))
def anki(root):
    from anki.collection import Collection
    from anki.errors import DBError
    Collection(os.path.join(root, "collection.anki2")).close()
    yield
    while True:
        # An open collection is locked for everybody else, readers too: a backup waits until it is closed. While it is read Anki does not wait, but says
        # that it is open already.
        try:
            col = Collection(os.path.join(root, "collection.anki2"))
        except DBError:
            time.sleep(0.01)
            continue
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
        User.objects.create(username=str(time.time_ns()), last_name=name)
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

@app((None, ".ics"))
def radicale(root):
    import radicale.item
    from radicale import config, storage
    configuration = config.load()
    configuration.update({"storage": {"filesystem_folder": root}}, "here")
    collections = storage.load(configuration)
    with collections.acquire_lock("w", "somebody"):
        calendar = collections.create_collection("/somebody/calendar/", props={"tag": "VCALENDAR"})
        calendar = calendar[0] if isinstance(calendar, tuple) else calendar
    yield
    while True:
        uid = str(time.time_ns())
        text = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20261128T000000Z\r\nDTSTART:20261128T000000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        with collections.acquire_lock("w", "somebody"):
            calendar.upload(f"{uid}.ics", radicale.item.Item(collection=calendar, text=text))
        yield

@app(("site.fossil", "SELECT count(*) FROM event WHERE type = 'ci'"))
def fossil(root):
    checkout = tempfile.mkdtemp(prefix="lrl-fossil-")
    def call(*words):
        subprocess.run(["fossil", *words], cwd=checkout, env={**os.environ, "FOSSIL_HOME": checkout, "USER": "me"}, check=True, capture_output=True)
    repository = os.path.join(root, "site.fossil")
    call("init", "--admin-user", "me", repository)
    call("open", repository)
    yield
    while True:
        name = f"{time.time_ns()}.txt"
        with open(os.path.join(checkout, name), "wb") as file:
            file.write(os.urandom(3000))
        call("add", name)
        call("commit", "-m", "one more", "--no-warnings")
        yield

@app(("profile/Default/History", "SELECT count(*) FROM urls"))
def chromium(root):
    pages = tempfile.mkdtemp(prefix="lrl-pages-")
    def visit():
        page = os.path.join(pages, f"{time.time_ns()}.html")
        with open(page, "w") as file:
            file.write("<title>a page</title>")
        # It writes while it runs and, what it still holds, as it ends.
        subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={root}/profile", "--dump-dom",
                        f"file://{page}"], check=True, capture_output=True, timeout=120)
    visit()
    yield
    while True:
        visit()
        yield

RAILS = """
require 'rails'
require 'active_record/railtie'
require 'active_storage/engine'
require 'stringio'
ROOT = ARGV[0]
class Site < Rails::Application
  config.load_defaults 6.1
  config.root = ROOT
  config.eager_load = false
  config.secret_key_base = 'x' * 64
  config.logger = Logger.new(File::NULL)
  config.active_storage.service = :local
  config.active_storage.service_configurations = { local: { service: 'Disk', root: File.join(ROOT, 'storage') } }
end
ENV['DATABASE_URL'] = "sqlite3:#{ROOT}/storage/production.sqlite3"
Site.initialize!
ActiveRecord::Base.establish_connection
ActiveRecord::Base.connection.execute('PRAGMA journal_mode=WAL')
ActiveRecord::Migration.verbose = false
ActiveRecord::MigrationContext.new(ActiveStorage::Engine.root.join('db/migrate').to_s, ActiveRecord::SchemaMigration).migrate
STDOUT.sync = true
puts 'ready'
while STDIN.gets
  ActiveStorage::Blob.create_and_upload!(io: StringIO.new(Random.bytes(3000)), filename: 'a.bin', identify: false)
  puts 'done'
end
"""

@app(("storage/production.sqlite3", "SELECT count(*) FROM active_storage_blobs"))
def rails(root):
    os.makedirs(os.path.join(root, "storage"))
    os.makedirs(os.path.join(root, "config"))
    with open(os.path.join(root, "config/master.key"), "w") as file:
        file.write("0123456789abcdef" * 2)
    # It ends with this process, after the step in which it is.
    ruby = subprocess.Popen(["ruby", "-e", RAILS, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert ruby.stdout.readline() == "ready\n", "Rails does not start"
    yield
    while True:
        ruby.stdin.write("\n")
        ruby.stdin.flush()
        assert ruby.stdout.readline() == "done\n", "Rails ended"
        yield

@app(("data/db.sqlite3", "SELECT count(*) FROM documents_document"))
def paperless(root):
    for name, directory in (("DATA_DIR", "data"), ("MEDIA_ROOT", "media"), ("CONSUMPTION_DIR", "consume")):
        os.environ[f"PAPERLESS_{name}"] = os.path.join(root, directory)
        os.makedirs(os.path.join(root, directory))
    os.environ.update(PAPERLESS_SECRET_KEY="x" * 50, DJANGO_SETTINGS_MODULE="paperless.settings")
    source = os.path.join(os.environ["LRL_PAPERLESS"], "src")
    sys.path[0] = source
    os.chdir(source)
    import django
    django.setup()
    from django.core.management import call_command
    from django.db import transaction
    call_command("migrate", verbosity=0)
    from documents.models import Document
    for kind in ("originals", "thumbnails"):
        os.makedirs(os.path.join(root, "media/documents", kind), exist_ok=True)
    yield
    while True:
        # As its consumer: the files are in place before the row is committed.
        original = os.urandom(5000)
        document = Document(title="a letter", content="words", mime_type="application/pdf", filename=f"{time.time_ns()}.pdf",
                            checksum=hashlib.sha256(original).hexdigest())
        document.source_path.write_bytes(original)
        with transaction.atomic():
            document.save()
            document.thumbnail_path.write_bytes(original[:900])
        yield

def find(name, arguments):
    """Returns the Python that runs an application's writer."""
    if name in ("fossil", "chromium") and not shutil.which(name):
        raise Skipped(f"there is no {name}")
    if name == "rails" and (not shutil.which("ruby") or subprocess.run(["ruby", "-e", "require 'rails'; require 'sqlite3'"], capture_output=True).returncode != 0):
        raise Skipped("there is no Ruby with Rails and sqlite3")
    if name != "paperless":
        return sys.executable
    if not arguments.paperless:
        raise Skipped("--paperless is not given")
    os.environ["LRL_PAPERLESS"] = os.path.abspath(arguments.paperless)
    return arguments.paperless_python

def write(name, root, ready):
    """The writer's process: one line on standard output, the number of its changes so far, after each."""
    for number, _ in enumerate(APPS[name][1](root)):
        with open(ready + ".new", "w") as file:
            file.write(str(number))
        os.rename(ready + ".new", ready)
        time.sleep(0.002)
        while os.path.exists(ready + ".pause"):
            open(ready + ".paused", "w").close()
            time.sleep(0.005)

def count(path, query):
    # The rows that the application counts as its own; a coverage file has none before the first.
    if query.startswith("."):
        # Not its caches of them.
        return sum(name.endswith(query) for directory, _, names in os.walk(path) if "/." not in directory for name in names)
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
            if shown.startswith((".lrl", *LEFT_OUT)) or name.endswith(("-wal", "-shm", "-journal")):
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

def at_rest(ready, writer, root, backup):
    """Makes a backup between two changes, and returns what the site was. Threads of the application may still write for a moment."""
    open(ready + ".pause", "w").close()
    try:
        while not os.path.exists(ready + ".paused"):
            assert writer.poll() is None, "the writer ended"
            time.sleep(0.005)
        for _ in range(50):
            before = files(root)
            made = backup()
            if files(root) == before:
                return made, before
        raise AssertionError("the site does not hold still")
    finally:
        os.remove(ready + ".pause")
        # Only a writer that goes on takes no notice of the next pause.
        while os.path.exists(ready + ".paused"):
            time.sleep(0.005)
            try:
                os.remove(ready + ".paused")
            except FileNotFoundError:
                pass

def run(lrl, name, arguments):
    (database, query), _ = APPS[name]
    database, rounds, python = database or "", arguments.rounds, find(name, arguments)
    place = tempfile.mkdtemp(prefix="lrl-real-")
    root, ready = os.path.join(place, "site"), os.path.join(place, "ready")
    os.mkdir(root)
    with open(os.path.join(place, "lrl.toml"), "w") as file:
        file.write(f'root = "site"\nsource = "site"\n{SETTINGS.get(name, "")}')
    environment = {**os.environ, "LRL_STATE_DIR": os.path.join(place, "state")}
    def call(*words):
        done = subprocess.run([lrl, *words], cwd=place, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done
    done = lambda: int(open(ready).read())
    writer = subprocess.Popen([python, os.path.abspath(__file__), "--write", name, root, ready])
    try:
        while not os.path.exists(ready):
            assert writer.poll() is None, "the writer ended"
            time.sleep(0.01)
        first = count_live(os.path.join(root, database), query) - done()
        bounds, states, slowest = {}, {}, 0
        backup = lambda: json.loads(call("backup", "--snapshot-only", "--json").stdout)["snapshot"]
        for _ in range(rounds):
            before, began = done(), time.time()
            made = backup()
            slowest = max(slowest, time.time() - began)
            bounds[made] = (before, done() + 1)
            assert writer.poll() is None, "the writer ended"
            made, state = at_rest(ready, writer, root, backup)
            states[made] = state
    finally:
        writer.kill()
        writer.wait()
    # What it started ends by itself.
    time.sleep(0.5)
    states[backup()] = files(root)
    snapshots = json.loads(call("snapshots", "--json", "--source", "site").stdout)["snapshots"]
    known = {snapshot["id"] for snapshot in snapshots}
    assert known >= bounds.keys() | states.keys() and len(known) > 2 * rounds, "snapshots are missing"
    compared = 0
    for snapshot in snapshots:
        shutil.rmtree(os.path.join(place, "back"), ignore_errors=True)
        call("restore", snapshot["id"], "--source", "site", "--target", "back", "--force")
        if snapshot["id"] in bounds:
            low, high = bounds[snapshot["id"]]
            rows = count(os.path.join(place, "back", database), query) - first
            # One more may have been committed and not yet been counted by the writer.
            assert low - 1 <= rows <= high + 1, f"{rows} rows, committed were {low} to {high}"
        for part in snapshot.get("databases", []):
            integrity(os.path.join(place, "back", part["path"]))
        if (state := states.get(snapshot["id"])) is not None:
            back, compared = files(os.path.join(place, "back")), compared + 1
            assert state == back, f"{snapshot['id']} differs: {[path for path in state.keys() | back.keys() if state.get(path) != back.get(path)][:5]}"
    drilled = json.loads(call("drill", "--snapshot", "latest", "--source", "site", "--json").stdout)
    checked = "rows" in json.dumps(drilled)
    assert name not in SETTINGS or checked, f"the drill checked no rows: {drilled}"
    databases, live = len(snapshots[-1].get("databases", [])), files(root)
    print(f"{name}: {rounds} snapshots while {max(high for _, high in bounds.values())} changes were made, {compared} between changes equal by .dump and "
          f"file, {databases} databases, {len(live) - databases} files; "
          f"{'rows checked with their files, ' if name in SETTINGS else ''}the slowest backup took {slowest * 1000:.0f} ms", flush=True)
    shutil.rmtree(place)

def count_live(path, query):
    if query.startswith(".") or not os.path.exists(path):
        return count(path, query)
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
    parser.add_argument("--paperless")
    parser.add_argument("--paperless-python", default=sys.executable)
    parser.add_argument("--only", nargs="*", default=list(APPS))
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.only:
        try:
            run(os.path.abspath(arguments.lrl), name, arguments)
        except Skipped as why:
            print(f"{name}: skipped: {why}", flush=True)
        except Exception as error:
            failed += 1
            print(f"{name}: FAILED: {error}", flush=True)
    sys.exit(bool(failed))
