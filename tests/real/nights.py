"""What month.py and borgmatic.py share: a site, a monitoring service, node_exporter, and harm that is done and mended.

The service speaks healthchecks' pinging API (start, success, fail, log, exit codes, `rid`), and decides as healthchecks does: a check is down after a
failure, when a run that has started does not end within the grace time, and when no success came within a day and the grace time. It has no clock of
its own: the night asks it at a time.
"""
import http.server, json, os, pathlib, re, shutil, socket, sqlite3, subprocess, threading, time, urllib.request

GRACE, DAY = 3600, 86400


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A receiver of pings, for one check."""

    def __init__(self):
        self.pings, self.now, self.on_start = [], 0, None
        self.port = free_port()
        self.server = None
        self.open()

    def open(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
                found = re.fullmatch(r"/ping/site(?:/(start|fail|log|\d+))?/?(?:\?(.*))?", self.path)
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(b"OK")
                if found:
                    rid = re.search(r"rid=([^&]+)", found[2] or "")
                    service.pings.append((service.now, found[1] or "0", rid and rid[1], body))
                    if found[1] == "start" and service.on_start:
                        service.on_start()

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """The service is down: nobody listens."""
        self.server.shutdown()
        self.server.server_close()

    def url(self):
        return f"http://127.0.0.1:{self.port}/ping/site"

    def state(self, now):
        """Returns `up`, or `down` with the reason."""
        ends = [ping for ping in self.pings if ping[1] not in ("start", "log")]
        if not ends:
            return "down: never pinged"
        when, kind, _, _ = ends[-1]
        if kind != "0":
            return f"down: /{kind}"
        open_runs = {rid: at for at, what, rid, _ in self.pings if what == "start"}
        for _, what, rid, _ in self.pings:
            if what not in ("start", "log"):
                open_runs.pop(rid, None)
        late = [at for at in open_runs.values() if at > when and now - at > GRACE]
        if late:
            return "down: a run has started, and not ended"
        return "up" if now - when <= DAY + GRACE else "down: late"

    def since(self, start):
        return [f"/{kind}" for at, kind, _, _ in self.pings if at >= start]


class NodeExporter:
    """Debian's prometheus-node-exporter with the textfile collector alone; a plain reader of the directory where it is not installed."""

    def __init__(self, directory):
        self.directory, self.port, self.process = pathlib.Path(directory), free_port(), None
        program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
        if program:
            self.process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{self.port}", "--collector.disable-defaults",
                                             "--collector.textfile", f"--collector.textfile.directory={directory}"], stderr=subprocess.DEVNULL)

    def scrape(self):
        """Returns series by name with labels; `node_textfile_scrape_error` is 1 where the collector found a file that is not right, or no directory."""
        text = ""
        if self.process:
            for _ in range(100):
                try:
                    text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics").read().decode()
                    break
                except OSError:
                    time.sleep(0.1)
        else:
            text = "".join(file.read_text() for file in self.directory.glob("*.prom"))
        series = {}
        for line in text.splitlines():
            if line.startswith(("lrl_", "node_textfile_scrape_error")):
                name, value = line.rsplit(" ", 1)
                series[name] = float(value)
        return series

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


class Disk:
    """A small disk of its own, so that it can be full and be unmounted."""

    def __init__(self, at, size):
        self.at, self.size = pathlib.Path(at), size
        self.image = self.at.with_suffix(".ext4")
        self.at.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.at], check=True)

    def unmount(self):
        subprocess.run(["umount", self.at], check=True)

    def fill(self):
        free = os.statvfs(self.at)
        with open(self.at / "full", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - 200_000, 1))

    def empty(self):
        (self.at / "full").unlink()

    def remove(self):
        subprocess.run(["umount", "--lazy", self.at], check=False, stderr=subprocess.DEVNULL)


class Site:
    """A small site in the manual's layout, in which somebody works each day."""

    def __init__(self, root, lab):
        self.root = pathlib.Path(root)
        shutil.copytree(lab, self.root)
        self.database, self.uploads = self.root / "lrl.db", self.root / "assets"
        for number in range(40):
            self.day(-number - 1)

    def day(self, number):
        """A day's work: rows, and an upload with its row."""
        name, body = f"day{number}", os.urandom(20_000)
        (self.uploads / name).mkdir(exist_ok=True)
        (self.uploads / name / "photo.bin").write_bytes(body)
        connection = sqlite3.connect(self.database)
        user = connection.execute("SELECT id FROM users").fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO assets VALUES (?, 'photo.bin', 'image/x', ?, ?, ?, 'public', ?, '2026-11-28')",
                           (name, len(body), __import__("hashlib").sha256(body).hexdigest(), f"{name}/photo.bin", user))
        connection.executemany("INSERT INTO audit_events VALUES (?, ?, 'view', 'page', ?, '{}', '2026-11-28')",
                               [(os.urandom(8).hex(), user, str(n)) for n in range(200)])
        connection.commit()
        connection.close()

    def sql(self, text):
        connection = sqlite3.connect(self.database)
        connection.executescript(text)
        connection.close()
