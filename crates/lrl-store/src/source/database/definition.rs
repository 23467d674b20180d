//! Definitions of a schema as parts of a script. SQLite reads the first statement of a definition and ignores what follows; a script runs that too.

/// Returns whether a definition is one statement that ends where it ends: a hostile one may hold others, or hide the end in a comment.
pub(crate) fn is_single(sql: &str) -> bool {
    let mut rest = sql;
    let mut depth = 0u32;
    while let Some(c) = rest.chars().next() {
        let after = match c {
            '\'' | '"' | '`' => rest[1..].find(c).map(|at| at + 2),
            '[' => rest.find(']').map(|at| at + 1),
            '-' if rest.starts_with("--") => rest.find('\n').map(|at| at + 1),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map(|at| at + 4),
            ';' if depth == 0 => None,
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                match rest[..end].to_ascii_uppercase().as_str() {
                    "BEGIN" | "CASE" => depth += 1,
                    "END" => depth = depth.saturating_sub(1),
                    _ => {}
                }
                Some(end)
            }
            '\0' => None,
            c => Some(c.len_utf8()),
        };
        let Some(after) = after else { return false };
        rest = &rest[after..];
    }
    depth == 0
}

/// Returns a type as it was declared if it is one that any table can have; nothing otherwise.
pub(crate) fn plain_type(declared: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '(' | ')' | ',');
    let is_closed = declared.matches('(').count() == declared.matches(')').count();
    let words = declared.to_ascii_uppercase();
    let is_type = ![
        "GENERATED",
        "AS",
        "CHECK",
        "DEFAULT",
        "REFERENCES",
        "PRIMARY",
        "UNIQUE",
        "NOT",
        "NULL",
        "COLLATE",
        "CONSTRAINT",
    ]
    .iter()
    .any(|word| words.split(|c: char| !c.is_alphanumeric()).any(|part| part == *word));
    if declared.chars().all(is_plain) && is_closed && is_type { declared } else { "" }
}

#[cfg(test)]
mod tests {
    use super::{is_single, plain_type};

    #[test]
    fn what_follows_a_definition_is_found() {
        for sql in [
            "CREATE TABLE t(a, b DEFAULT ';', \"c;\", [d;], `e;`) -- the end\n",
            "CREATE TABLE t(a CHECK(a <> 'it''s;')) /* ; */",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM u; END",
            "CREATE TABLE ending(begins, ends)",
        ] {
            assert!(is_single(sql), "{sql}");
        }
        for sql in [
            "CREATE TABLE t(a); DROP TABLE u",
            "CREATE TABLE t(a) --",
            "CREATE TABLE t(a) /*",
            "CREATE TABLE t(a DEFAULT 'x)",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END; DROP TABLE u",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1;",
            "CREATE TABLE t(a)\0",
        ] {
            assert!(!is_single(sql), "{sql}");
        }
    }

    #[test]
    fn types_are_kept_where_they_are_only_types() {
        for (declared, plain) in [
            ("INTEGER", "INTEGER"),
            ("VARCHAR(20)", "VARCHAR(20)"),
            ("x GENERATED ALWAYS", ""),
            ("a; b", ""),
            ("(", ""),
        ] {
            assert_eq!(plain_type(declared), plain);
        }
    }
}
