//! Where the path of a row leads.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Why a path is none below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    /// It is absolute, and begins with none of the roots.
    Absolute,
    /// It leads out by `..`, or is the root itself.
    LeadsOut,
}

impl std::fmt::Display for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absolute => "its path is absolute and not below the root",
            Self::LeadsOut => "its path leads out of the root",
        })
    }
}

/// Returns the clean path below the root that a row's path means. An absolute one may begin with one of `roots`.
pub(crate) fn below_root(path: &[u8], roots: &[Option<&Path>]) -> Result<Vec<u8>, Outside> {
    let path = match path {
        [b'/', ..] => roots.iter().flatten().find_map(|root| cut(path, root)).ok_or(Outside::Absolute)?,
        relative => relative,
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop().ok_or(Outside::LeadsOut)?),
            part if part.contains(&0) => return Err(Outside::LeadsOut),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { Err(Outside::LeadsOut) } else { Ok(parts.join(&b'/')) }
}

/// Cuts a directory from the beginning of a path; `None` if the path is not below it.
fn cut<'p>(path: &'p [u8], root: &Path) -> Option<&'p [u8]> {
    let mut root = root.as_os_str().as_bytes();
    while let [shorter @ .., b'/'] = root {
        root = shorter;
    }
    path.strip_prefix(root).filter(|rest| rest.starts_with(b"/"))
}

/// Shortens a directory to what it has in common with the directory of a path, component by component.
pub(crate) fn common_directory(directory: Option<Vec<u8>>, path: &[u8]) -> Vec<u8> {
    let own = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
    let Some(mut directory) = directory else { return own.to_vec() };
    let components = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    if own.starts_with(&directory) && matches!(own.get(directory.len()), None | Some(b'/')) {
        return directory;
    }
    let both = components(&directory).into_iter().zip(components(own));
    directory = both.take_while(|(a, b)| a == b).map(|(part, _)| part).collect::<Vec<_>>().join(&b'/');
    directory
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{Outside, below_root, common_directory};
    use crate::format::entry::is_clean_path;

    #[test]
    fn paths_are_made_clean_and_stay_below_the_root() {
        let roots = [Some(Path::new("/srv/site/")), Some(Path::new("/data"))];
        for (path, expected) in [
            ("a/b", Ok("a/b")),
            ("./a//b/", Ok("a/b")),
            ("a/../b", Ok("b")),
            ("/srv/site/a/b", Ok("a/b")),
            ("/data//x", Ok("x")),
            ("/srv/sites/a", Err(Outside::Absolute)),
            ("/srv", Err(Outside::Absolute)),
            ("/etc/passwd", Err(Outside::Absolute)),
            ("/srv/site/../x", Err(Outside::LeadsOut)),
            ("/srv/site/", Err(Outside::LeadsOut)),
            ("../x", Err(Outside::LeadsOut)),
            ("a/../../x", Err(Outside::LeadsOut)),
            (".", Err(Outside::LeadsOut)),
            ("a\0b", Err(Outside::LeadsOut)),
        ] {
            let found = below_root(path.as_bytes(), &roots);
            assert_eq!(found, expected.map(|path| path.as_bytes().to_vec()), "{path}");
        }
        assert_eq!(below_root(b"/data/x", &[None, None]), Err(Outside::Absolute));
        // A root of `/` holds everything.
        assert_eq!(below_root(b"/data/x", &[Some(Path::new("/")), None]), Ok(b"data/x".to_vec()));
    }

    #[test]
    fn the_common_directory_ends_between_components() {
        let common = |paths: &[&str]| {
            let found = paths.iter().fold(None, |common, path| Some(common_directory(common, path.as_bytes())));
            String::from_utf8(found.unwrap()).unwrap()
        };
        assert_eq!(common(&["a/b/c"]), "a/b");
        assert_eq!(common(&["a/b/c", "a/bc/d"]), "a");
        assert_eq!(common(&["a/b/c", "a/b/d/e"]), "a/b");
        assert_eq!(common(&["a/b/d/e", "a/b/c"]), "a/b");
        assert_eq!(common(&["a/b", "c/d"]), "");
        assert_eq!(common(&["x", "c/d"]), "");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_clean_path_or_outside(path in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(clean) = below_root(&path, &[Some(Path::new("/")), None]) {
                prop_assert!(is_clean_path(&clean));
            }
        }
    }
}
