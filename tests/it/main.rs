//! The one integration binary: librdkafka is linked once, not once a file.
//!
//! Each module is named after what it holds the program to.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod architecture;
mod mistakes;
mod shipped;
