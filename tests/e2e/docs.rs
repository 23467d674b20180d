//! Generated documents are current.

use lrl_cli::docs::cli_reference;

use crate::common::repository;
use crate::generated_docs::Document;

#[test]
fn docs_cli_md_is_what_the_help_says() {
    let path = repository().join("docs/CLI.md");
    let expected = cli_reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/CLI.md is out of date: run UPDATE_DOCS=1 cargo test -p lrl-cli --test e2e docs");
}

#[test]
fn the_table_of_exit_codes_is_in_the_help() {
    let help = lrl_cli::args::examples::TOP;
    for (exit, _) in lrl_cli::exit::TABLE {
        let code = exit.code().to_string();
        assert!(help.split_whitespace().any(|word| word == code), "exit code {code} is not in lrl --help");
    }
}

#[test]
fn the_table_of_exit_codes_in_compat_md_is_the_programs() {
    let mut document = Document::open("docs/COMPAT.md");
    let lines = lrl_cli::exit::TABLE.map(|(exit, meaning)| format!("{:>3}  {meaning}\n", exit.code()));
    document.expect("exit-codes", &lines.concat());
    document.close();
}
