//! Frames: how a segment is cut into pieces that can be trusted one by one.
//!
//! ```text
//!  magic 4 │ length 4, little endian │ xxh3-64 of the payload, seeded with the segment's number, 8 │ payload
//! ```
//!
//! The seed makes a frame of another file's old block no frame of this one. Reading is total: any bytes are either a frame, the end, or
//! damage, and where damage ends is looked for by the magic. Knows nothing of what a payload says.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before a payload.
pub(super) const HEAD: usize = 16;

const MAGIC: [u8; 4] = [0xF1, b't', b'l', 0x1A];

/// No payload is longer: far above the largest frame that the socket takes.
const LENGTH_MAX: usize = 1 << 30;

/// Appends a frame whose payload `fill` writes.
pub(super) fn write(seed: u64, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    fill(out);
    let payload = &out[start + HEAD..];
    let (length, sum) = (payload.len(), xxh3_64_with_seed(payload, seed));
    // Longer ones are refused before they come here.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&MAGIC);
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out[start + 8..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

/// What lies at some place of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A frame's payload; the next frame begins at `next`.
    Frame { payload: &'a [u8], next: usize },
    /// The block ends here.
    End,
    /// A frame may begin here, and needs the block to reach to `until`.
    More { until: usize },
    /// No frame.
    Damage,
}

/// Reads the frame at `at`.
pub(super) fn read(seed: u64, block: &[u8], at: usize) -> Found<'_> {
    let rest = block.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Found::End;
    }
    let Some((head, body)) = rest.split_first_chunk::<HEAD>() else {
        let whole = rest.len().min(MAGIC.len());
        return if rest[..whole] == MAGIC[..whole] {
            Found::More { until: at + HEAD }
        } else {
            Found::Damage
        };
    };
    let [m0, m1, m2, m3, l0, l1, l2, l3, sum @ ..] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if [m0, m1, m2, m3] != MAGIC || length > LENGTH_MAX {
        return Found::Damage;
    }
    let Some(payload) = body.get(..length) else {
        return Found::More { until: at + HEAD + length };
    };
    if xxh3_64_with_seed(payload, seed) != u64::from_le_bytes(sum) {
        return Found::Damage;
    }
    Found::Frame { payload, next: at + HEAD + length }
}

/// Where the next whole frame after damage at `at` begins, if there is one. The work is bounded by eight times the block.
pub(super) fn resume(seed: u64, block: &[u8], at: usize) -> Option<usize> {
    let mut budget = block.len().saturating_mul(8);
    let mut from = at + 1;
    while let Some(rest) = block.get(from..) {
        let found = from + rest.windows(MAGIC.len()).position(|four| four == MAGIC)?;
        match read(seed, block, found) {
            Found::Frame { .. } => return Some(found),
            Found::End | Found::More { .. } => {}
            // A sum was made in vain, over as much as the length claims.
            Found::Damage => {
                let claimed = block.get(found + 4..found + 8).and_then(|four| four.try_into().ok());
                let claimed = claimed.map_or(0, u32::from_le_bytes) as usize;
                budget = budget.checked_sub(claimed.min(block.len()))?;
            }
        }
        from = found + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(payloads: &[&[u8]]) -> Vec<u8> {
        let mut block = Vec::new();
        for payload in payloads {
            write(7, &mut block, |out| out.extend_from_slice(payload));
        }
        block
    }

    #[test]
    fn frames_are_read_one_by_one_to_the_end() {
        let block = framed(&[b"one", b""]);
        let Found::Frame { payload, next } = read(7, &block, 0) else { panic!("a frame") };
        assert_eq!((payload, next), (&b"one"[..], HEAD + 3));
        let Found::Frame { payload, next } = read(7, &block, next) else { panic!("a frame") };
        assert_eq!((payload, read(7, &block, next)), (&b""[..], Found::End));
        assert_eq!(read(8, &block, 0), Found::Damage, "another segment's frame");
    }

    #[test]
    fn every_torn_frame_asks_for_more_and_every_changed_byte_is_noticed() {
        let block = framed(&[b"payload"]);
        for length in 1..block.len() {
            assert!(matches!(read(7, &block[..length], 0), Found::More { .. }), "{length}");
        }
        for at in 0..block.len() {
            let mut changed = block.clone();
            changed[at] ^= 0x10;
            assert!(!matches!(read(7, &changed, 0), Found::Frame { .. }), "byte {at}");
        }
    }

    #[test]
    fn after_damage_the_next_whole_frame_is_found() {
        let mut block = framed(&[b"first", b"second", b"third"]);
        block[HEAD + 1] ^= 1;
        let second = HEAD + 5;
        assert_eq!(resume(7, &block, 0), Some(second));
        assert_eq!(resume(7, &block[..second + 3], 0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(seed: u64, block: Vec<u8>, at in 0_usize..300) {
            let _: Found<'_> = read(seed, &block, at);
            let _: Option<usize> = resume(seed, &block, at);
        }
    }
}
