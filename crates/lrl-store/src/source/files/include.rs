//! Which paths of a site are stored: files, directories with all that they contain, and patterns of them. Matched component by component, so
//! that only directories are entered that lead to something.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::fs::dir::components;

/// Paths below a site's root that are stored; all of them if there is no rule.
#[derive(Debug, Clone, Default)]
pub struct Includes(Arc<[Rule]>);

/// One path or pattern.
#[derive(Debug)]
struct Rule {
    text: String,
    components: Vec<Component>,
    /// Something that it names was asked about.
    is_met: AtomicBool,
}

/// A path or pattern that names nothing that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unmet<'a> {
    /// As it was given.
    pub text: &'a str,
    /// It may well name nothing yet.
    pub is_pattern: bool,
}

#[derive(Debug)]
enum Component {
    /// One name.
    Name(Vec<u8>),
    /// Names that match.
    Glob(Box<Gitignore>),
    /// `**`: any number of names.
    Any,
}

impl Includes {
    /// Stores everything.
    pub(crate) fn all() -> Self {
        Self::default()
    }

    /// Stores these paths and patterns (`*`, `?`, `[…]` within a component, `**` for any number of them); `.` is everything.
    ///
    /// # Errors
    /// [`Error::Refused`] for one that does not parse, is absolute, or leads out of the root.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let cleaned = patterns.iter().map(|pattern| pattern.trim_start_matches("./").trim_end_matches('/'));
        let patterns: Vec<&str> = cleaned.collect();
        if patterns.iter().any(|pattern| matches!(*pattern, "." | "")) {
            return Ok(Self::all());
        }
        Ok(Self(patterns.iter().map(|pattern| rule(pattern)).collect::<Result<_>>()?))
    }

    /// Returns whether everything is stored.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a path is stored, or is a directory that may lead to one.
    pub fn wants(&self, path: &[u8], is_dir: bool) -> bool {
        // Every file of every backup is asked about.
        if self.0.is_empty() {
            return true;
        }
        let names: Vec<&[u8]> = components(path).collect();
        // Each rule learns what it names, also where an earlier one names the same.
        self.0.iter().fold(false, |is_wanted, rule| {
            let is_met = rule.is_met.load(Ordering::Relaxed);
            if !is_met && matches(&rule.components, &names, false) {
                rule.is_met.store(true, Ordering::Relaxed);
            }
            is_wanted || matches(&rule.components, &names, is_dir)
        })
    }

    /// Lists what named nothing that was asked about.
    pub(crate) fn unmet(&self) -> impl Iterator<Item = Unmet<'_>> {
        self.0.iter().filter(|rule| !rule.is_met.load(Ordering::Relaxed)).map(|rule| Unmet {
            text: &rule.text,
            is_pattern: rule.components.iter().any(|component| !matches!(component, Component::Name(_))),
        })
    }
}

fn rule(pattern: &str) -> Result<Rule> {
    let refuse = |why: &str| Error::refused(format!("{pattern:?} cannot be a path of files: {why}"));
    if !is_clean_path(pattern.as_bytes()) {
        return Err(refuse("it must be a path below the root, without `..`"));
    }
    let component = |name: &str| match name {
        "**" => Ok(Component::Any),
        name if !name.contains(['*', '?', '[', '\\']) => Ok(Component::Name(name.as_bytes().to_vec())),
        name => {
            let mut builder = GitignoreBuilder::new("");
            builder.allow_unclosed_class(false);
            builder.add_line(None, &format!("/{name}")).map_err(|error| refuse(&error.to_string()))?;
            let glob = builder.build().map_err(|error| refuse(&error.to_string()))?;
            Ok(Component::Glob(Box::new(glob)))
        }
    };
    let components = pattern.split('/').map(component).collect::<Result<_>>()?;
    Ok(Rule { text: pattern.into(), components, is_met: AtomicBool::new(false) })
}

/// Returns whether the rule names this path, something above it, or, of a directory, something below it.
fn matches(rule: &[Component], names: &[&[u8]], is_dir: bool) -> bool {
    match (rule, names) {
        // The path is what the rule names, or below it.
        ([], _) => true,
        (_, []) => is_dir,
        ([Component::Any, rest @ ..], [_, below @ ..]) => matches(rest, names, is_dir) || matches(rule, below, is_dir),
        ([Component::Name(name), rest @ ..], [first, below @ ..]) => name == first && matches(rest, below, is_dir),
        ([Component::Glob(glob), rest @ ..], [first, below @ ..]) => {
            glob.matched(Path::new(OsStr::from_bytes(first)), false).is_ignore() && matches(rest, below, is_dir)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Includes;

    fn wants(patterns: &[&str], path: &str, is_dir: bool) -> bool {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        Includes::new(&patterns).unwrap().wants(path.as_bytes(), is_dir)
    }

    #[test]
    fn only_what_is_named_and_what_leads_there() {
        assert!(wants(&[], "a/b", false) && wants(&["."], "a", false) && wants(&["./"], "a", true));
        for (path, is_dir, wanted) in [
            ("media", true, true),
            ("media/a/b.jpg", false, true),
            ("mediaX", true, false),
            ("users", true, true),
            ("users/ann", true, true),
            ("users/ann", false, false),
            ("users/ann/log.txt", false, true),
            ("users/ann/other.md", false, false),
            ("users/ann/deep", true, false),
            ("rsa_key.pem", false, true),
            ("other", true, true),
            ("other/x/y/z.key", false, true),
            ("other/x/y/z.txt", false, false),
        ] {
            let patterns = ["media", "users/*/*.txt", "rsa_key*", "other/**/*.key"];
            assert_eq!(wants(&patterns, path, is_dir), wanted, "{path}");
        }
    }

    #[test]
    fn rules_stay_below_the_root() {
        for bad in ["/etc", "../x", "a/../b", "a//b", "a[", "a/[z-"] {
            assert!(Includes::new(&[bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_names_nothing_is_known() {
        let patterns = ["media", "media/a", "x/*.key", "gone", "gone/*"].map(String::from);
        let includes = Includes::new(&patterns).unwrap();
        for (path, is_dir) in [("media", true), ("media/a", false), ("x", true), ("x/a.txt", false)] {
            includes.wants(path.as_bytes(), is_dir);
        }
        let unmet: Vec<_> = includes.unmet().map(|unmet| (unmet.text, unmet.is_pattern)).collect();
        assert_eq!(unmet, [("x/*.key", true), ("gone", false), ("gone/*", true)]);
    }
}
