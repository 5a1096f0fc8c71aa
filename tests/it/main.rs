//! The one integration binary: librdkafka is linked once, and servers are shared.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and tells real time"
)]

mod servers;
mod sinks;
