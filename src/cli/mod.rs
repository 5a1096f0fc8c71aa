//! The command line: what can be asked, how it is explained, and with which code the process ends.
//!
//! `demo` is carried out by the module of that name.

pub mod args;
pub mod check;
pub mod explain;
pub mod run;

pub use crate::exit::Exit;
pub use args::{Cli, Command};
