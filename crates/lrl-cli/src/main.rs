//! The binary `lrl`; everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lrl_cli::guard(|| {
        lrl_cli::complete::answer();
        lrl_cli::umask::own();
        lrl_cli::memory_limit::limit();
        lrl_cli::signal::install();
        lrl_cli::run(&std::env::args_os().collect::<Vec<_>>())
    })
    .into()
}
