//! Restores into directories of another user, who may exchange any name at any moment, put links where
//! things are expected, or have them mounted.

// A log says what could not be tried here.
#![allow(clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::Lab;
use crate::helpers::{Disk, assert_same, is_root, look, names, outputs, rounds, there_is};

/// Who owns the data, and attacks.
const NOBODY: u32 = 65534;
const ATTACKED: &str = "LRL_TEST_ATTACKED";

/// How many restores are attacked: few, or as many as `LRL_TEST_ROUNDS` says (`all`: thousands).
/// Does whatever the owner of a data directory can do against a restore, until it is killed: run by others with another user.
#[test]
#[ignore = "is run by tests that are attacked"]
fn attacker() {
    let Ok(data) = std::env::var(ATTACKED) else { return };
    let data = PathBuf::from(data);
    let victim = data.parent().unwrap().join("victim");
    let seen = data.join("seen");
    for n in 0u64.. {
        let Ok(listing) = fs::read_dir(&data) else { continue };
        for entry in listing.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            let is_link = fs::symlink_metadata(&path).map_or(true, |meta| meta.is_symlink());
            if name.starts_with(".lrl-restore-") && !is_link {
                if fs::read_dir(&path).is_ok() {
                    fs::write(&seen, name.as_bytes()).unwrap();
                }
                // What root has just made goes, and leads to somewhere else.
                let stolen = data.join(format!("stolen-{n}"));
                if fs::rename(&path, &stolen).is_ok() {
                    let _ = symlink(&victim, &path);
                    std::thread::yield_now();
                    if n % 3 == 0 {
                        let _ = fs::remove_file(&path);
                        let _ = fs::rename(&stolen, &path);
                    }
                }
            } else if (name.contains("pre-restore") || name.contains("undone") || name == "assets")
                && !is_link
                && n % 2 == 0
            {
                let away = data.join(format!("away-{n}"));
                if fs::rename(&path, &away).is_ok() {
                    let _ = symlink(victim.join("archive/assets"), &path);
                    std::thread::yield_now();
                    let _ = fs::remove_file(&path);
                    let _ = fs::rename(&away, &path);
                }
            }
        }
    }
}

struct Attack(Child);

impl Attack {
    fn on(lab: &Lab, data: &Path) -> Self {
        let test = lab.path("attacker");
        if !test.exists() {
            fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
            fs::set_permissions(&test, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&test);
        command.args(["--ignored", "--exact", "foreign::attacker"]).env(ATTACKED, data).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A lab with a set, and beside the data what nobody may touch.
fn attacked_lab() -> Option<Lab> {
    if !is_root() || !there_is("setpriv") {
        println!("skipped: needs root and setpriv");
        return None;
    }
    let lab = Lab::small();
    fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    lab.lrl("backup").expect(0);
    for name in ["lrl.db", "x", "archive/assets/ab12/v1.txt", "archive/assets/secret", "assets/ab12/v1.txt"] {
        lab.write(Path::new("victim").join(name), b"root's own");
    }
    let private = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for name in ["victim/lrl.db", "victim/x", "victim/archive/assets/secret"] {
        private(&lab.path(name), 0o600);
    }
    private(&lab.path("victim/archive"), 0o700);
    Some(lab)
}

/// Makes the data directory anew, as the attacker's.
fn fresh_data(lab: &Lab) {
    let _ = fs::remove_dir_all(lab.path("data"));
    lab.write("data/assets/ab12/v1.txt", b"old");
    lab.write("data/lrl.db", b"");
    for path in ["data/assets/ab12/v1.txt", "data/assets/ab12", "data/assets", "data/lrl.db", "data"] {
        lchown(lab.path(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn set_of(lab: &Lab) -> PathBuf {
    outputs(lab, "backups", ".json").pop().unwrap()
}

#[test]
fn the_owner_of_the_data_cannot_lead_a_restore_of_root_astray() {
    let Some(lab) = attacked_lab() else { return };
    let (victim, set) = (look(&lab.path("victim")), set_of(&lab));
    let manifest = set.to_str().unwrap();
    let lines = [
        format!("restore --force --manifest {manifest} --owner 65534:65534"),
        "restore --force --owner 65534:65534".to_string(),
        "restore --force --path assets/ab12/v1.txt".to_string(),
        "restore --force --undo".to_string(),
        format!("restore --force --manifest {manifest}"),
    ];
    let (mut done, mut refused) = (0, 0);
    for round in 0..rounds(8, 3000) {
        fresh_data(&lab);
        let _attack = Attack::on(&lab, &lab.path("data"));
        for line in &lines {
            // Whatever the mask: it is the mode from the first moment that counts.
            let command = format!("umask 0; exec {} {line}", env!("CARGO_BIN_EXE_lrl"));
            let mut run = Command::new("sh");
            run.args(["-c", &command])
                .current_dir(lab.path(""))
                .env("HOME", lab.path("home"))
                .env_remove("STORAGE_PATH");
            let run = run.output().unwrap();
            assert!(matches!(run.status.code(), Some(0..=11)), "{line}: {}", String::from_utf8_lossy(&run.stderr));
            (done, refused) = if run.status.success() { (done + 1, refused) } else { (done, refused + 1) };
            assert_same(&look(&lab.path("victim")), &victim, &format!("round {round}: {line}"));
            assert!(!lab.path("data/seen").exists(), "what is made ready can be read by others");
        }
    }
    println!("{done} restores went through, {refused} did not");
}

#[test]
fn nor_where_every_call_takes_its_time() {
    let Some(lab) = attacked_lab() else { return };
    if !there_is("strace") {
        return;
    }
    let (victim, set) = (look(&lab.path("victim")), set_of(&lab));
    let manifest = set.to_str().unwrap();
    let calls = [
        "fchownat",
        "fchown",
        "fchmod",
        "?fchmodat",
        "renameat2",
        "renameat",
        "unlinkat",
        "mkdirat",
        "openat",
        "utimensat",
    ];
    for call in calls {
        // Nobody attacks while the test itself makes the data: that uses paths.
        fresh_data(&lab);
        let _attack = Attack::on(&lab, &lab.path("data"));
        let name = call.trim_start_matches('?');
        let lines = [
            format!("restore --force --manifest {manifest} --owner 65534:65534"),
            "restore --force --owner 65534:65534".to_string(),
            "restore --force --undo".to_string(),
        ];
        for line in lines {
            let (trace, inject) = (format!("trace={call}"), format!("inject={name}:delay_enter=3000:when=1..60"));
            let run =
                crate::helpers::strace(&lab, &["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], &line);
            assert_same(&look(&lab.path("victim")), &victim, &format!("{call}: {line}"));
            assert!(run.status.code().is_some_and(|code| code <= 11), "{}", String::from_utf8_lossy(&run.stderr));
        }
    }
}

#[test]
fn links_to_the_data_are_followed_watched_and_kept() {
    let lab = Lab::small();
    fs::create_dir(lab.path("volume")).unwrap();
    fs::rename(lab.path("data/assets"), lab.path("volume/uploads")).unwrap();
    fs::rename(lab.path("data/lrl.db"), lab.path("volume/site.db")).unwrap();
    symlink("../volume/uploads", lab.path("data/assets")).unwrap();
    symlink(lab.path("volume/site.db"), lab.path("data/lrl.db")).unwrap();
    lab.lrl("backup").expect(0);
    let uploads = look(&lab.path("volume/uploads"));
    lab.database().execute("DELETE FROM users", []).unwrap();
    fs::remove_file(lab.path("volume/uploads/ab12/v1.txt")).unwrap();
    let changed = look(&lab.path("volume/uploads"));
    // A process that has the link's target open is found.
    for open in ["volume/site.db", "volume/uploads/ab12/v2.txt"] {
        let mut holder = Command::new("tail");
        let holder = holder.args(["-f", open]).current_dir(lab.path("")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut holder = holder.spawn().unwrap();
        let fds = || fs::read_dir(format!("/proc/{}/fd", holder.id())).unwrap().flatten();
        while !fds()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == fs::canonicalize(lab.path(open)).unwrap()))
        {
            std::thread::yield_now();
        }
        let run = lab.lrl("restore");
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(run.code == 1 && run.stderr.contains("tail (process"), "{open}: {}", run.stderr);
    }
    let run = lab.lrl("restore").expect(0);
    assert!(run.stderr.contains("is a symbolic link: what it leads to"), "{}", run.stderr);
    let are_links =
        || ["data/assets", "data/lrl.db"].map(|name| fs::symlink_metadata(lab.path(name)).unwrap().is_symlink());
    assert_eq!(are_links(), [true; 2]);
    assert_same(&look(&lab.path("volume/uploads")), &uploads, "restored behind the link");
    let users = || lab.database().query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(users(), 1);
    assert_eq!(names(lab.path("volume")), ["site.db", "site.db.pre-restore", "uploads", "uploads.pre-restore"]);
    lab.lrl("restore --undo").expect(0);
    assert_eq!((users(), are_links()), (0, [true; 2]));
    assert_same(&look(&lab.path("volume/uploads")), &changed, "undone behind the link");
}

/// Something mounted, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(options: &[&str], at: PathBuf) -> Option<Self> {
        let run = Command::new("mount").args(options).arg(&at).output();
        if run.is_ok_and(|run| run.status.success()) {
            return Some(Self(at));
        }
        println!("skipped: mounting {options:?} is not permitted here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn uploads(lab: &Lab) -> std::collections::BTreeMap<Vec<u8>, crate::helpers::Seen> {
    let mut seen = look(&lab.path("data/assets"));
    seen.retain(|path, _| !path.starts_with(b".lrl"));
    seen
}

/// Restores a whole lab, one file and a set over uploads that cannot be renamed, and goes back.
fn restores_over(lab: &Lab) {
    lab.lrl("backup").expect(0);
    let backed_up = uploads(lab);
    fs::remove_file(lab.path("data/assets/ab12/v1.txt")).unwrap();
    lab.write("data/assets/later/file", b"later");
    let changed = uploads(lab);
    lab.lrl("restore --dry-run").expect(0);
    assert_same(&uploads(lab), &changed, "a dry run");
    let run = lab.lrl("restore").expect(0);
    assert!(run.stderr.contains("its contents are exchanged"), "{}", run.stderr);
    assert_same(&uploads(lab), &backed_up, "restored");
    assert_eq!(fs::read(lab.path("data/assets/.lrl.pre-restore/later/file")).unwrap(), b"later");
    // What is kept there is no upload.
    lab.lrl("backup").expect(0);
    assert!(!lab.lrl("ls latest").expect(0).stdout.contains(".lrl."));
    lab.lrl("restore --undo").expect(0);
    assert_same(&uploads(lab), &changed, "undone");
    lab.lrl("restore --undo").expect(0);
    assert_same(&uploads(lab), &backed_up, "the undoing undone");
    fs::remove_file(lab.path("data/assets/ab12/v1.txt")).unwrap();
    lab.lrl("restore --path assets/ab12/v1.txt --dry-run").expect(0);
    lab.lrl("restore --path assets/ab12/v1.txt").expect(0);
    assert_eq!(fs::read(lab.path("data/assets/ab12/v1.txt")).unwrap(), b"a few words\n");
    fs::remove_file(lab.path("data/assets/ab12/v1.txt")).unwrap();
    let set = set_of(lab);
    lab.run(["restore".as_ref(), "--manifest".as_ref(), set.as_os_str()]).expect(0);
    assert_same(&uploads(lab), &backed_up, "restored from a set");
    let run = lab.lrl("restore --clean").expect(0);
    assert!(run.stdout.contains("data/assets/.lrl.pre-restore"), "{}", run.stdout);
    assert_same(&look(&lab.path("data/assets")), &backed_up, "cleaned");
    let run = lab.lrl("restore --no-keep").expect(0);
    assert!(!run.stderr.contains("kept"), "{}", run.stderr);
    assert_same(&look(&lab.path("data/assets")), &backed_up, "restored, and nothing kept");
    assert!(!names(lab.path("data/assets")).iter().any(|name| name.starts_with(".lrl-")));
}

#[test]
fn uploads_that_are_a_mount_are_restored_in_place() {
    let lab = Lab::small();
    fs::rename(lab.path("data/assets"), lab.path("volume")).unwrap();
    fs::create_dir(lab.path("data/assets")).unwrap();
    let volume = lab.path("volume");
    let Some(_mount) = Mount::new(&["--bind", volume.to_str().unwrap()], lab.path("data/assets")) else { return };
    restores_over(&lab);
}

#[test]
fn uploads_of_a_lower_layer_of_an_overlay_are_restored_in_place() {
    let lab = Lab::small();
    let Some(_disk) = Disk::mount(lab.path("layers"), "64m") else { return };
    for dir in ["layers/upper", "layers/work"] {
        fs::create_dir(lab.path(dir)).unwrap();
    }
    assert!(
        Command::new("cp").args(["-a", "data", "layers/lower"]).current_dir(lab.path("")).status().unwrap().success()
    );
    let [lower, upper, work] = ["lower", "upper", "work"].map(|dir| lab.path("layers").join(dir).display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let Some(_mount) = Mount::new(&["-t", "overlay", "overlay", "-o", &options], lab.path("data")) else { return };
    restores_over(&lab);
}

#[test]
fn a_restore_of_a_mount_that_is_killed_anywhere_is_taken_back() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    fs::rename(lab.path("data/assets"), lab.path("volume")).unwrap();
    fs::create_dir(lab.path("data/assets")).unwrap();
    let volume = lab.path("volume");
    let Some(_mount) = Mount::new(&["--bind", volume.to_str().unwrap()], lab.path("data/assets")) else { return };
    lab.lrl("backup").expect(0);
    let new = uploads(&lab);
    fs::remove_file(lab.path("data/assets/ab12/v1.txt")).unwrap();
    lab.write("data/assets/later/file", b"later");
    let old = uploads(&lab);
    let mut points = 0;
    for call in ["renameat2", "mkdirat", "fsync"] {
        for n in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 18] {
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let trace = format!("trace={call}");
            let run =
                crate::helpers::strace(&lab, &["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], "restore");
            let was_killed = run.status.code() != Some(0);
            points += u32::from(was_killed);
            if lab.path("data/.lrl-restore.json").exists() || !was_killed {
                lab.lrl("restore --undo").expect(0);
            }
            let now = uploads(&lab);
            if now == new {
                lab.lrl("restore --undo").expect(0);
            }
            // Times of directories change where a run was cut short.
            let plain = |mut seen: std::collections::BTreeMap<Vec<u8>, crate::helpers::Seen>| {
                seen.values_mut().filter(|seen| seen.mode & 0o170_000 == 0o040_000).for_each(|seen| seen.time = (0, 0));
                // A staged file that is the old one, linked: what a dead run leaves goes with the next restore.
                let is_staged = |first: &Vec<u8>| first.starts_with(b".lrl-restore-");
                seen.values_mut().for_each(|seen| _ = seen.first.take_if(|first| is_staged(first)));
                seen
            };
            assert_same(&plain(uploads(&lab)), &plain(old.clone()), &format!("{call} {n}"));
            for name in names(lab.path("data/assets")).iter().filter(|name| name.starts_with(".lrl.")) {
                fs::remove_dir_all(lab.path("data/assets").join(name)).unwrap();
            }
            let _ = fs::remove_file(lab.path("data/.lrl-undo.json"));
            if !was_killed {
                break;
            }
        }
    }
    assert!(points > 10, "{points} kill points");
}

#[test]
fn owners_that_do_not_exist_in_a_user_namespace_are_noted_and_not_fatal() {
    let lab = Lab::small();
    if !is_root() || !there_is("unshare") {
        return;
    }
    lchown(lab.path("data/assets/ab12/v1.txt"), Some(4321), Some(4321)).unwrap();
    lchown(lab.path("data/assets/ab12"), Some(4321), Some(4321)).unwrap();
    lab.lrl("backup").expect(0);
    let set = set_of(&lab);
    let inside = |line: &str| -> crate::common::Run {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_lrl")]).args(line.split_whitespace());
        command.current_dir(lab.path("")).env("HOME", lab.path("home")).env_remove("STORAGE_PATH");
        command.output().unwrap().into()
    };
    if inside("--version").code != 0 {
        println!("skipped: no user namespaces here");
        return;
    }
    for (line, to) in [("restore".to_string(), "a"), (format!("restore --manifest {}", set.display()), "b")] {
        let run = inside(&format!("{line} --data-dir {to}")).expect(0);
        assert_eq!(run.stderr.matches("could not be given to their recorded owners").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("2 files and directories") && run.stderr.contains("--owner"), "{}", run.stderr);
        assert_eq!(fs::read(lab.path(to).join("assets/ab12/v1.txt")).unwrap(), b"a few words\n");
        // One that was asked for is not passed over.
        inside(&format!("{line} --data-dir {to}-asked --owner 4321:4321")).expect(1);
        inside(&format!("{line} --data-dir {to}-root --owner 0:0")).expect(0);
    }
}
