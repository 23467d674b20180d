//! The commands in README.md and docs/OPERATIONS.md work: a shell runs every block that is marked for it, in the order of the
//! document, in a directory with the sample lab as `./data`; what the documents show as printed is printed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Lab, Run, repository};

/// Replaces programs that the documents use and a test cannot run: it prints its arguments.
const STUB: &str = "#!/bin/sh\necho \"$(basename \"$0\") $*\"\n";

/// Returns the bodies of the fenced blocks that directly follow a mark, with their line numbers.
fn blocks(text: &str, mark: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let marked = lines.iter().enumerate().filter(|(_, line)| line.trim() == mark).map(|(n, _)| n + 1);
    marked
        .map(|n| {
            let fence = lines[n];
            assert!(fence.trim_start().starts_with("```"), "line {}: a mark without a block", n + 1);
            let indent = fence.len() - fence.trim_start().len();
            let body = lines[n + 1..].iter().take_while(|line| !line.trim_start().starts_with("```"));
            (n + 1, body.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect())
        })
        .collect()
}

/// Replaces what differs from run to run: every run of hexadecimal digits that holds a digit, or is long.
fn skeleton(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim_end();
    while let Some(c) = rest.chars().next() {
        let run = rest.bytes().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).count();
        let hex = &rest[..run];
        if run >= 8 || hex.bytes().any(|b| b.is_ascii_digit()) {
            out.push('#');
        } else {
            out.push_str(if run == 0 { &rest[..c.len_utf8()] } else { hex });
        }
        rest = &rest[run.max(if run == 0 { c.len_utf8() } else { 0 })..];
    }
    out
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

/// Makes a directory with the sample lab, and `lrl` and the stubs first in the shell's path.
fn place() -> Lab {
    let mut lab = Lab::empty();
    copy(&repository().join("examples/lab"), &lab.path("data"));
    lab.write("bin/lrl", "");
    fs::remove_file(lab.path("bin/lrl")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lrl"), lab.path("bin/lrl")).unwrap();
    for name in ["aws", "systemctl", "mail"] {
        lab.write(format!("bin/{name}"), STUB);
        fs::set_permissions(lab.path(format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    lab.set("PATH", &format!("{}:{path}", lab.path("bin").display()));
    lab.set("TZ", "UTC");
    lab
}

fn shell(lab: &Lab, script: &str) -> Run {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(lab.path("")).env_clear().stdin(Stdio::null());
    command.env("HOME", lab.path("home")).envs(lab.environment());
    command.output().unwrap().into()
}

/// Runs a document's commands and returns what they printed.
fn run_document(name: &str, at_least: usize) {
    let text = fs::read_to_string(repository().join(name)).unwrap();
    let lab = place();
    let scripts = blocks(&text, "<!-- test -->");
    assert!(scripts.len() >= at_least, "{name} has only {} marked blocks", scripts.len());
    let mut printed = String::new();
    for (line, script) in scripts {
        let run = shell(&lab, &script);
        assert_eq!(run.code, 0, "{name}:{line}\n{script}\nstdout:\n{}\nstderr:\n{}", run.stdout, run.stderr);
        printed.push_str(&run.stdout);
    }
    let printed: Vec<String> = printed.lines().map(skeleton).collect();
    for (line, shown) in blocks(&text, "<!-- printed -->") {
        let shown: Vec<String> = shown.lines().map(skeleton).collect();
        let found = printed.windows(shown.len()).any(|window| window == shown);
        assert!(found, "{name}:{line}: is not printed:\n{}\nbut:\n{}", shown.join("\n"), printed.join("\n"));
    }
}

#[test]
fn the_commands_of_the_operations_manual_work() {
    run_document("docs/OPERATIONS.md", 10);
}

#[test]
fn the_first_day_of_the_readme_works() {
    run_document("README.md", 5);
}

#[test]
fn the_demo_backs_up_and_drills_the_sample_lab() {
    let lab = Lab::empty();
    let run: Run = Command::new(repository().join("demo"))
        .arg(lab.path("demo"))
        .env("LRL", env!("CARGO_BIN_EXE_lrl"))
        .env("STORAGE_PATH", "/nowhere")
        .output()
        .unwrap()
        .into();
    let run = run.expect(0);
    assert!(run.stdout.contains("Backup completed successfully!"), "{}", run.stdout);
    assert!(run.stdout.contains("RESTORE DRILL PASSED: All backups verified successfully!"), "{}", run.stdout);
    for shown in ["Run of lab: 3 steps done", "Last good backup: ", "all is well\n"] {
        assert!(run.stdout.contains(shown), "{shown}: {}", run.stdout);
    }
    assert!(lab.path("demo/backups.html").is_file());
}

#[test]
fn the_readme_names_the_command_that_ci_runs() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let ci = read(".ci/run");
    let command = ci.lines().rfind(|line| line.starts_with("cargo test")).unwrap();
    assert!(read("README.md").contains(&format!("```bash\n{command}\n```")), "{command}");
    assert!(read("CONTRIBUTING.md").contains(command));
}

/// Links between documents lead to files and headings that are there.
#[test]
fn links_between_documents_lead_somewhere() {
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>()
            .replace(' ', "-")
    };
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "fuzz/README.md",
        "docs/FORMAT.md",
        "docs/ARCHITECTURE.md",
        "docs/COMPAT.md",
        "docs/OPERATIONS.md",
        "docs/RELIABILITY.md",
        "docs/REMOTE.md",
        "docs/TESTING.md",
    ] {
        let path = repository().join(name);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{name} links to {link}");
            let Some(heading) = heading else { continue };
            let text = fs::read_to_string(&target).unwrap();
            let mut headings = text
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(|line| anchor(line.trim_start_matches('#').trim()));
            assert!(headings.any(|found| found == heading), "{name} links to {link}");
        }
    }
}

#[test]
fn a_skeleton_keeps_words_and_hides_values() {
    assert_eq!(skeleton("Snapshot: 5d445cf5 (number 1 of lab)"), "Snapshot: # (number # of lab)");
    assert_eq!(skeleton("lrl_db_20260114_120000.sqlite (172032 bytes)"), "lrl_db_#_#.sqlite (# bytes)");
    assert_eq!(skeleton("deadbeef added ä"), "# added ä");
}
