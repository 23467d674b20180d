#!/usr/bin/env python3
"""Has a real systemd run what `lrl schedule` writes, and the unit of the package.

    just try-systemd                              # or: tests/real/systemd.py --lrl target/release/lrl

Needs root, systemd (Debian's package; it need not run), overlayfs, and a hierarchy of cgroup 2. systemd is started as the first process of
namespaces of its own, on an overlay of this system: nothing is written to this one.

What is tried, in order: the package's unit with an annotated /etc/lrl/lrl.toml; `lrl schedule systemd --watch --on-failure-unit` for an encrypted
store in the home of root, whose passphrase systemd hands over; the timer starts the service; what is done is not due again; a failure starts the
unit that was named; the watch makes a snapshot of a change, one more when it is stopped, and is started again when it is killed; --remove. Prints
a line for each; ends with 1 at the first that is not so.
"""
import argparse, os, pathlib, shutil, signal, subprocess, sys, tempfile, time

REPO = pathlib.Path(__file__).resolve().parents[2]
SITE = "/srv/lab"
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs none {base}
mkdir {base}/up {base}/work {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/up,workdir={base}/work {base}/root
cd {base}/root
mount -t proc proc proc
for dir in run tmp var/tmp; do mount -t tmpfs tmpfs $dir; done
mount --rbind /dev dev
mount -t sysfs sysfs sys
mkdir -p sys/fs/cgroup && mount -t cgroup2 cgroup2 sys/fs/cgroup
# Of this machine's own units, none.
rm -rf etc/systemd/system var/lib/lrl var/cache/lrl etc/lrl root/.cache root/.local && mkdir etc/systemd/system
container=lrl exec chroot . /lib/systemd/systemd --system --unit=timers.target --log-target=null --show-status=no
"""


def expect(what, holds, shown=""):
    if not holds:
        sys.exit(f"FAILED: {what}\n{shown}")
    print(f"well: {what}", flush=True)


def cgroup2():
    """Returns where the hierarchy of cgroup 2 is mounted."""
    for line in open("/proc/mounts"):
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(where)
    sys.exit("there is no hierarchy of cgroup 2 here")


class Machine:
    """A system that systemd has started."""

    def __init__(self, base):
        self.base = pathlib.Path(base)
        group = cgroup2() / f"lrl-{os.getpid()}"
        group.mkdir()
        # Its own group is the root that it sees.
        line = ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec unshare --cgroup --pid --mount --uts --ipc --fork --kill-child sh -c "$0"']
        self.group = group
        self.boot = subprocess.Popen([*line, BOOT.format(base=base)], stdin=subprocess.DEVNULL)
        for _ in range(100):
            if self.first() and self.try_("systemctl is-system-running")[1].strip() in ("running", "degraded"):
                return
            time.sleep(0.2)
        sys.exit("systemd does not start here")

    def first(self):
        """Returns the number of its first process, which is systemd."""
        return pathlib.Path(f"/proc/{self.boot.pid}/task/{self.boot.pid}/children").read_text().strip()

    def path(self, path):
        return pathlib.Path(f"/proc/{self.first()}/root") / path.lstrip("/")

    def try_(self, script):
        """Runs a script inside, and returns its exit code and what it printed."""
        pid = self.first()
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        line = ["nsenter", "--target", pid, "--all", "chroot", f"/proc/{pid}/root", "sh", "-c", f"cd /; {script}"]
        done = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def run(self, script, code=0):
        """Runs a script inside; anything but this exit code is a failure of the try."""
        ended, said = self.try_(script)
        if ended != code:
            sys.exit(f"FAILED, exit code {ended} in place of {code}:\n{script}\n---\n{said}{self.try_('journalctl --no-pager | tail -n 40')[1]}")
        return said

    def until(self, what, script, holds):
        """Waits up to a minute until what a script prints is as wanted."""
        for _ in range(120):
            said = self.try_(script)[1]
            if holds(said):
                break
            time.sleep(0.5)
        expect(what, holds(said), said)

    def write(self, path, text):
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def end(self):
        self.boot.send_signal(signal.SIGKILL)
        self.boot.wait()
        for _ in range(50):
            try:
                # Groups are removed from below, once their last process is gone.
                for top, directories, _ in os.walk(self.group, topdown=False):
                    for name in directories:
                        os.rmdir(os.path.join(top, name))
                self.group.rmdir()
                return
            except OSError:
                time.sleep(0.1)


def the_package(machine):
    settings = (REPO / "contrib/dist/lrl.toml").read_text()
    machine.write("/etc/lrl/lrl.toml", settings + f'\ndata-dir = "{SITE}"\nbackup = "/var/backups/lrl"\n')
    for name in ("lrl-run.service", "lrl-run.timer"):
        machine.write(f"/usr/lib/systemd/system/{name}", (REPO / "contrib/systemd" / name).read_text())
    machine.run("systemctl daemon-reload && systemctl start lrl-run.service")
    said = machine.run("journalctl -u lrl-run.service -o cat --no-pager")
    expect("the package's unit: backed up and drilled", "backup  done" in said and "drill   done" in said, said)
    machine.run("rm -rf /var/backups/lrl /etc/lrl")


def scheduled(machine):
    machine.run("install -d -m 700 /root/keys && (umask 077; echo 'four words of it' >/root/keys/pass)")
    machine.write("/root/lab/lrl.toml", f'data-dir = "{SITE}"\nbackup = "/root/backups"\npassword-file = "/root/keys/pass"\n'
                  'metrics-file = "/var/lib/node/lrl.prom"\n[policy]\nkeep-daily = 7\n')
    machine.write("/etc/systemd/system/tell.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo told >>/run/told'\n")
    machine.run("mkdir /root/backups /var/lib/node; cd /root/lab && lrl init --encrypt >/dev/null")
    said = machine.run("cd /root/lab && lrl schedule systemd --watch --on-failure-unit tell.service")
    expect("schedule has nothing to warn of", "warning" not in said and "note" not in said, said)
    said = machine.run("systemd-analyze verify lrl-run.service lrl-run.timer lrl-watch.service")
    expect("systemd accepts the units", "lrl" not in said, said)
    # The night comes within a second.
    machine.write("/etc/systemd/system/lrl-run.timer.d/soon.conf", "[Timer]\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=1ms\n")
    machine.run("systemctl daemon-reload && systemctl enable --now lrl-run.timer")
    journal = "journalctl -u lrl-run.service -o cat --no-pager"
    machine.until("the timer starts the service", journal, lambda said: said.count("Run of lab:") == 2)
    said = machine.run(journal)
    expect("which is handed the passphrase, and records what it did", "could not" not in said and said.rstrip().endswith("(exit 0)"), said)
    machine.run("systemctl start lrl-run.service")
    last = machine.run(journal).split("Run of lab:")[2]
    expect("what was done is not due again", "drill   not due" in last, last)
    said = machine.run("cat /var/lib/node/lrl.prom")
    expect("metrics are written", 'lrl_last_run_exit_code{' in said, said)
    machine.run(f"mv {SITE} {SITE}.away && systemctl start lrl-run.service", code=1)
    machine.until("a failure starts the unit that was named", "cat /run/told", lambda said: said == "told\n")
    machine.run(f"mv {SITE}.away {SITE} && systemctl start lrl-run.service")


def watched(machine):
    count = "cd /root/lab && lrl snapshots --json | grep -c '\"id\"'"
    before = int(machine.run(count))
    machine.run("systemctl enable --now lrl-watch.service")
    expect("the watch tells systemd that it is ready", "active" == machine.run("systemctl is-active lrl-watch.service").strip())
    insert = f"import sqlite3; c = sqlite3.connect('{SITE}/lrl.db'); c.execute('CREATE TABLE IF NOT EXISTS more(x)'); c.execute('INSERT INTO more VALUES (1)'); c.commit()"
    machine.run(f'python3 -c "{insert}"')
    machine.until("a change makes a snapshot", count, lambda said: int(said) > before)
    said = machine.run("systemctl show --property=StatusText lrl-watch.service")
    expect("systemctl status tells of it", "saved" in said, said)
    machine.until("nothing is left to save", "systemctl show --property=StatusText lrl-watch.service", lambda said: "all is saved" in said)
    before = int(machine.run(count))
    machine.run(f'python3 -c "{insert}" && systemctl stop lrl-watch.service')
    expect("one more is made when it is stopped", int(machine.run(count)) == before + 1)
    machine.write("/etc/systemd/system/lrl-watch.service.d/soon.conf", "[Service]\nRestartSec=1\n")
    machine.run("systemctl daemon-reload && systemctl start lrl-watch.service && systemctl kill --signal=KILL lrl-watch.service")
    machine.until("it is started again when it is killed", "systemctl show --property=NRestarts --property=ActiveState lrl-watch.service",
                  lambda said: "NRestarts=1" in said and "ActiveState=active" in said)


def removed(machine):
    said = machine.run("cd /root/lab && lrl schedule systemd --remove")
    commands = "\n".join(line.strip() for line in said.splitlines() if line.startswith("  systemctl"))
    machine.run(commands)
    said = machine.run("ls /etc/systemd/system; systemctl list-units --all --no-legend 'lrl-*'")
    expect("removed, as it says", "lrl-run.timer" not in said.split() and "lrl-watch.service" not in said.split(), said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lrl", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("systemctl"):
        sys.exit("this needs root and systemd")
    with tempfile.TemporaryDirectory(prefix="lrl-systemd-") as base:
        machine = Machine(base)
        try:
            program = arguments.lrl.read_bytes()
            for place in ("/usr/bin/lrl", "/usr/local/bin/lrl"):
                machine.path(place).write_bytes(program)
                machine.path(place).chmod(0o755)
            shutil.copytree(REPO / "examples/lab", machine.path(SITE))
            the_package(machine)
            scheduled(machine)
            watched(machine)
            removed(machine)
        finally:
            machine.end()
    print("all is well")


if __name__ == "__main__":
    main()
