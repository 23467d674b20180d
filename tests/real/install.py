#!/usr/bin/env python3
"""Installs the release's package on a bare Debian, uses it as the README says, upgrades, removes and purges it.

    just dist && just try-install                 # or: tests/real/install.py target/dist/lrl_*.deb [--base DIR] [--no-shells]

Needs root, debootstrap, and a Debian mirror. The bare system (`debootstrap --variant=minbase bookworm`, 200 MB) is made in a temporary directory, or
in --base, which is kept and copied by later tries. Every command runs in a chroot with its own /proc and nothing else of this machine.

What is tried, in order: `dpkg -i` without any other package; `lrl --version`; every block of README's "A first day, with any site" on a site made
from tests/sites/vaultwarden.sql, and the first blocks of "A first day, with the manual's layout"; `lrl run` from /etc/lrl/lrl.toml; manual pages,
and completions in bash, zsh and fish (these packages are installed for it, unless --no-shells); an upgrade to a package of a higher version with
other contents of lrl.toml, with an edited lrl.toml (it stays, the new one is beside it) and with an untouched one (it is replaced); `dpkg -r`, which
keeps /etc/lrl; `dpkg -P`, which removes what the package and lrl made, and neither a key nor a backup. Then nothing else is left: the list of all
files is compared with that of before. Prints a line for each; ends with 1 at the first that is not so.
"""
import argparse, os, pathlib, re, shutil, sqlite3, subprocess, sys, tempfile

REPO = pathlib.Path(__file__).resolve().parents[2]


class Machine:
    """A Debian in a directory."""

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def run(self, script, code=0, shell=("bash", "-e"), cwd="/root"):
        """Runs a script as root would type it, and returns what it printed; anything but this exit code is a failure of the try."""
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb", "LANG": "C.UTF-8",
                       "DEBIAN_FRONTEND": "noninteractive"}
        inside = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.root}/proc", "chroot", str(self.root)]
        line = inside + [*shell, "-c", f"cd {cwd} && {{\n{script}\n}}"]
        done = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != code:
            sys.exit(f"FAILED, exit code {done.returncode} in place of {code}:\n{script}\n---\n{done.stdout}")
        return done.stdout

    def path(self, name):
        return self.root / name.lstrip("/")

    def files(self):
        """Lists everything but what any package changes: caches, logs and databases of dpkg and apt."""
        noise = ("proc", "sys", "dev", "run", "tmp", "var/cache/apt", "var/lib/apt", "var/lib/dpkg", "var/log", "root")
        seen = set()
        for top, directories, names in os.walk(self.root):
            below = os.path.relpath(top, self.root)
            directories[:] = [name for name in directories if os.path.normpath(f"{below}/{name}") not in noise]
            seen.update(os.path.normpath(f"{below}/{name}") for name in directories + names)
        return seen


def say(what):
    print(f"well: {what}", flush=True)


def expect(what, holds, shown=""):
    if not holds:
        sys.exit(f"FAILED: {what}\n{shown}")
    say(what)


def readme_blocks(section):
    """Returns the bash blocks of a section of the README, in order."""
    text = (REPO / "README.md").read_text()
    body = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```bash\n(.*?)```", body, re.S)


def package(deb, work, version, settings):
    """Makes a package of another version with the same program, and other contents of lrl.toml, by the release's own script."""
    tree = work / f"tree-{version}"
    subprocess.run(["dpkg-deb", "-x", deb, work / "unpacked"], check=True)
    shutil.copytree(REPO, tree, ignore=shutil.ignore_patterns("target", ".git", "crates", "tests", "fuzz", "examples"))
    with open(tree / "contrib/dist/lrl.toml", "a") as file:
        file.write(settings)
    out = work / f"dist-{version}"
    environment = os.environ | {"VERSION": version, "QUICK": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run([tree / "contrib/dist/package", work / "unpacked/usr/bin/lrl", out], check=True, env=environment, stdout=subprocess.DEVNULL)
    return next(out.glob("*.deb"))


def site(machine):
    """A site as the README has it, and the manual's layout."""
    data = machine.path("/srv/vaultwarden/data")
    (data / "attachments/c1").mkdir(parents=True)
    database = sqlite3.connect(data / "db.sqlite3")
    database.executescript((REPO / "tests/sites/vaultwarden.sql").read_text())
    rows = database.execute("SELECT cipher_uuid, id, file_size FROM attachments").fetchall()
    database.close()
    for cipher, name, size in rows:
        (data / "attachments" / cipher).mkdir(exist_ok=True)
        (data / "attachments" / cipher / name).write_bytes(os.urandom(size))
    lab = machine.path("/path/to/little-research-lab")
    lab.mkdir(parents=True)
    shutil.copytree(REPO / "examples/lab", lab / "data")
    machine.path("/backups").mkdir()


def first_days(machine):
    script = "\n".join(readme_blocks("A first day, with any site"))
    said = machine.run(script)
    expect("README, any site: set up, backed up, drilled, restored, run", "Restore completed successfully" in said and "forget  done" in said and "Run of " in said, said)
    inside = machine.run("ls /srv/vaultwarden/data").split()
    expect("no backup is in the application's directory", "backups" not in inside, inside)
    blocks = readme_blocks("A first day, with the manual's layout")
    said = machine.run("\n".join(blocks[:6]))
    expect("README, the manual's layout: backed up, drilled, restored", said.count("completed successfully") >= 3 and "DRILL PASSED" in said, said)


def from_etc(machine):
    """What the annotated file says to do: edit it, run, schedule."""
    config = machine.path("/etc/lrl/lrl.toml")
    text = config.read_text()
    for key, value in {"root": '"/srv/vaultwarden/data"', "app": '"vaultwarden"', "backup": '"/var/backups/lrl"', "state-dir": '"/var/lib/lrl"',
                       "cache-dir": '"/var/cache/lrl"', "keep-daily": "7", "drill": '"weekly"'}.items():
        text = re.sub(rf"^#{key} = .*$", f"{key} = {value}", text, count=1, flags=re.M)
    text = text.replace("#[policy]", "[policy]")
    config.write_text(text)
    said = machine.run("rm -f /srv/vaultwarden/data/lrl.toml; lrl --config /etc/lrl/lrl.toml run")
    expect("`lrl run` from /etc/lrl/lrl.toml", "backup  done" in said and "drill   done" in said, said)
    said = machine.run("lrl --config /etc/lrl/lrl.toml status --max-age 26h --max-drill-age 8d")
    expect("`lrl status` is green", "Last good backup:" in said, said)
    said = machine.run("lrl --config /etc/lrl/lrl.toml schedule systemd && lrl --config /etc/lrl/lrl.toml schedule systemd --remove")
    expect("units are written and removed", not machine.path("/etc/systemd/system/lrl-run.service").exists(), said)
    return text


def shells(machine):
    machine.run("apt-get -qq update && apt-get -qq install --no-install-recommends man-db bash-completion zsh fish >/dev/null 2>&1")
    said = machine.run("man -P cat lrl | head -n 40; man -P cat lrl-restore | head -n 5; man -k . | grep -c '^lrl'")
    expect("man lrl, man lrl-restore", "NAME" in said and "lrl-restore" in said, said)
    bash = "source /usr/share/bash-completion/bash_completion; _completion_loader lrl || true; complete -p lrl"
    said = machine.run(bash, shell=("bash",))
    expect("bash loads the completions by itself", "lrl" in said, said)
    ask = """
source /usr/share/bash-completion/bash_completion; _completion_loader lrl || true
COMP_WORDS=(lrl %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
$(complete -p lrl | sed 's/.*-F \\([^ ]*\\).*/\\1/') lrl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%%s\\n' "${COMPREPLY[@]}"
"""
    said = machine.run(ask % "sna", shell=("bash",))
    expect("bash completes a verb", "snapshots" in said, said)
    said = machine.run("export LRL_STORE=/backups/store\n" + ask % "ls la", shell=("bash",))
    expect("bash completes a snapshot from the store", "latest" in said, said)
    said = machine.run("zsh -fc 'autoload -Uz compinit && compinit -u -D && print -r -- $_comps[lrl]'", shell=("bash",))
    expect("zsh finds the completions", said.strip().endswith("_lrl") or "lrl" in said, said)
    said = machine.run("fish -c \"complete -C 'lrl sna'\"", shell=("bash",))
    expect("fish completes a verb", "snapshots" in said, said)
    said = machine.run("export LRL_STORE=/backups/store\nfish -c \"complete -C 'lrl ls la'\"", shell=("bash",))
    expect("fish completes a snapshot", "latest" in said, said)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("deb")
    arguments.add_argument("--base", help="a bare Debian from an earlier try; made if it is not there")
    arguments.add_argument("--mirror", default="http://deb.debian.org/debian")
    arguments.add_argument("--suite", default="bookworm")
    arguments.add_argument("--no-shells", action="store_true", help="install no other packages: manual pages and completions are not tried")
    chosen = arguments.parse_args()
    deb = pathlib.Path(chosen.deb).resolve()
    with tempfile.TemporaryDirectory(prefix="lrl-install-") as work:
        work = pathlib.Path(work)
        base = pathlib.Path(chosen.base or work / "base")
        if not base.exists():
            subprocess.run(["debootstrap", "--variant=minbase", chosen.suite, base, chosen.mirror], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cp", "-a", base, work / "machine"], check=True)
        machine = Machine(work / "machine")
        version = subprocess.run(["dpkg-deb", "-f", deb, "Version"], check=True, capture_output=True, text=True).stdout.strip()
        before = machine.files()

        shutil.copy(deb, machine.path("/root/lrl.deb"))
        said = machine.run("dpkg -i /root/lrl.deb && dpkg -s lrl && dpkg --audit && dpkg --verify lrl")
        expect("dpkg -i on a bare Debian", "Status: install ok installed" in said, said)
        print("      it depends on:", re.search(r"^Depends: (.*)", said, re.M)[1] if "Depends:" in said else "nothing")
        expect("lrl --version is that of the package", machine.run("lrl --version") == f"lrl {version}\n")
        expect("every line of /etc/lrl/lrl.toml is commented out: nothing is set",
               "etc/lrl" not in machine.run("cd / && lrl --config /etc/lrl/lrl.toml config | grep -v 'Settings file' || true"))
        site(machine)
        first_days(machine)
        edited = from_etc(machine)
        if not chosen.no_shells:
            clone = Machine(work / "shells")
            subprocess.run(["cp", "-a", machine.root, clone.root], check=True)
            shells(clone)
            shutil.rmtree(clone.root)

        config = machine.path("/etc/lrl/lrl.toml")
        for number, touched in (("99.1", True), ("99.2", False)):
            shutil.copy(package(deb, work, number, f"# A new line of {number}.\n"), machine.path("/root/new.deb"))
            if not touched:
                # As it came: the new one takes its place.
                machine.path("/etc/lrl/lrl.toml.dpkg-dist").replace(config)
            machine.run("dpkg --force-confdef --force-confold -i /root/new.deb && dpkg --audit")
            if touched:
                new = machine.path("/etc/lrl/lrl.toml.dpkg-dist")
                expect("upgraded: an edited lrl.toml stays, the new one is beside it", config.read_text() == edited and "99.1" in new.read_text())
                said = machine.run("lrl --config /etc/lrl/lrl.toml run && lrl --config /etc/lrl/lrl.toml status")
                expect("upgraded: the next run goes on with the same store", "backup  done" in said, said)
            else:
                expect("upgraded: an untouched lrl.toml is replaced", "99.2" in config.read_text())
            expect(f"upgraded to {number}", f"Version: {number}" in machine.run("dpkg -s lrl"))
        config.write_text(edited)

        machine.run("lrl key make-file /etc/lrl/key")
        machine.run("dpkg -r lrl && dpkg --audit")
        expect("removed: the program is gone, /etc/lrl, the cache and what lrl remembers stay",
               not machine.path("/usr/bin/lrl").exists() and config.read_text() == edited and machine.path("/var/lib/lrl").exists()
               and "deinstall ok config-files" in machine.run("dpkg -s lrl"))
        machine.run("dpkg -P lrl && dpkg --audit")
        expect("purged: dpkg knows nothing of it", "not installed" in machine.run("dpkg -s lrl || true"))
        # What the try itself put there, and what is nobody's to delete.
        ours = ("srv", "backups", "path", "var/backups/lrl", "etc/lrl/key")
        left = sorted(name for name in machine.files() - before if not name.startswith(ours))
        expect("purged: of the package nothing is left but /etc/lrl, for the key in it", left == ["etc/lrl"], "\n".join(left))
        expect("purged: nothing of the system is gone", not before - machine.files(), "\n".join(sorted(before - machine.files())))
        said = machine.run("dpkg -i /root/lrl.deb && lrl --store /var/backups/lrl/store snapshots")
        expect("installed again: the backups of before are there", "good" in said, said)
    print("all is well")


main()
