//! Presets: what is known of applications, as data in `presets/`, one small TOML file each, built into the program.

use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::checked;
use super::tables::{self, Tables};

/// What is known of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// Its name for `--app`.
    pub name: String,
    /// Other names that it answers to.
    pub aliases: Vec<String>,
    /// The application's own name.
    pub title: String,
    /// The repository and version that the facts were read from.
    pub read_from: String,
    /// What to know before a restore, for the proposal; may be empty.
    pub notes: Vec<String>,
    /// How it is recognised.
    pub signature: Signature,
    /// Databases, files and checks.
    pub tables: Tables,
    /// SQLite files that are stored as ordinary files.
    pub plain: Vec<String>,
    /// How a proposal gets further checks, from the rows that there are.
    pub checks_from: Option<ChecksFrom>,
}

/// A query that writes checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksFrom {
    /// The database that it runs in.
    pub database: String,
    /// It returns one value: a JSON list of objects with `name` and `rows`.
    pub query: String,
}

/// How a directory of the application is recognised: all of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// Names of which all must be there, below the directory.
    pub files: Vec<String>,
    /// Names of which one must be there.
    pub any: Vec<String>,
    /// The database; `*` stands for one component, and the first one found counts.
    pub database: Option<String>,
    /// Tables that it must have.
    pub tables: Vec<String>,
}

impl Signature {
    /// Returns the number of conditions: of two that hold, the one with more is the more specific.
    pub fn conditions(&self) -> usize {
        self.files.len() + usize::from(!self.any.is_empty()) + usize::from(self.database.is_some()) + self.tables.len()
    }
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        /// The texts, in the order of their names.
        const TEXTS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../presets/", $name, ".toml")))),*];
    };
}

presets!(
    "actual",
    "audiobookshelf",
    "campfire",
    "datasette",
    "django",
    "freshrss",
    "gitea",
    "gitea-docker",
    "grafana",
    "home-assistant",
    "jellyfin",
    "lab",
    "linkding",
    "mealie",
    "memos",
    "n8n",
    "navidrome",
    "open-webui",
    "paperless",
    "pocketbase",
    "rails",
    "uptime-kuma",
    "vaultwarden",
);

// That each of them parses is a test's business.
static ALL: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let mut all: Vec<Preset> = TEXTS.iter().filter_map(|(name, text)| parse(name, text).ok()).flatten().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
});

/// Returns every preset, in the order of their names.
pub fn all() -> &'static [Preset] {
    &ALL
}

/// Finds a preset by its name, or by another one that it answers to.
pub fn named(name: &str) -> Option<&'static Preset> {
    let name = name.to_ascii_lowercase();
    all().iter().find(|preset| preset.name == name || preset.aliases.contains(&name))
}

/// Parses the value of `--app`; the error names the nearest one.
pub fn app(name: &str) -> Result<&'static Preset, String> {
    named(name).ok_or_else(|| {
        let lower = name.to_ascii_lowercase();
        let names = all().iter().flat_map(|preset| std::iter::once(&preset.name).chain(&preset.aliases));
        let nearest = names.min_by_key(|known| strsim::damerau_levenshtein(known, &lower));
        let nearest = nearest.map(String::as_str).unwrap_or_default();
        format!(
            "there is no preset of this name; the nearest one is {nearest:?}, and `lrl setup --list-apps` lists all"
        )
    })
}

/// Stands for the directory below the root in which one of the variants of a preset has everything.
const PREFIX: &str = "{at}";

/// Reads a preset's file, which may describe variants that differ in a prefix; errors are texts for its author.
pub fn parse(name: &str, text: &str) -> Result<Vec<Preset>, String> {
    let table = DeTable::parse(text).map_err(|error| format!("{name}: {error}"))?;
    let Some(variants) = table.get_ref().get("variants") else { return Ok(vec![parse_one(name, text)?]) };
    let variants = variants.get_ref().as_table().ok_or_else(|| format!("{name}: variants is a table"))?;
    let variant = |(key, prefix): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let prefix = string(prefix.get_ref()).map_err(|error| format!("{name}: variants: {error}"))?;
        parse_one(key.get_ref(), &text.replace(PREFIX, &prefix))
    };
    variants.iter().map(variant).collect()
}

fn parse_one(name: &str, text: &str) -> Result<Preset, String> {
    let at = |offset: usize| {
        let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        format!("{name}:{line}")
    };
    let table = DeTable::parse(text).map_err(|error| format!("{name}: {error}"))?;
    let mut preset = Preset {
        name: name.into(),
        aliases: Vec::new(),
        title: String::new(),
        read_from: String::new(),
        notes: Vec::new(),
        signature: Signature::default(),
        tables: Tables::default(),
        plain: Vec::new(),
        checks_from: None,
    };
    for (key, value) in table.get_ref() {
        let wrong = |text: String| format!("{}: {text}", at(key.span().start));
        match key.get_ref().as_ref() {
            "title" => preset.title = string(value.get_ref()).map_err(wrong)?,
            "read-from" => preset.read_from = string(value.get_ref()).map_err(wrong)?,
            "aliases" => preset.aliases = strings(value.get_ref()).map_err(wrong)?,
            "notes" => preset.notes = strings(value.get_ref()).map_err(wrong)?,
            "plain" => preset.plain = checked(value.get_ref(), checked::pattern).map_err(wrong)?,
            "signature" => preset.signature = signature(value.get_ref()).map_err(wrong)?,
            "checks-from" => preset.checks_from = Some(checks_from(value.get_ref()).map_err(wrong)?),
            "variants" => {}
            known if tables::NAMES.contains(&known) => preset.tables.read(known, value, &at)?,
            other => return Err(wrong(format!("unknown key {other:?}"))),
        }
    }
    if preset.title.is_empty() || preset.read_from.is_empty() || preset.signature.conditions() == 0 {
        return Err(format!("{name}: title, read-from or signature is missing"));
    }
    Ok(preset)
}

fn checks_from(value: &DeValue<'_>) -> Result<ChecksFrom, String> {
    let table = value.as_table().ok_or("checks-from is a table")?;
    let key = |name: &str| table.get(name).ok_or_else(|| format!("checks-from needs {name}")).map(Spanned::get_ref);
    Ok(ChecksFrom {
        database: checked::file(&string(key("database")?)?)?,
        query: checked::query(&string(key("query")?)?)?,
    })
}

fn signature(value: &DeValue<'_>) -> Result<Signature, String> {
    let table = value.as_table().ok_or("signature is a table")?;
    let mut signature = Signature::default();
    for (key, value) in table {
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "files" => signature.files = checked(value, checked::file)?,
            "any" => signature.any = checked(value, checked::file)?,
            "database" => signature.database = Some(checked::file(&string(value)?)?),
            "tables" => signature.tables = strings(value)?,
            other => return Err(format!("signature has no key {other:?}")),
        }
    }
    Ok(signature)
}

fn string(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_string).ok_or_else(|| "expected one string".into())
}

fn strings(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let values = value.as_array().ok_or("expected a list of strings")?;
    values.iter().map(|value| string(value.get_ref())).collect()
}

fn checked(value: &DeValue<'_>, check: fn(&str) -> Result<String, String>) -> Result<Vec<String>, String> {
    strings(value)?.iter().map(|text| check(text).map_err(|reason| format!("{text:?} {reason}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{TEXTS, all, app, named, parse};

    #[test]
    fn every_preset_parses_and_has_its_own_names() {
        let mut count = 0;
        for (name, text) in TEXTS {
            let presets = parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            count += presets.len();
            assert!(text.starts_with("# "), "{name} begins with a comment");
            assert!(presets.iter().all(|preset| preset.tables.files.is_some()), "{name}");
            assert!(presets.iter().any(|preset| preset.name == *name), "{name}");
        }
        assert_eq!(all().len(), count);
        let mut names: Vec<_> = all().iter().flat_map(|p| p.aliases.iter().chain([&p.name])).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_file_is_built_in() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
        let mut files: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut built_in: Vec<_> = TEXTS.iter().map(|(name, _)| format!("{name}.toml")).collect();
        built_in.sort();
        assert_eq!(files, built_in);
    }

    #[test]
    fn a_name_is_found_in_any_case_and_an_unknown_one_has_a_nearest() {
        assert_eq!(named("Forgejo").unwrap().name, "gitea");
        assert!(app("vaultwarde").unwrap_err().contains("\"vaultwarden\""));
    }

    #[test]
    fn a_wrong_preset_is_refused_with_its_place() {
        for (text, expected) in [
            ("title = 'x'", "missing"),
            ("title = 3", "x:1: expected one string"),
            ("\ncolour = 'x'", "x:2: unknown key"),
            ("[signature]\nfiles = ['../x']", "leads out of the root"),
            ("[[database]]\npath = '/x'", "x:2: [[database]] path"),
        ] {
            let error = parse("x", text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
