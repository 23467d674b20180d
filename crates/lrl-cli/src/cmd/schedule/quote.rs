//! Paths and words as systemd's units, a shell and a crontab want them. What none of them can hold is refused: a unit that means another
//! path than the one that was named would fail at night.

use std::path::Path;

use crate::exit::{Failure, Result};

/// Returns the text of a path or word, if a unit and a crontab can hold it.
pub fn text(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.ok_or_else(|| {
        let shown = crate::render::units::safe(&path.display().to_string()).into_owned();
        Failure::Usage(format!("{shown} cannot stand in a unit: it has control characters, or is not UTF-8"))
    })
}

/// Quotes an item of a list in a unit (`ReadWritePaths=`, `Environment=`): systemd.syntax(7), and `%` for systemd's specifiers.
pub fn item(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

/// Quotes an argument of `ExecStart=`, in which `$` begins a variable as well.
pub fn argument(text: &str) -> String {
    item(text).replace('$', "$$")
}

/// Writes the value of a setting that is one path (`WorkingDirectory=`, `EnvironmentFile=`), which systemd does not unquote.
pub fn whole(text: &str) -> Result<String> {
    if text.ends_with('\\') || text.trim() != text {
        return Err(Failure::Usage(format!("{text:?} cannot stand in a unit: it ends with a backslash or a blank")));
    }
    Ok(text.replace('%', "%%"))
}

/// Quotes a word for a shell in a line of a crontab, where `%` would end the command.
pub fn cron_word(text: &str) -> Result<String> {
    // Some crons take a backslash away before the shell sees it, others do not.
    if text.contains('\\') {
        return Err(Failure::Usage(format!("{text:?} cannot stand in a crontab: it has a backslash")));
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''").replace('%', "\\%")))
}

#[cfg(test)]
mod tests {
    use super::{argument, cron_word, item, text, whole};
    use proptest::prelude::*;
    use std::path::Path;
    use std::process::Command;

    /// Takes one quoted word as systemd does (`extract_first_word` with `EXTRACT_UNQUOTE`, then specifiers), and checks that it ends there.
    fn unquoted(quoted: &str) -> String {
        let mut chars = quoted.chars();
        assert_eq!(chars.next(), Some('"'));
        let mut out = String::new();
        loop {
            match chars.next().unwrap() {
                '"' => break,
                '\\' => out.push(chars.next().unwrap()),
                c => out.push(c),
            }
        }
        assert_eq!(chars.next(), None, "{quoted}");
        specified(&out)
    }

    fn specified(text: &str) -> String {
        assert_eq!(text.matches('%').count() % 2, 0);
        text.replace("%%", "%")
    }

    /// Undoes what cron does to a command.
    fn cron(command: &str) -> String {
        assert!(!command.replace("\\%", "").contains('%'));
        command.replace("\\%", "%")
    }

    proptest! {
        #[test]
        fn systemd_reads_what_was_quoted(word in "[ -~é☃]{0,40}") {
            prop_assert_eq!(unquoted(&item(&word)), word.clone());
            let argument = unquoted(&argument(&word));
            // Each dollar is doubled, so systemd finds no variable.
            prop_assert_eq!(argument.matches("$$").count(), word.matches('$').count());
            prop_assert_eq!(argument.replace("$$", "$"), word.clone());
            if let Ok(written) = whole(&word) {
                prop_assert_eq!(specified(&written), word);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_shell_reads_what_was_quoted_for_cron(word in "[ -~é☃]{1,40}") {
            prop_assume!(!word.contains('\\'));
            let command = cron(&format!("printf %s {}", cron_word(&word).unwrap()).replacen("%s", "\\%s", 1));
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for bad in ["/a\nb", "/a\tb", "/a\u{7f}"] {
            assert!(text(Path::new(bad)).is_err(), "{bad:?}");
        }
        assert!(whole("/a\\").is_err() && whole("/a ").is_err() && whole("/a b%c").is_ok());
        assert!(cron_word("/a\\b").is_err());
    }
}
