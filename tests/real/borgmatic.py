#!/usr/bin/env python3
"""borgmatic beside `lrl run`: the same site, the same harm as in month.py, and what it tells of each.

    python3 -m venv v && v/bin/pip install borgmatic        # and Debian's borgbackup and sqlite3; root, for the disks
    v/bin/python tests/real/borgmatic.py [--borgmatic v/bin/borgmatic] [--log FILE]

borgmatic is set up by its own documentation: the site's directory, its database by the sqlite hook, two encrypted repositories, retention, the
checks `repository`, `archives` and `extract` each night with all data, and pings of healthchecks with the log. Each night `borgmatic` (create, prune,
compact, check) runs once; nothing shifts the clock, the service alone is asked at the night's times. Prints a line for each harm: exit code, state
of the service, and the last error that it printed.
"""
import argparse, os, pathlib, shutil, signal, subprocess, sys, tempfile, time

import nights

REPO = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = """
source_directories:
    - {root}/site
exclude_patterns:
    - {root}/site/lrl.db
repositories:
    - path: {root}/disk/repo
    - path: {root}/second/repo
encryption_passcommand: cat {root}/pass
sqlite_databases:
    - name: lab
      path: {root}/site/lrl.db
keep_daily: 7
keep_weekly: 5
keep_monthly: 12
checks:
    - name: repository
      frequency: always
    - name: archives
      frequency: always
    - name: data
      frequency: always
    - name: extract
      frequency: always
healthchecks:
    ping_url: {url}
"""


class Nights:
    def __init__(self, borgmatic, root):
        self.borgmatic, self.root, self.child = borgmatic, pathlib.Path(root), None
        self.disk, self.second = nights.Disk(self.root / "disk", 1 << 30), nights.Disk(self.root / "second", 1 << 30)
        self.site, self.service = nights.Site(self.root / "site", REPO / "examples/lab"), nights.Service()
        self.passphrase("correct horse battery staple")
        (self.root / "config.yaml").write_text(SETTINGS.format(root=self.root, url=self.service.url()))
        code, said = self.run("repo-create", "--encryption", "repokey-blake2")
        assert code == 0, said

    def passphrase(self, words):
        (self.root / "pass").write_text(words + "\n")

    def run(self, *words):
        path = os.path.dirname(os.path.abspath(self.borgmatic)) + ":" + os.environ["PATH"]
        environment = {"PATH": path, "HOME": str(self.root), "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "LANG": "C.UTF-8"}
        self.child = subprocess.Popen([self.borgmatic, "--config", self.root / "config.yaml", *words], env=environment, cwd=self.root,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        said, _ = self.child.communicate(timeout=300)
        return self.child.returncode, said


def flip(n):
    path = max((path for path in (n.root / "disk/repo/data").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 3)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x40]))


def repair(n):
    environment = os.environ | {"BORG_PASSCOMMAND": f"cat {n.root}/pass", "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES", "HOME": str(n.root)}
    subprocess.run(["borg", "check", "--repair", n.root / "disk/repo"], env=environment, capture_output=True)


def swap(path):
    path.rename(path.with_name("away"))
    path.mkdir()


def back(path):
    path.rmdir()
    path.with_name("away").rename(path)


def kill(n):
    def now():
        time.sleep(0.3)
        os.killpg(n.child.pid, signal.SIGKILL)
    n.service.on_start = now


HARM = [
    ("database gone", lambda n: n.site.database.rename(n.root / "gone.db"), lambda n: (n.root / "gone.db").rename(n.site.database)),
    ("uploads unmounted", lambda n: swap(n.site.uploads), lambda n: back(n.site.uploads)),
    ("store unmounted", lambda n: n.disk.unmount(), lambda n: n.disk.mount()),
    ("disk full", lambda n: n.disk.fill(), lambda n: n.disk.empty()),
    ("damaged pack", flip, repair),
    ("failing drill", lambda n: n.site.sql("UPDATE assets SET storage_path = 'day-3/gone.bin' WHERE id = 'day-3'"),
     lambda n: n.site.sql("UPDATE assets SET storage_path = 'day-3/photo.bin' WHERE id = 'day-3'")),
    ("second store unreachable", lambda n: n.second.unmount(), lambda n: n.second.mount()),
    ("ping receiver down", lambda n: n.service.close(), lambda n: n.service.open()),
    ("killed run", kill, lambda n: setattr(n.service, "on_start", None)),
    ("wrong passphrase", lambda n: n.passphrase("wrong horse"), lambda n: n.passphrase("correct horse battery staple")),
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--borgmatic", default="borgmatic")
    arguments.add_argument("--log", default=os.devnull)
    chosen = arguments.parse_args()
    borgmatic = shutil.which(chosen.borgmatic)
    if not borgmatic:
        sys.exit("this needs borgmatic, borg and sqlite3")
    with tempfile.TemporaryDirectory(prefix="lrl-borgmatic-") as root, open(chosen.log, "w") as log:
        n = Nights(borgmatic, root)
        try:
            lines = [line for line in SETTINGS.strip().splitlines() if line.strip()]
            print(f"{len(lines)} lines of configuration; the night's command: borgmatic")
            harms = dict(zip(range(1, 1000, 2), HARM))
            for night in range(2 * len(HARM) + 1):
                name, harm, mend = harms.get(night, ("", None, None))
                n.service.now = night * nights.DAY + 3 * 3600
                n.site.day(night)
                if harm:
                    harm(n)
                began = time.time()
                code, said = n.run()
                took = time.time() - began
                log.write(f"=== night {night} {name}: exit {code}\n{said}\n")
                state = n.service.state(night * nights.DAY + 7 * 3600)
                errors = [line for line in said.splitlines() if any(word in line.lower() for word in ("error", "warn", "no such", "not exist"))]
                print(f"{night:3} {name:26} exit {code:4}  {state:42} {took:4.1f} s  {(errors or [''])[0][:110]}", flush=True)
                if mend:
                    mend(n)
        finally:
            n.disk.remove()
            n.second.remove()


if __name__ == "__main__":
    main()
