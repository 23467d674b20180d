//! Where a store is, parsed from what a user typed. Touches neither disk nor network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint};

/// Where a store is: a directory, or a prefix of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Directory(PathBuf),
    /// A prefix of a bucket, by its URL.
    Bucket(String),
}

/// Schemes of buckets' URLs, the features that have them, and whether they are built in.
const BUCKETS: [(&str, &str, bool); 3] = [
    ("s3", "s3", cfg!(feature = "s3")),
    ("gs", "gcs", cfg!(feature = "gcs")),
    ("az", "azure", cfg!(feature = "azure")),
];

impl Location {
    /// Parses a path, or a URL such as `s3://bucket/prefix?region=eu-central-1`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a URL whose scheme is unknown or not built in.
    pub fn parse(named: impl Into<PathBuf>) -> Result<Self> {
        let named = named.into();
        match named.to_str().and_then(|text| Some((text, text.split_once("://")?.0))) {
            None => Ok(Self::Directory(named)),
            Some((url, scheme)) => {
                let known = BUCKETS.into_iter().find(|(known, ..)| *known == scheme);
                let text = || format!("a store at {scheme}:// ({})", named.display());
                match known {
                    Some((_, _, true)) => Ok(Self::Bucket(url.into())),
                    Some((_, feature, false)) => {
                        Err(Error::Unsupported { what: text().hint(Hint::BuildWith(feature)) })
                    }
                    None => Err(Error::Unsupported { what: text().into() }),
                }
            }
        }
    }

    /// Returns the place above, where this one means all stores in it (`…/*`).
    pub fn all_below(&self) -> Option<Self> {
        match self {
            Self::Directory(path) => path.to_str()?.strip_suffix("/*").map(|above| match above {
                "" => Self::Directory("/".into()),
                above => Self::Directory(above.into()),
            }),
            Self::Bucket(url) => {
                let (path, query) = url.split_once('?').map_or((&**url, None), |(path, query)| (path, Some(query)));
                let above = path.strip_suffix("/*")?;
                Some(Self::Bucket(query.map_or_else(|| above.into(), |query| format!("{above}?{query}"))))
            }
        }
    }

    /// Returns the place of that name one level below.
    pub(crate) fn below(&self, name: &OsStr) -> Self {
        match self {
            Self::Directory(path) => Self::Directory(path.join(name)),
            Self::Bucket(url) => {
                let (path, query) = url.split_once('?').map_or((&**url, None), |(path, query)| (path, Some(query)));
                // What a URL would take for something else.
                let name: String = name
                    .to_string_lossy()
                    .chars()
                    .map(|c| match c {
                        '%' | '?' | '#' => format!("%{:02X}", u32::from(c)),
                        c => c.to_string(),
                    })
                    .collect();
                let path = format!("{}/{name}", path.trim_end_matches('/'));
                Self::Bucket(query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
            }
        }
    }

    /// Returns the directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Bucket(_) => None,
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            // The parameters say how the bucket is reached, not which it is.
            Self::Bucket(url) => f.write_str(url.split('?').next().unwrap_or(url).trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{BUCKETS, Location};

    #[test]
    fn urls_of_buckets_are_told_from_paths() {
        let bucket = Location::parse("s3://lab/history/?endpoint=http://localhost:9000");
        if cfg!(feature = "s3") {
            let bucket = bucket.unwrap();
            assert_eq!((bucket.directory(), bucket.to_string().as_str()), (None, "s3://lab/history"));
        }
        assert_eq!(Location::parse("/s").unwrap().directory(), Some(Path::new("/s")));
        for (scheme, _, is_built_in) in BUCKETS {
            let location = Location::parse(format!("{scheme}://lab/history"));
            assert_eq!(location.is_ok_and(|location| location.directory().is_none()), is_built_in, "{scheme}");
        }
        assert!(Location::parse("ftp://lab/history").is_err());
    }

    #[test]
    fn a_star_means_all_stores_below() {
        let all = |location: &Location| location.all_below().map(|above| above.below("lab".as_ref()).to_string());
        let path = |path: &str| Location::Directory(path.into());
        let bucket = |url: &str| Location::Bucket(url.into());
        assert_eq!(all(&path("/srv/backups/*")).as_deref(), Some("/srv/backups/lab"));
        assert_eq!(all(&path("/*")).as_deref(), Some("/lab"));
        assert_eq!(all(&bucket("s3://fleet/*?region=x")).as_deref(), Some("s3://fleet/lab"));
        assert_eq!(all(&bucket("s3://fleet/a/*")).as_deref(), Some("s3://fleet/a/lab"));
        assert_eq!(all(&bucket("s3://fleet/a*")), None);
        let above = bucket("s3://fleet/*?region=x").all_below().unwrap();
        assert_eq!(above.below("lab".as_ref()), bucket("s3://fleet/lab?region=x"));
        let odd = above.below("m\u{fc}ller 50%?#".as_ref());
        assert_eq!(odd, bucket("s3://fleet/m\u{fc}ller 50%25%3F%23?region=x"));
    }
}
