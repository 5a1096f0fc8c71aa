//! Equality of bodies as JSON, without a document tree.
//!
//! Placeholder digest of bytes.

use xxhash_rust::xxh3::xxh3_128;

/// A digest.
pub fn digest(body: &[u8]) -> u128 {
    xxh3_128(body)
}
