//! The binary `lrl`; everything is in the library beside it.

use std::process::ExitCode;

use lrl_cli::exit;

fn main() -> ExitCode {
    let exit = lrl_cli::guard(|| {
        lrl_cli::complete::answer();
        lrl_cli::umask::own();
        lrl_cli::memory_limit::limit();
        lrl_cli::signal::install();
        lrl_cli::run(&std::env::args_os().collect::<Vec<_>>())
    });
    exit::application().map_or_else(|| exit.into(), ExitCode::from)
}
