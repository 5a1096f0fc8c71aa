//! The one integration binary: linking the clients once is enough.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops at that line"
)]

mod logs;
mod platform;
mod secrets;
mod servers;
