//! The command line: what can be asked, how it is explained, and with which code the process ends.
//!
//! `demo` is carried out by the module of that name.

pub mod args;
pub mod check;
pub mod completions;
mod control;
mod door;
pub mod explain;
mod help;
mod notify;
pub mod online;
pub mod run;
mod say;
pub mod state;
pub mod tap;
pub mod topics;

pub use crate::exit::Exit;
pub use args::{Cli, Command};
