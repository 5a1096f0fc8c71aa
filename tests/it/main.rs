//! The one integration binary: the library and the program from outside, against real servers.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and it tells real time"
)]

mod architecture;
mod catalogue;
mod doors;
mod logs;
mod mistakes;
mod platform;
mod secrets;
mod servers;
mod shipped;
mod sinks;
