//! The one integration binary: the library and the program from outside, against real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod bad_input;
mod books;
mod catalogue;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod consumers;
#[cfg(feature = "demo")]
mod demo;
mod deployment;
mod doors;
mod gaps;
mod hanging;
mod harness;
mod logs;
mod mistakes;
mod platform;
mod reconnect;
mod rotation;
mod secrets;
mod servers;
mod shipped;
mod shutdown;
mod sinks;
