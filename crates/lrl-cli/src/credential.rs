//! What opens an encrypted store, read from where flags, settings and environment say. Secrets come from files and programs only, never from
//! a command line or a variable, and are wiped when they are dropped.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lrl_store::error::Error;
use lrl_store::format::key::Credential;
use zeroize::Zeroizing;

use crate::args::Global;
use crate::signal;
use crate::trust::{self, Refusal};

/// A passphrase's file that was named by mistake must not fill the memory.
const MOST_BYTES: u64 = 64 << 10;

/// Names under which systemd's `LoadCredential=` gives a service the files that settings of these names name.
pub const PASSWORD_FILE: &str = "lrl.password-file";
/// See [`PASSWORD_FILE`].
pub const KEY_FILE: &str = "lrl.key-file";
/// See [`PASSWORD_FILE`].
pub const COPY_TO_PASSWORD_FILE: &str = "lrl.copy-to-password-file";
/// See [`PASSWORD_FILE`].
pub const COPY_TO_KEY_FILE: &str = "lrl.copy-to-key-file";

/// Returns the file that a setting names; the service manager's copy of it counts first, which a service can read where the file is hidden
/// from it.
fn file(setting: &Option<PathBuf>, credential: &str) -> Option<PathBuf> {
    trust::credential(credential).or_else(|| setting.clone().filter(|path| !path.as_os_str().is_empty()))
}

/// Returns what was given: at most one of the three ways.
pub fn given(global: &Global) -> Result<Option<Credential>, Error> {
    let command = global.password_command.clone().filter(|command| !command.is_empty());
    let (password, key) = (file(&global.password_file, PASSWORD_FILE), file(&global.key_file, KEY_FILE));
    let found = match (password, command, key) {
        (None, None, None) => return Ok(None),
        (Some(file), None, None) => from_password_file(&file)?,
        (None, Some(command), None) => from_command(&command)?,
        (None, None, Some(file)) => from_key_file(&file)?,
        _ => {
            return Err(Error::Refused(
                "a passphrase's file, a command and a key file were given: name one of them (LRL_PASSWORD_FILE, LRL_PASSWORD_COMMAND, LRL_KEY_FILE, lrl.toml)".into(),
            ));
        }
    };
    hide_from_dumps();
    Ok(Some(found))
}

/// Returns what was given for another store than the one in force; none where that one's is to be tried.
pub fn of_other(password_file: &Option<PathBuf>, key_file: &Option<PathBuf>) -> Result<Option<Credential>, Error> {
    let named = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    let found = match (named(password_file), named(key_file)) {
        (None, None) => return Ok(None),
        (Some(file), None) => from_password_file(&file)?,
        (None, Some(file)) => from_key_file(&file)?,
        (Some(_), Some(_)) => {
            return Err(Error::Refused(
                "a passphrase's file and a key file were given for one store: name one of them".into(),
            ));
        }
    };
    hide_from_dumps();
    Ok(Some(found))
}

/// Returns what was given for the second store of a backup.
pub fn of_second(password_file: &Option<PathBuf>, key_file: &Option<PathBuf>) -> Result<Option<Credential>, Error> {
    of_other(&file(password_file, COPY_TO_PASSWORD_FILE), &file(key_file, COPY_TO_KEY_FILE))
}

/// Reads a passphrase: the first line of a file.
pub fn from_password_file(path: &Path) -> Result<Credential, Error> {
    passphrase(&read(path)?, &path.display().to_string())
}

/// Reads a key file.
pub fn from_key_file(path: &Path) -> Result<Credential, Error> {
    let text = read(path)?;
    let key = std::str::from_utf8(&text).ok().and_then(Credential::from_key_file);
    key.ok_or_else(|| {
        Error::refused(format!(
            "{} is no key file, which holds 64 hexadecimal digits; `lrl key make-file` makes one",
            path.display()
        ))
    })
}

fn from_command(command: &str) -> Result<Credential, Error> {
    let failed = |why: String| {
        Error::refused(format!("the command for the passphrase failed: {why}; look at LRL_PASSWORD_COMMAND"))
    };
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| failed("its quotes do not match".into()))?;
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("{}: {e}", words[0])))?;
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize));
    let read = child.stdout.take().map_or(Ok(0), |out| out.take(MOST_BYTES).read_to_end(&mut text));
    let status = child.wait().map_err(|e| failed(e.to_string()))?;
    read.map_err(|e| failed(e.to_string()))?;
    if !status.success() {
        return Err(failed(format!("{} ended with {status}", words[0])));
    }
    passphrase(&text, "the output of LRL_PASSWORD_COMMAND")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    // All of it at once: what a growing buffer leaves behind is not wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize));
    trust::read_secret(path, MOST_BYTES, &mut text, &signal::interrupted).map_err(|refusal| match refusal {
        Refusal::Io(error) => Error::io("read the key from", path)(error),
        Refusal::Untrusted(why) => Error::refused(why),
        Refusal::Interrupted => Error::Interrupted,
    })?;
    Ok(text)
}

fn passphrase(text: &[u8], place: &str) -> Result<Credential, Error> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Error::refused(format!("{place} has no passphrase in its first line")));
    }
    Ok(Credential::Passphrase(Zeroizing::new(line.to_vec())))
}

/// Keys are in memory from here on: no core dump, and no other process of this user looks into it.
pub fn hide_from_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Where the system refuses, the keys are as safe as the rest of the process.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use lrl_store::format::key::Credential;

    use super::{from_command, passphrase};

    fn text(credential: Credential) -> Vec<u8> {
        match credential {
            Credential::Passphrase(bytes) => bytes.to_vec(),
            Credential::File(_) => panic!("no passphrase"),
        }
    }

    #[test]
    fn a_passphrase_is_the_first_line_without_its_end() {
        for (given, expected) in [("a b\n", "a b"), ("a\r\nrest\n", "a"), ("a", "a"), (" a ", " a ")] {
            assert_eq!(text(passphrase(given.as_bytes(), "x").unwrap()), expected.as_bytes());
        }
        assert!(passphrase(b"", "x").is_err() && passphrase(b"\nrest", "x").is_err());
    }

    #[test]
    fn a_command_is_run_without_a_shell_and_must_succeed() {
        assert_eq!(text(from_command("printf '%s\\n' 'a  $HOME'").unwrap()), b"a  $HOME");
        for bad in ["false", "no-such-program-here", "true", "printf 'x", ""] {
            assert!(from_command(bad).is_err(), "{bad}");
        }
    }
}
