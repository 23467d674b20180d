//! How flags, file and preset are merged, what they may not say, and that an expanded site reads back as itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::expand;
use super::merge;
use super::model::Site;
use super::preset;
use super::rules::{DatabaseRule, FilesRule, Place, RowsCheck};
use crate::args;
use crate::config::{File, parse_over, read};

fn merged(path: &str, text: &str, line: &str) -> Result<Site, String> {
    let file = if text.is_empty() { File::default() } else { read(Path::new(path), text)? };
    let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let first = args::parse(&arguments).map_err(|error| error.to_string())?;
    let matches = parse_over(&file, &arguments, &first).map_err(|error| error.to_string())?;
    merge::site(matches.subcommand().unwrap().1, &file)
}

fn site(text: &str, line: &str) -> Site {
    merged("lrl.toml", text, line).unwrap()
}

fn path(text: &str) -> Place {
    Place::Path(text.into())
}

#[test]
fn without_a_root_the_manuals_layout_holds() {
    for line in ["lrl backup", "lrl backup --data-dir x", "lrl drill", "lrl snapshots"] {
        assert_eq!(site("", line), Site::default(), "{line}");
    }
    assert!(site("", "lrl backup").is_manual());
    let lab = site("app = 'lab'", "lrl backup");
    assert!(lab.is_manual() && lab.databases.is_empty() && lab.checks.len() == 1);
    let checked = site("[[check]]\nrows = 'SELECT path FROM files'", "lrl drill");
    assert!(checked.is_manual() && checked.checks.len() == 1);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_preset() {
    let text = "root = '/srv'\napp = 'linkding'\n[[database]]\npath = './a.db'\nrequire-tables = ['t']\n";
    let of_file = site(text, "lrl backup");
    assert_eq!(of_file.root, Some("/srv".into()));
    assert_eq!(of_file.databases, [DatabaseRule { place: path("a.db"), require_tables: vec!["t".into()] }]);
    assert_eq!(of_file.files[0].secret, ["/secretkey.txt"]);
    assert_eq!((of_file.checks.len(), of_file.source.as_deref()), (2, Some("linkding")));
    let of_flags = site(
        text,
        "lrl backup --database b.db --database u/*/c.db --files media/ --root x --source s --app django --plain *.x",
    );
    let places: Vec<_> = of_flags.databases.into_iter().map(|rule| rule.place).collect();
    assert_eq!(places, [path("b.db"), Place::Pattern("u/*/c.db".into())]);
    assert_eq!(of_flags.files, [FilesRule { place: path("media"), exclude: vec![], secret: vec![] }]);
    assert_eq!((of_flags.root, of_flags.source.as_deref()), (Some("x".into()), Some("s")));
    assert_eq!((of_flags.app.unwrap().name.as_str(), of_flags.plain), ("django", vec!["*.x".to_string()]));
    let none = site("root = '.'\napp = 'linkding'\ndatabase = []\nfiles = []\ncheck = []", "lrl backup");
    assert_eq!((none.databases.len(), none.files.len(), none.checks.len()), (0, 0, 0));
}

#[test]
fn a_root_in_a_file_is_relative_to_that_file() {
    let root = |file: &str, root: &str| merged(file, &format!("root = '{root}'"), "lrl backup").unwrap().root.unwrap();
    for (file, given, expected) in [
        ("lrl.toml", ".", "."),
        ("./lrl.toml", "site", "site"),
        ("/srv/site/lrl.toml", ".", "/srv/site"),
        ("../x/lrl.toml", "data", "../x/data"),
        ("/srv/lrl.toml", "/data", "/data"),
    ] {
        assert_eq!(root(file, given), PathBuf::from(expected), "{file} {given}");
    }
    assert_eq!(merged("/srv/lrl.toml", "root = '.'", "lrl backup --root y").unwrap().root, Some("y".into()));
}

#[test]
fn a_verb_without_the_flags_has_the_files_site() {
    let text = "root = '/srv'\napp = 'linkding'\nplain = ['*.x']";
    for line in ["lrl drill", "lrl snapshots", "lrl restore", "lrl config"] {
        assert_eq!(site(text, line), site(text, "lrl backup"), "{line}");
    }
}

#[test]
fn a_data_directory_as_a_flag_wins_over_a_root_in_the_file() {
    let site = site("root = '/srv'\nsource = 's'\n[[database]]\npath = 'a.db'", "lrl backup --data-dir ./data");
    assert!(site.is_manual() && site.databases.is_empty() && site.source.as_deref() == Some("s"));
    assert!(merged("", "", "lrl backup --data-dir a --root b").unwrap_err().contains("name two places"));
}

#[test]
fn what_has_no_root_says_so() {
    for (text, line, name) in [
        ("", "lrl backup --database a.db", "--database"),
        ("", "lrl backup --files a", "--files"),
        ("", "lrl backup --app django", "app"),
        ("plain = ['*.db']", "lrl backup", "plain"),
        ("[[files]]\npath = '.'", "lrl backup", "[[files]]"),
    ] {
        let error = merged("lrl.toml", text, line).unwrap_err();
        assert!(error.starts_with(name) && error.contains("--root DIR"), "{line}: {error}");
    }
}

#[test]
fn a_wrong_rule_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "\n[[database]]\npath = '/srv/a.db'",
            "lrl.toml:3: [[database]] path cannot be \"/srv/a.db\": it must be relative",
        ),
        ("[[database]]\npath = '../a.db'", "leads out of the root"),
        ("[[database]]\npath = '.'", "the root itself"),
        ("[[database]]\npath = 3", "lrl.toml:2: [[database]] path expects one string"),
        ("[[database]]\npath = 'a'\npattern = 'b'", "lrl.toml:1: [[database]] has both path and pattern"),
        ("[[database]]\nrequire-tables = ['t']", "[[database]] needs path or pattern"),
        (
            "[[database]]\npath = 'a'\nrequire_tables = []",
            "lrl.toml:3: [[database]] has no key \"require_tables\"; the nearest known key is \"require-tables\"",
        ),
        ("[database]\npath = 'a'", "lrl.toml:1: database expects tables: write [[database]]"),
        ("database = ['a.db']", "database expects tables"),
        ("[[files]]\npath = '.'\nexclude = ['ok', '[a-']", "lrl.toml:3: [[files]] exclude cannot have \"[a-\""),
        ("[[files]]\npath = '.'\nsecret = 'x'", "[[files]] secret expects a list of strings"),
        ("[[files]]\npattern = '/x'", "must be relative to the root"),
        ("[[check]]\nname = 'x'", "[[check]] needs rows"),
        ("[[check]]\nrows = 'DELETE FROM t'", "must begin with SELECT"),
        ("[[check]]\nrows = 'SELECT 1'\ndatabase = '/a'", "[[check]] database cannot be"),
        ("plain = ['../x']", "plain cannot be \"../x\""),
        ("app = 'vaultwardn'", "the nearest one is \"vaultwarden\""),
        ("databse = []", "unknown key \"databse\"; the nearest known key is \"database\""),
    ] {
        let error = merged("lrl.toml", text, "lrl backup").unwrap_err();
        assert!(error.contains(expected) && error.starts_with("lrl.toml:"), "{text}: {error}");
    }
    for line in
        ["lrl backup --database /a", "lrl backup --database .", "lrl backup --files ../a", "lrl backup --plain ["]
    {
        assert!(merged("", "", line).is_err(), "{line}");
    }
}

#[test]
fn an_expanded_preset_reads_back_as_itself() {
    for preset in preset::all() {
        let before = site("", &format!("lrl backup --root /srv --app {}", preset.name));
        let text = expand::site(&before, Path::new("./data")).unwrap();
        assert_eq!(site(&text, "lrl backup"), before, "{text}");
    }
    let text = expand::site(&Site::default(), Path::new("./d")).unwrap();
    assert_eq!(site(&text, "lrl config"), Site::default(), "{text}");
}

fn texts(of: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(of, 0..4)
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        "[a-zé \"'\\\\\u{202e}\n*]{1,9}(/[a-z#]{1,9})?".prop_map(Place::Path),
        "[a-z*?]{1,9}(/[a-z*]{1,9})?".prop_map(Place::Pattern),
    ]
}

prop_compose! {
    fn any_site()(
        databases in prop::collection::vec((place(), texts("\\PC{1,9}x")), 0..4),
        files in prop::collection::vec((place(), texts("[a-z/*]{0,9}x"), texts("!?[a-z/*]{0,9}x")), 0..4),
        plain in texts("[a-z/*]{0,9}x"),
        checks in prop::collection::vec(("SELECT '[^\u{0}';\"]{0,30}' AS path", prop::option::of("[a-z]{1,9}"), prop::option::of("\\PC{1,9}x")), 0..3),
        source in prop::option::of("[a-z]{1,9}"),
        app in prop::option::of(0..preset::all().len()),
    ) -> Site {
        Site {
            root: Some("/srv/a site".into()),
            app: app.map(|n| &preset::all()[n]),
            databases: databases.into_iter().map(|(place, require_tables)| DatabaseRule { place, require_tables }).collect(),
            files: files.into_iter().map(|(place, exclude, secret)| FilesRule { place, exclude, secret }).collect(),
            plain,
            checks: checks.into_iter().map(|(rows, database, name)| RowsCheck { rows, database, name }).collect(),
            source,
        }
    }
}

proptest! {
    #[test]
    fn an_expanded_site_reads_back_as_itself(mut before in any_site()) {
        let text = expand::site(&before, Path::new("./data")).unwrap();
        // A preset's name is the source where nobody names one.
        before.source = before.source.or(before.app.map(|app| app.name.clone()));
        // Else that of the root's directory.
        before.source = before.source.or(Some("a-site".into()));
        prop_assert_eq!(site(&text, "lrl backup"), before, "{}", text);
    }

    #[test]
    fn no_text_breaks_out_of_quotes(text in "\\PC*|[\\x00-\\x7f]*") {
        let line = format!("x = {}", expand::quoted(&text));
        let table = toml::de::DeTable::parse(&line).unwrap();
        prop_assert_eq!(table.get_ref().get("x").and_then(|value| value.get_ref().as_str()), Some(text.as_str()));
        prop_assert_eq!(line.lines().count(), 1);
    }
}
