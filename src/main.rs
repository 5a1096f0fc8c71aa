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
        Command::Topics(topics) => cli::topics::run(&topics),
        Command::State(door) => cli::state::run(&door),
        Command::Gaps(door) => cli::state::gaps(&door),
        Command::Tap(tap) => cli::tap::run(&tap),
        Command::Completions(completions) => cli::completions::run(&completions),
        Command::Explain(explain) => cli::explain::run(&explain),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => tieline::demo::run(&demo),
    }
}
