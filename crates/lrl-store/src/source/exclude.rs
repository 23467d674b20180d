//! Which uploads the operator leaves out: patterns in gitignore syntax, matched inside each uploads root.
//! Never looks at the disk except to read the files that hold patterns.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// Patterns of uploads to leave out; the last one that matches decides, `!` takes back.
#[derive(Debug, Clone)]
pub struct Excludes {
    matcher: Gitignore,
}

impl Excludes {
    /// Leaves nothing out.
    pub fn none() -> Self {
        Self { matcher: Gitignore::empty() }
    }

    /// Reads `files` in order, then `patterns`; the first that cannot be read or does not parse is the error.
    pub fn new(patterns: &[String], files: &[PathBuf]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        // A stray "[" is more often a typing error than a name.
        builder.allow_unclosed_class(false);
        for file in files {
            if let Some(error) = builder.add(file) {
                return Err(unusable(file, &error));
            }
        }
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| unusable(Path::new(pattern), &error))?;
        }
        let matcher =
            builder.build().map_err(|e| Error::Refused(format!("the exclude patterns cannot be used: {e}")))?;
        Ok(Self { matcher })
    }

    /// Says whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    /// Says whether `path`, relative to its root, is left out; a directory takes all of its contents with it.
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        !self.is_empty() && self.matcher.matched(Path::new(OsStr::from_bytes(path)), is_dir).is_ignore()
    }
}

fn unusable(what: &Path, error: &ignore::Error) -> Error {
    match error.io_error() {
        Some(cause) => Error::Io {
            op: "read exclude file",
            path: what.to_path_buf(),
            source: std::io::Error::new(cause.kind(), cause.to_string()),
        },
        None => Error::Refused(format!("exclude pattern {}: {error}", what.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::Excludes;
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
