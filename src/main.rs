//! One page: arguments, configuration, run, drain, exit code.

use std::process::ExitCode;
use tieline::cli::{self, Cli, Command};

fn main() -> ExitCode {
    match Cli::read(std::env::args_os()) {
        Ok(cli) => perform(cli.command).into(),
        Err(exit) => exit.into(),
    }
}

fn perform(command: Command) -> cli::Exit {
    match command {
        Command::Run(run) => cli::run::run(&run),
        Command::Check(check) => cli::check::run(&check),
        Command::Explain(explain) => cli::explain::run(&explain),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => tieline::demo::run(&demo),
    }
}
