#!/usr/bin/env python3
"""A month of nights on a small site, with one failure of each kind: is it told within one run, and is all green after it was mended?

    just try-month                            # or: tests/real/month.py --lrl target/release/lrl [--nights 34] [--log FILE]

Needs Debian's libfaketime, by which the nights are shifted (LD_PRELOAD: lrl must be a dynamic program, not the static one of `just dist`; file systems
keep the real time), prometheus-node-exporter, and root for the disks that are filled and unmounted. Takes a few minutes.

Each night at 3, after a day's work in the site, `lrl run` does what `[policy]` says: backup, copy to a second store, drill, forget, prune, check,
report. Store and second store are encrypted, and on disks of their own. A service that speaks healthchecks' API is pinged, and node_exporter reads
the metrics file. At 7 somebody looks: at the exit code, at the service, at the metrics as contrib/prometheus/lrl.rules.yml alerts on them, and at
`lrl status`. After a night with harm at least one of those that reach somebody who does nothing (the ping, the metrics) must be red, and `lrl status`
or the exit code too; harm is mended in the day, and after the next night everything must be green. Nights without harm must be green as well; only the alert about a
snapshot that failed its drill stays for the week that it is kept.
Prints a line for each night; ends with 1 if one was told wrongly.
"""
import argparse, datetime, os, pathlib, re, shutil, signal, subprocess, sys, tempfile, time

import nights

REPO = pathlib.Path(__file__).resolve().parents[2]
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
SETTINGS = """
data-dir = "{root}/site"
backup = "{root}/disk/backups"
password-file = "{root}/etc/pass"
copy-to = "{root}/second/store"
copy-to-password-file = "{root}/etc/pass"
state-dir = "{root}/state"
cache-dir = "{root}/cache"
ping-url-file = "{root}/etc/ping-url"
metrics-file = "{root}/textfile/lrl.prom"
tell-limit = "2s"
max-age = "26h"
max-drill-age = "26h"
max-check-age = "26h"
max-copy-age = "26h"
min-free = "5%"

[policy]
keep-daily = 7
keep-weekly = 5
keep-monthly = 12
keep-sets = 3
drill = "daily"
check = "daily"
check-data = true
prune = "weekly"
report = "{root}/backups.html"
"""


class Month:
    def __init__(self, lrl, root):
        self.lrl, self.root = str(pathlib.Path(lrl).resolve()), pathlib.Path(root)
        self.night, self.said, self.child = 0, "", None
        for name in ("etc", "textfile"):
            (self.root / name).mkdir()
        # A database as large as the site's has room for a set more than it keeps.
        self.disk, self.second = nights.Disk(self.root / "disk", 64 << 20), nights.Disk(self.root / "second", 32 << 20)
        (self.root / "disk/backups").mkdir()
        self.site = nights.Site(self.root / "site", REPO / "examples/lab")
        self.service = nights.Service()
        self.exporter = nights.NodeExporter(self.root / "textfile")
        self.passphrase("correct horse battery staple")
        self.secret("ping-url", self.service.url())
        (self.root / "lrl.toml").write_text(SETTINGS.format(root=self.root))
        self.at(0, "03:00")
        for place in ([], ["--store", f"{self.root}/second/store"]):
            assert self.run("init", "--encrypt", *place) == 0, self.said

    def secret(self, name, text):
        path = self.root / "etc" / name
        path.write_text(text + "\n")
        path.chmod(0o600)

    def passphrase(self, words):
        self.secret("pass", words)

    def at(self, night, clock):
        first = datetime.datetime(2026, 12, 1, tzinfo=datetime.timezone.utc)
        hour, minute = map(int, clock.split(":"))
        self.time = first + datetime.timedelta(days=night, hours=hour, minutes=minute)
        self.service.now = self.time.timestamp()

    def command(self, *words):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root), "TZ": "UTC", "LD_PRELOAD": FAKETIME,
                       "FAKETIME": self.time.strftime("@%Y-%m-%d %H:%M:%S"), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        return dict(args=[self.lrl, "--config", str(self.root / "lrl.toml"), *words], env=environment, cwd=self.root, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *words):
        self.child = subprocess.Popen(**self.command(*words))
        self.said, _ = self.child.communicate(timeout=300)
        return self.child.returncode

    def alerts(self):
        """What of contrib/prometheus/lrl.rules.yml would fire, by what node_exporter serves."""
        series, now, found = self.exporter.scrape(), self.time.timestamp(), []
        too_old = {"lrl_last_good_snapshot_timestamp_seconds": 26 * 3600, "lrl_last_drill_success_timestamp_seconds": 8 * nights.DAY}
        label = lambda key, name: re.search(rf'{name}="([^"]*)"', key)[1]
        for key, value in series.items():
            name = key.split("{")[0]
            if name == "lrl_last_run_exit_code" and value != 0:
                found.append(f"LrlRunFailed({label(key, 'verb')} {value:.0f})")
            if name in too_old and now - value > too_old[name]:
                found.append("LrlBackupTooOld" if "snapshot" in name else "LrlDrillTooOld")
            if name == "lrl_last_success_timestamp_seconds" and label(key, "verb") == "backup" and now - value > 2 * nights.DAY:
                found.append("LrlNoSuccess")
            if name == "lrl_snapshots" and label(key, "state") in ("failed", "damaged", "unreadable") and value > 0:
                found.append(f"LrlSnapshotNotGood({label(key, 'state')})")
            if name == "lrl_drill_missing_files" and value > 0:
                found.append("LrlDrillMissingFiles")
            if name == "lrl_copy_lag_seconds" and value > 2 * nights.DAY:
                found.append("LrlCopyBehind")
            if name == "lrl_free_bytes" and value < series.get(key.replace("free", "sets_size"), 0) / 4:
                found.append("LrlDiskNearlyFull")
        if series.get("node_textfile_scrape_error"):
            found.append("node_textfile_scrape_error")
        if not any(key.startswith("lrl_build_info") for key in series):
            found.append("LrlMetricsGone")
        # node_exporter knows the real time of the file; here it is when a run last ended.
        ended = max((value for key, value in series.items() if key.startswith("lrl_last_run_timestamp_seconds")), default=0)
        if now - ended > 26 * 3600:
            found.append("LrlMetricsStale")
        return sorted(set(found))


def packs(month):
    return sorted((month.root / "disk/backups/store/packs").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def flip(month):
    path = packs(month)[-1]
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 3)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x40]))


def move(path, name="away"):
    path.rename(path.with_name(name))


def unmount_uploads(month):
    move(month.site.uploads)
    month.site.uploads.mkdir()


def mount_uploads(month):
    month.site.uploads.rmdir()
    (month.site.root / "away").rename(month.site.uploads)


def kill_when_started(month):
    def kill():
        time.sleep(0.02)
        month.child.send_signal(signal.SIGKILL)
    month.service.on_start = kill


def repair(month):
    assert month.run("check", "--read-data", "--repair") == 0, month.said


# Name, what breaks, what mends it in the day, and the exit code of that night's run; None where any but 0 will do.
HARM = [
    ("database gone", lambda m: move(m.site.database, "gone.db"), lambda m: (m.site.root / "gone.db").rename(m.site.database), 3),
    ("uploads unmounted", unmount_uploads, mount_uploads, 4),
    ("store unmounted", lambda m: m.disk.unmount(), lambda m: m.disk.mount(), 10),
    ("disk full", lambda m: m.disk.fill(), lambda m: m.disk.empty(), None),
    ("damaged pack", flip, repair, 4),
    ("failing drill", lambda m: m.site.sql("UPDATE assets SET storage_path = 'day-3/gone.bin' WHERE id = 'day-3'"),
     lambda m: m.site.sql("UPDATE assets SET storage_path = 'day-3/photo.bin' WHERE id = 'day-3'"), 4),
    ("second store unreachable", lambda m: m.second.unmount(), lambda m: m.second.mount(), 5),
    ("ping receiver down", lambda m: m.service.close(), lambda m: m.service.open(), 0),
    ("killed run", kill_when_started, lambda m: setattr(m.service, "on_start", None), -9),
    ("wrong passphrase", lambda m: m.passphrase("wrong horse"), lambda m: m.passphrase("correct horse battery staple"), 12),
    ("metrics unwritable", lambda m: (m.root / "textfile").rename(m.root / "textfile.away"), lambda m: (m.root / "textfile.away").rename(m.root / "textfile"), 0),
    ("machine off", None, lambda m: None, None),
]

# A snapshot whose drill has failed is kept for a week (--keep-bad-within), and metrics tell of it as long.
KNOWN, BAD = "LrlSnapshotNotGood(failed)", ("uploads unmounted", "damaged pack", "failing drill")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lrl", default="target/release/lrl")
    arguments.add_argument("--nights", type=int, default=34)
    arguments.add_argument("--log", help="a file that gets what each run printed")
    chosen = arguments.parse_args()
    if not pathlib.Path(FAKETIME).exists():
        sys.exit("this needs Debian's libfaketime")
    log = open(chosen.log or os.devnull, "w")
    wrong = []
    with tempfile.TemporaryDirectory(prefix="lrl-month-") as root:
        month = Month(chosen.lrl, root)
        try:
            print(f"{'night':5} {'harm':26} {'exit':>4}  {'ping':34} {'status':6} alerts", flush=True)
            last_bad = -100
            harms = dict(zip(range(2, 1000, 2), HARM))
            for night in range(max(chosen.nights, 2 * len(HARM) + 3)):
                name, harm, mend, expected = harms.get(night, ("", None, None, 0))
                month.at(night, "03:00")
                month.site.day(night)
                if name in BAD:
                    last_bad = night
                if harm:
                    harm(month)
                off = name == "machine off"
                code = None if off else month.run("run")
                log.write(f"=== night {night} {name}: exit {code}\n{month.said}\n")
                pings = month.service.since(month.time.timestamp())
                said = month.said
                month.at(night, "07:00")
                ping, alerts = month.service.state(month.time.timestamp()), month.alerts()
                status = month.run("status", "--quiet")
                log.write(f"--- status: exit {status}\n{month.said}\n")
                print(f"{night:5} {name:26} {'off' if off else code:>4}  {ping:34} {status:6} {' '.join(alerts)}", flush=True)
                reasons = []
                if name:
                    if not off and expected is not None and code != expected:
                        reasons.append(f"exit code {code} in place of {expected}")
                    if ping == "up" and not alerts:
                        reasons.append("nobody was told")
                    if code == 0 and "not told" not in said and "not written" not in said:
                        reasons.append("the run ended with 0, and printed nothing of it")
                    # One night without the second store is less than max-copy-age: the ping and the metrics tell of it.
                    if code not in (0, None, 5) and status == 0:
                        reasons.append("`lrl status` is green")
                elif (code, ping, status, [alert for alert in alerts if not (alert == KNOWN and night - last_bad < 9)]) != (0, "up", 0, []):
                    reasons.append("a night without harm is red")
                if not off and name not in ("killed run", "ping receiver down") and [kind for kind in pings] != ["/start", f"/{code}"]:
                    reasons.append(f"pings {pings}")
                for reason in reasons:
                    wrong.append(f"night {night} {name}: {reason}")
                    print(f"      WRONG: {reason}\n" + "".join(f"      | {line}\n" for line in (said + month.said).splitlines()[-30:]), flush=True)
                if mend:
                    mend(month)
        finally:
            month.exporter.stop()
            month.disk.remove()
            month.second.remove()
    print(f"{len(wrong)} wrong" if wrong else "all is well")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
