//! The one integration binary: librdkafka is linked once, and servers are shared.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod servers;
mod sinks;
