//! `tieline completions`: what makes a shell complete commands and options.

use super::args::{Cli, Completions};
use super::{Exit, say};
use clap::CommandFactory;
use std::io::{self, Write};

/// Prints the completions for a shell.
pub fn run(args: &Completions) -> Exit {
    say::over(io::stdout().lock().write_all(&script(args)))
}

fn script(args: &Completions) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tieline", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(&Completions { shell })).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
