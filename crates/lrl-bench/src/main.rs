//! The binary `lrl-bench`; everything is in the library beside it.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Err(error) = lrl_bench::run(std::env::args_os()) else { return ExitCode::SUCCESS };
    match error.downcast::<clap::Error>() {
        Ok(usage) => usage.exit(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lrl-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
