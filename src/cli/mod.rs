//! The command line: what can be asked, how it is explained, and with which code the process ends.
//!
//! Only `check` is carried out here; `run` and `demo` are `app`'s and `demo`'s.

pub mod args;
pub mod check;
mod exit;

pub use args::{Cli, Command};
pub use exit::Exit;
