//! Assertions on the restored database: a query that returns one value, and what that is compared with.

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::format::path_text;
use crate::ops::drill::verification::{ASSERTION, Check};
use crate::ops::query::limit;
use crate::source::database::{Inspector, Value, begins_query, check_query};

/// A query and a comparison, as in `SELECT count(*) FROM users` and `>= 1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    database: Option<Vec<u8>>,
    query: String,
    comparison: String,
    operator: Operator,
    literal: Literal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Integer(i64),
    Real(f64),
    Text(String),
}

const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Assertion {
    /// Parses a query and a comparison; errors are texts for the user. The query may begin with the path of the database that it is about, as in
    /// `data/users.db: SELECT count(*) FROM users`.
    ///
    /// # Errors
    ///
    /// A text for the user: what cannot be read of the two.
    pub fn parse(query: &str, comparison: &str) -> Result<Self, String> {
        let (database, query) = split_database(query).map_err(|why| format!("the query {query:?} {why}"))?;
        check_query(query).map_err(|why| format!("the query {query:?} {why}"))?;
        let comparison = comparison.trim();
        let wrong = || {
            format!(
                "the comparison {comparison:?} is none: expected =, !=, <, <=, > or >= and a number or a text in quotes, as in \">= 1\""
            )
        };
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, comparison.strip_prefix(sign)?)));
        let (operator, rest) = found.ok_or_else(wrong)?;
        let literal = literal(rest.trim()).ok_or_else(wrong)?;
        Ok(Self { database, query: query.trim().into(), comparison: comparison.into(), operator, literal })
    }

    /// Returns the path of the database that it is about; `None` is the first.
    pub(crate) fn database(&self) -> Option<&[u8]> {
        self.database.as_deref()
    }

    /// Returns whether a value is as it should be; the error says why it cannot be compared.
    fn holds(&self, value: &Value) -> Result<bool, String> {
        let order = match (value, &self.literal) {
            (Value::Integer(a), Literal::Integer(b)) => Some(a.cmp(b)),
            (Value::Integer(a), Literal::Real(b)) => (*a as f64).partial_cmp(b),
            (Value::Real(a), Literal::Integer(b)) => a.partial_cmp(&(*b as f64)),
            (Value::Real(a), Literal::Real(b)) => a.partial_cmp(b),
            (Value::Text(a), Literal::Text(b)) => Some(a.cmp(b)),
            _ => None,
        };
        let order = order.ok_or_else(|| format!("{} cannot be compared with it", describe(value)))?;
        Ok(match self.operator {
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Greater => order == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
        })
    }
}

impl std::fmt::Display for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{}: ", path_text::encode(database))?;
        }
        write!(f, "{} {}", self.query, self.comparison)
    }
}

/// Takes the path of a database from the beginning of a query; errors are texts for the user.
fn split_database(query: &str) -> Result<(Option<Vec<u8>>, &str), String> {
    let is_path = |at: &usize| begins_query(&query[at + 2..]);
    let colon = query.match_indices(": ").map(|(at, _)| at).find(is_path).filter(|_| !begins_query(query));
    let Some(colon) = colon else { return Ok((None, query)) };
    let path = query[..colon].trim();
    let decoded = path_text::decode(path.strip_prefix("./").unwrap_or(path)).filter(|path| is_clean_path(path));
    let path = decoded.ok_or("begins with what is no database's path below the root")?;
    Ok((Some(path), query[colon + 2..].trim_start()))
}

fn literal(text: &str) -> Option<Literal> {
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Some(Literal::Text(inside.into()));
        }
    }
    let real = || text.parse().ok().filter(|real: &f64| real.is_finite()).map(Literal::Real);
    text.parse().ok().map(Literal::Integer).or_else(real)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "no value (NULL, or no row)".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("the text {:?}", text.chars().take(100).collect::<String>()),
        Value::Blob(len) => format!("a blob of {len} bytes"),
    }
}

/// Runs one assertion in the restored database.
pub(crate) fn check(
    inspector: &Inspector<'_>,
    assertion: &Assertion,
    temp: &Path,
    time_limit: Duration,
) -> Result<Check> {
    let answer = match inspector.scalar(&assertion.query, &limit::limit(temp, time_limit)) {
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        other => other,
    };
    let (error, value) = match answer {
        Err(error) => (Some(error.to_string()), None),
        Ok(value) => (
            match assertion.holds(&value) {
                Ok(true) => None,
                Ok(false) => Some(format!("it gives {}, not {}", describe(&value), assertion.comparison)),
                Err(why) => Some(why),
            },
            Some(value),
        ),
    };
    let value = match value {
        Some(Value::Integer(number)) => number.into(),
        Some(Value::Real(number)) => number.into(),
        Some(Value::Text(text)) => text.into(),
        Some(Value::Null | Value::Blob(_)) | None => serde_json::Value::Null,
    };
    let mut check = Check::new(ASSERTION, error)
        .with("query", assertion.query.as_str())
        .with("comparison", assertion.comparison.as_str())
        .with("value", value);
    if let Some(database) = &assertion.database {
        check = check.with("database", path_text::encode(database));
    }
    check.note = Some(assertion.to_string());
    Ok(check)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Assertion, Value};

    fn holds(comparison: &str, value: Value) -> Result<bool, String> {
        Assertion::parse("SELECT 1", comparison).unwrap().holds(&value)
    }

    #[test]
    fn numbers_and_texts_are_compared_with_their_like() {
        for (comparison, value, expected) in [
            (">= 1", Value::Integer(1), true),
            (">=2", Value::Integer(1), false),
            ("> 0.5", Value::Integer(1), true),
            ("= 9007199254740993", Value::Integer(9_007_199_254_740_993), true),
            ("= 9007199254740992", Value::Integer(9_007_199_254_740_993), false),
            ("<= -1", Value::Real(-1.0), true),
            ("< 1e3", Value::Real(999.5), true),
            ("!= 'a'", Value::Text("b".into()), true),
            ("= \"it's\"", Value::Text("it's".into()), true),
            ("> '2026-01'", Value::Text("2026-01-14".into()), true),
            ("= ''", Value::Text(String::new()), true),
        ] {
            assert_eq!(holds(comparison, value.clone()), Ok(expected), "{value:?} {comparison}");
        }
        for (comparison, value) in [
            ("= 1", Value::Text("1".into())),
            ("!= '1'", Value::Integer(1)),
            ("!= 1", Value::Null),
            ("= 1", Value::Blob(1)),
            ("!= 1", Value::Real(f64::NAN)),
        ] {
            assert!(holds(comparison, value.clone()).is_err(), "{value:?} {comparison}");
        }
    }

    #[test]
    fn wrong_words_are_told_before_anything_runs() {
        for comparison in ["", "1", "== 1", "<> 1", ">=", "> x", "= 'a", "= NaN", "= inf", "=> 1", "like 'a'", "= '"] {
            let error = Assertion::parse("SELECT 1", comparison).unwrap_err();
            assert!(error.contains("expected =, !="), "{comparison}: {error}");
        }
        for query in [
            "",
            " ",
            "SELEC 1",
            "SELECT",
            "SELECT (1",
            "SELECT 'a",
            "SELECT 1; SELECT 2",
            "DELETE FROM users",
            "PRAGMA user_version",
            "ATTACH 'x' AS y",
            "-- nothing",
        ] {
            let error = Assertion::parse(query, "= 1").unwrap_err();
            assert!(error.contains("the query"), "{query}: {error}");
        }
        for query in ["SELECT count(*) FROM users", "select 1;", " WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1)"]
        {
            assert_eq!(Assertion::parse(query, "= 1").map(drop), Ok(()), "{query}");
        }
    }

    #[test]
    fn a_query_may_begin_with_a_databases_path() {
        let parse = |query: &str| Assertion::parse(query, "= 1");
        let of = |query: &str| parse(query).unwrap().database().map(|path| String::from_utf8_lossy(path).into_owned());
        assert_eq!(of("SELECT ': SELECT 1'"), None);
        assert_eq!(of("data/a b.db: SELECT 1").as_deref(), Some("data/a b.db"));
        assert_eq!(of("./x: y.db:  select ': SELECT 1'").as_deref(), Some("x: y.db"));
        assert_eq!(parse("a.db: SELECT 1").unwrap().to_string(), "a.db: SELECT 1 = 1");
        assert_eq!(parse("a.db: SELECT 1").unwrap().query, "SELECT 1");
        for wrong in [
            "/a.db: SELECT 1",
            "../a.db: SELECT 1",
            ": SELECT 1",
            "a.db:SELECT 1",
            "a.db: DELETE FROM x",
            "a\\q: SELECT 1",
        ] {
            assert!(parse(wrong).unwrap_err().contains("the query"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(query: String, comparison: String) {
            let _ = (Assertion::parse(&query, "= 1"), Assertion::parse("SELECT 1", &comparison));
        }
    }
}
