//! Which uploads the operator leaves out, and which links are followed. Patterns in gitignore syntax, matched against the paths that are
//! listed (`assets/cache`) and inside each uploads root (`/cache`). Never looks at the disk except to read the files that hold patterns.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};

use super::include::{Includes, Unmet};
use crate::error::{Error, Result};
use crate::fs::small_text;

/// Patterns of uploads to leave out; the last one that matches decides, `!` takes back.
#[derive(Debug, Clone)]
pub struct Excludes {
    matcher: Gitignore,
    rules: Arc<[Rule]>,
    /// Some pattern holds a path: what it matches depends on where the path begins.
    has_paths: bool,
    follow: Arc<[Vec<u8>]>,
    scope: Scope,
}

/// Where the patterns apply; nothing else is taken.
#[derive(Debug, Clone)]
enum Scope {
    /// What these name.
    Only(Includes),
    /// Everything but what these name.
    AllBut(Includes),
}

impl Scope {
    fn takes(&self, path: &[u8], is_dir: bool) -> bool {
        match self {
            Self::Only(only) => only.wants(path, is_dir),
            // A directory that only leads to something named holds other things as well.
            Self::AllBut(named) => !named.wants(path, false),
        }
    }
}

/// One pattern, and whether it was the last that matched something.
#[derive(Debug)]
struct Rule {
    text: String,
    in_file: bool,
    decided: AtomicBool,
}

/// A pattern that leaves nothing out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused<'a> {
    /// As it was given.
    pub pattern: &'a str,
    /// It comes from a file of patterns, which may serve more than one place.
    pub in_file: bool,
}

impl Excludes {
    /// Leaves nothing out.
    pub fn none() -> Self {
        Self {
            matcher: Gitignore::empty(),
            rules: Arc::new([]),
            has_paths: false,
            follow: Arc::new([]),
            scope: Scope::Only(Includes::all()),
        }
    }

    /// Reads `files` in order, then `patterns`.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, or pattern that does not parse.
    pub fn new(patterns: &[String], files: &[PathBuf]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        // A stray "[" is more often a typing error than a name.
        builder.allow_unclosed_class(false);
        let mut rules = Vec::new();
        let mut add = |text: &str, file: Option<(&Path, usize)>| {
            // Where a pattern comes from is only told back: here its number.
            let number = Some(PathBuf::from(rules.len().to_string()));
            builder.add_line(number, text).map_err(|error| match file {
                Some((file, line)) => unusable(&format!("{}:{line}: {text}", file.display()), &error),
                None => unusable(text, &error),
            })?;
            rules.push(Rule { text: text.to_string(), in_file: file.is_some(), decided: AtomicBool::new(false) });
            Ok(())
        };
        for file in files {
            let text = small_text::read(file).map_err(Error::io("read exclude file", file))?;
            let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines();
            lines.enumerate().try_for_each(|(line, text)| add(text, Some((file, line + 1))))?;
        }
        patterns.iter().try_for_each(|pattern| add(pattern, None))?;
        let matcher =
            builder.build().map_err(|e| Error::refused(format!("the exclude patterns cannot be used: {e}")))?;
        let has_paths = rules.iter().any(|rule| rule.text.trim().trim_end_matches('/').contains('/'));
        Ok(Self { matcher, rules: rules.into(), has_paths, follow: Arc::new([]), scope: Scope::Only(Includes::all()) })
    }

    /// Follows the links at these paths, as they are listed: the directories behind them are stored in their places.
    #[must_use]
    #[doc(hidden)]
    pub fn and_follow(self, paths: Vec<Vec<u8>>) -> Self {
        Self { follow: paths.into(), ..self }
    }

    /// Leaves out everything that is not among `only`, which are paths as they are listed.
    #[must_use]
    #[doc(hidden)]
    pub fn and_only(self, only: Includes) -> Self {
        Self { scope: Scope::Only(only), ..self }
    }

    /// Returns the same patterns for all paths, whatever [`Excludes::and_only`] named.
    pub(crate) fn everywhere(&self) -> Self {
        Self { scope: Scope::Only(Includes::all()), ..self.clone() }
    }

    /// Returns the same patterns for what [`Excludes::and_only`] did not name, without links to follow; `None` where it named everything.
    pub(crate) fn elsewhere(&self) -> Option<Self> {
        match &self.scope {
            Scope::Only(only) if !only.is_all() => {
                Some(Self { scope: Scope::AllBut(only.clone()), follow: Arc::new([]), ..self.clone() })
            }
            _ => None,
        }
    }

    /// Lists what [`Excludes::and_only`] named and no walk has met.
    pub(crate) fn unmet(&self) -> impl Iterator<Item = Unmet<'_>> {
        let (Scope::Only(only) | Scope::AllBut(only)) = &self.scope;
        only.unmet()
    }

    /// Returns which of the links to follow is at `path`.
    pub(crate) fn followed(&self, path: &[u8]) -> Option<usize> {
        self.follow.iter().position(|link| link == path)
    }

    /// Lists the links to follow.
    pub(crate) fn to_follow(&self) -> &[Vec<u8>] {
        &self.follow
    }

    /// Returns whether nothing is left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    /// Returns whether a pattern matches `path`.
    #[doc(hidden)]
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        !self.is_empty() && self.matched(path, is_dir).is_ignore()
    }

    /// Returns whether `path`, whose root's name ends before `inside`, is left out; a directory takes all of its contents with it.
    pub(crate) fn leave_out(&self, path: &[u8], inside: usize, is_dir: bool) -> bool {
        if !self.scope.takes(path, is_dir) {
            return true;
        }
        if self.is_empty() {
            return false;
        }
        let number = |glob: &Glob| glob.from().and_then(|from| from.to_str()?.parse::<usize>().ok());
        let of_inside = self.matched(&path[inside..], is_dir);
        let of_whole = if self.has_paths { self.matched(path, is_dir) } else { Match::None };
        // In both forms the last pattern counts, so of the two the later.
        let is_later = of_whole.inner().map(|glob| number(glob)) > of_inside.inner().map(|glob| number(glob));
        let decided = if is_later { of_whole } else { of_inside };
        if let Some(rule) = decided.inner().and_then(|glob| self.rules.get(number(glob)?)) {
            rule.decided.store(true, Ordering::Relaxed);
        }
        decided.is_ignore()
    }

    /// Returns whether a path of a site, or a directory above it, is left out.
    pub(crate) fn leave_out_with_parents(&self, path: &[u8]) -> bool {
        let mut parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
        parents.any(|dir| self.leave_out(dir, 0, true)) || self.leave_out(path, 0, false)
    }

    /// Lists the patterns that decided about nothing since they were read: they match nothing, or only what later ones match too.
    #[doc(hidden)]
    pub fn unused(&self) -> Vec<Unused<'_>> {
        let is_pattern = |text: &str| !text.trim().is_empty() && !text.starts_with('#');
        let unused = |rule: &&Rule| !rule.decided.load(Ordering::Relaxed) && is_pattern(&rule.text);
        self.rules.iter().filter(unused).map(|rule| Unused { pattern: &rule.text, in_file: rule.in_file }).collect()
    }

    fn matched(&self, path: &[u8], is_dir: bool) -> Match<&Glob> {
        self.matcher.matched(Path::new(OsStr::from_bytes(path)), is_dir)
    }
}

fn unusable(what: &str, error: &ignore::Error) -> Error {
    Error::refused(format!("exclude pattern {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{Excludes, Includes};
    use std::path::PathBuf;

    fn patterns(list: &[&str]) -> Excludes {
        Excludes::new(&list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), &[]).unwrap()
    }

    #[test]
    fn patterns_follow_gitignore() {
        let excludes = patterns(&["*.tmp", "/thumbs/", "!keep.tmp", "cache/*.bin", "# comment", ""]);
        for (path, is_dir, expected) in [
            (&b"a.tmp"[..], false, true),
            (b"deep/down/a.tmp", false, true),
            (b"deep/keep.tmp", false, false),
            (b"thumbs", true, true),
            (b"thumbs", false, false),
            (b"deep/thumbs", true, false),
            (b"cache/x.bin", false, true),
            (b"deep/cache/x.bin", false, false),
            (b"plain", false, false),
        ] {
            assert_eq!(excludes.matches(path, is_dir), expected, "{}", String::from_utf8_lossy(path));
        }
        assert!(!Excludes::none().matches(b"a.tmp", false));
    }

    #[test]
    fn patterns_match_the_paths_that_are_listed_too() {
        let left_out =
            |list: &[&str], path: &str, is_dir| patterns(list).leave_out(path.as_bytes(), "assets/".len(), is_dir);
        for pattern in
            ["assets/cache", "/assets/cache", "assets/cache/", "/cache", "cache", "assets/c*", "assets/**/cache"]
        {
            assert!(left_out(&[pattern], "assets/cache", true), "{pattern}");
            assert!(!left_out(&[pattern], "assets/other", true), "{pattern}");
        }
        assert!(!left_out(&["storage/cache"], "assets/cache", true));
        assert!(left_out(&["assets/a/b.txt"], "assets/a/b.txt", false));
        // A directory of the root's own name stays what it is in gitignore's form.
        assert!(left_out(&["assets/cache"], "assets/assets/cache", true));
        // Of both forms together the last pattern decides.
        assert!(!left_out(&["cache", "!assets/cache"], "assets/cache", true));
        assert!(left_out(&["!assets/cache", "cache"], "assets/cache", true));
        assert!(left_out(&["!/cache", "assets/cache"], "assets/cache", true));
    }

    #[test]
    fn what_is_not_named_lies_elsewhere() {
        assert!(patterns(&["*.tmp"]).elsewhere().is_none());
        let named = Includes::new(&["data".into(), "log/*.txt".into()]).unwrap();
        let only = patterns(&["*.tmp"]).and_only(named);
        let elsewhere = only.elsewhere().unwrap();
        for (path, is_dir, is_named, is_elsewhere) in [
            ("data", true, true, false),
            ("data/a", false, true, false),
            // It leads to what is named, and holds other things.
            ("log", true, true, true),
            ("log/a.txt", false, true, false),
            ("log/a.db", false, false, true),
            ("other", true, false, true),
            ("other/b.tmp", false, false, false),
        ] {
            let taken = [&only, &elsewhere].map(|excludes| !excludes.leave_out(path.as_bytes(), 0, is_dir));
            assert_eq!(taken, [is_named, is_elsewhere], "{path}");
            let is_tmp = path.ends_with(".tmp");
            assert_eq!(only.everywhere().leave_out(path.as_bytes(), 0, is_dir), is_tmp, "{path}");
        }
    }

    #[test]
    fn patterns_that_leave_nothing_out_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("excludes");
        std::fs::write(&file, "# comment\n\n*.bak\n*.log\n").unwrap();
        let list = ["*.tmp", "!keep.tmp", "nowhere/", "#"].map(String::from);
        let excludes = Excludes::new(&list, &[file]).unwrap();
        for path in ["assets/a.tmp", "assets/keep.tmp", "assets/x.log", "assets/nowhere"] {
            excludes.leave_out(path.as_bytes(), "assets/".len(), false);
        }
        let unused: Vec<_> =
            excludes.clone().unused().into_iter().map(|u| (u.pattern.to_string(), u.in_file)).collect();
        assert_eq!(unused, [("*.bak".to_string(), true), ("nowhere/".to_string(), false)]);
    }

    #[test]
    fn names_that_are_not_utf8_are_matched() {
        let excludes = patterns(&["*.tmp", "a?c"]);
        assert!(excludes.matches(b"bad\xff\xfe.tmp", false));
        assert!(excludes.matches(b"dir\xff/x.tmp", false));
        assert!(excludes.matches(b"a\xffc", false));
        assert!(!excludes.matches(b"bad\xff\xfe", false));
    }

    #[test]
    fn errors_name_the_pattern_or_the_file() {
        let error = Excludes::new(&["fine".into(), "[a-".into()], &[]).unwrap_err().to_string();
        assert!(error.contains("[a-"), "{error}");
        let error = Excludes::new(&["a{b".into()], &[]).unwrap_err().to_string();
        assert!(error.contains("a{b"), "{error}");
        let error = Excludes::new(&[], &[PathBuf::from("/no/such/file")]).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("excludes");
        std::fs::write(&file, "*.log\n[z-\n").unwrap();
        let error = Excludes::new(&[], std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(error.contains("excludes") && error.contains("[z-"), "{error}");
        std::fs::write(&file, "\u{feff}*.log\r\n").unwrap();
        assert!(Excludes::new(&[], &[file]).unwrap().matches(b"x.log", false));
    }
}
