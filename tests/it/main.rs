//! The one integration binary: the library and the program from outside, against real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod catalogue;
#[cfg(feature = "demo")]
mod demo;
mod deployment;
mod doors;
mod hanging;
mod logs;
mod mistakes;
mod platform;
mod secrets;
mod servers;
mod shipped;
mod sinks;
