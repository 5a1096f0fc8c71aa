//! Seeded chance: one independent stream of random numbers per purpose, and the ids made from it.
//!
//! Nothing here reads the system's randomness, so that one seed always means one run.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};

/// A stream of random numbers whose algorithm is fixed, so that a seed outlives a new release.
pub(crate) type Chance = Xoshiro256PlusPlus;

/// The stream for one purpose. Purposes do not disturb each other: taking more numbers from one
/// changes nothing in another.
pub(crate) fn stream(seed: u64, purpose: &str) -> Chance {
    // FNV-1a: a fixed and well-known hash, because the standard library's may change.
    let label = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Chance::seed_from_u64(seed ^ label)
}

/// A version 4 UUID in lower case.
pub(crate) fn uuid(chance: &mut Chance) -> String {
    let mut bytes = [0_u8; 16];
    chance.fill_bytes(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(hex(byte >> 4));
        text.push(hex(byte & 0x0f));
    }
    text
}

/// `length` characters of lower-case letters and digits, as channel ids use them.
pub(crate) fn token(chance: &mut Chance, length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(ALPHABET[chance.random_range(0..ALPHABET.len())])).collect()
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_ids_for_ever() {
        assert_eq!(uuid(&mut stream(1, "a")), uuid(&mut stream(1, "a")));
        assert_ne!(uuid(&mut stream(1, "a")), uuid(&mut stream(1, "b")));
        assert_ne!(uuid(&mut stream(1, "a")), uuid(&mut stream(2, "a")));
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let id = uuid(&mut stream(7, "shape"));
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]));
    }
}
