//! What a rule may say: paths and patterns that stay below the root, queries that read.

use lrl_store::source::database::check_query;
use lrl_store::source::files::exclude::Excludes;
use lrl_store::source::files::include::Includes;

use super::rules::Place;

/// Checks a path below the root and returns it in its shortest form; errors are texts for the user.
pub fn path(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("is no path".into());
    }
    if text.starts_with('/') {
        return Err("must be relative to the root, not absolute".into());
    }
    stays_below(text)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() { Ok(".".into()) } else { Ok(parts.join("/")) }
}

/// Checks a path that names something below the root, not the root itself.
pub fn file(text: &str) -> Result<String, String> {
    match path(text)?.as_str() {
        "." => Err("is the root itself".into()),
        clean => Ok(clean.into()),
    }
}

/// Checks a pattern of a list like `exclude`: gitignore syntax, `/` at the beginning means the root.
pub fn pattern(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains(['\0', '\n', '\r']) {
        return Err("is no pattern".into());
    }
    if text.starts_with('#') {
        return Err("is a comment in gitignore syntax: write \\# for a name that begins so".into());
    }
    stays_below(text.trim_start_matches('!'))?;
    match Excludes::new(&[text.to_string()], &[]) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

/// Checks a pattern that selects databases or files: `*`, `?` and `[…]` within a component, `**` for any number of them.
pub fn selection(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Err("must be relative to the root, not absolute".into());
    }
    stays_below(text)?;
    match Includes::new(&[text.to_string()]) {
        Ok(_) if !text.is_empty() => Ok(text.into()),
        Ok(_) => Err("is no pattern".into()),
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

/// Reads the value of a flag: a pattern where it has a pattern's characters, else a path.
pub fn place(text: &str) -> Result<Place, String> {
    if text.contains(['*', '?', '[']) { selection(text).map(Place::Pattern) } else { path(text).map(Place::Path) }
}

/// Reads the value of `--database`.
pub fn database(text: &str) -> Result<Place, String> {
    place(text).and_then(|place| match place {
        Place::Path(text) => file(&text).map(Place::Path),
        pattern => Ok(pattern),
    })
}

/// Checks a query of a `[[check]]`.
pub fn query(text: &str) -> Result<String, String> {
    check_query(text).map(|()| text.to_string())
}

fn stays_below(text: &str) -> Result<(), String> {
    match text.split('/').any(|part| part == "..") {
        true => Err("leads out of the root: `..` is not allowed".into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, database, file, path, pattern, place, query, selection};

    #[test]
    fn paths_are_relative_and_below_the_root() {
        for (text, clean) in [(".", "."), ("./", "."), ("a/b", "a/b"), ("./a//b/", "a/b"), ("a..b", "a..b")] {
            assert_eq!(path(text).as_deref(), Ok(clean), "{text}");
        }
        for text in ["", "/a", "..", "a/../b", "../a", "a\0b"] {
            assert!(path(text).is_err(), "{text:?}");
        }
        assert!(file("./").unwrap_err().contains("the root itself"));
        assert!(path("/srv/site/a.db").unwrap_err().contains("relative to the root"));
    }

    #[test]
    fn patterns_follow_gitignore_and_stay_below_the_root() {
        for text in ["/cache/", "*.tmp", "!keep.tmp", "users/*/db.sqlite", "a b"] {
            assert_eq!(pattern(text).as_deref(), Ok(text));
        }
        for text in ["", "  ", "# comment", "[a-", "../x", "!../x", "a\nb"] {
            assert!(pattern(text).is_err(), "{text:?}");
        }
        assert!(selection("").is_err() && selection("/a").is_err() && selection("../*.db").is_err());
        assert!(selection("*.db").is_ok() && selection("**/a[0-9].db").is_ok() && selection("a[").is_err());
    }

    #[test]
    fn a_flag_takes_a_path_or_a_pattern() {
        assert_eq!(place("./uploads/"), Ok(Place::Path("uploads".into())));
        assert_eq!(place("."), Ok(Place::Path(".".into())));
        assert_eq!(database("users/*/db.sqlite"), Ok(Place::Pattern("users/*/db.sqlite".into())));
        assert!(database(".").is_err() && database("/srv/a.db").is_err());
    }

    #[test]
    fn queries_read() {
        assert!(query("SELECT path FROM files").is_ok());
        assert!(query("DELETE FROM files").unwrap_err().contains("SELECT"));
        assert!(query("SELECT 1; SELECT 2").unwrap_err().contains("more than one"));
    }
}
