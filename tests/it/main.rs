//! The one integration binary: the library and the program from outside, against real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod bad_input;
mod books;
mod browser;
mod catalogue;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod chaos;
mod check;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod consumers;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod contract;
#[cfg(feature = "demo")]
mod demo;
mod deployment;
mod doors;
mod explain;
mod gaps;
mod handover;
mod hanging;
mod harness;
mod journal;
mod logs;
mod mistakes;
mod page;
mod parked;
mod people;
mod platform;
mod privacy;
mod proxies;
mod queues;
mod reconnect;
mod redundant;
mod reload;
mod restarts;
mod rotation;
mod routes;
mod secrets;
mod servers;
mod shards;
mod shipped;
mod shutdown;
mod sinks;
mod soak;
mod supply;
mod unreachable;
mod watching;
