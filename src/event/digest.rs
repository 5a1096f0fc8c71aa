//! Equality of bodies as JSON, without a document tree: two bodies have one digest when they are the same JSON value.
//!
//! Member order, white space and the spelling of escapes do not count; numbers count by their text (`1.0` is not `1`), arrays
//! by their order. Members with one name keep their order among themselves, so that neither "the first wins" nor "the last
//! wins" can make two bodies equal that some reader takes for different ones. What is not JSON, or is nested deeper than
//! 128 levels, is compared byte by byte. Not a defence against forged collisions: the platform is not an enemy.

use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

/// Deeper bodies are compared as bytes: a bound on the stack, far above what the platform nests.
const DEPTH_MOST: u32 = 128;

// Each kind of node hashes under its own seed, so that `"1"`, `1` and `[1]` differ. Strings, the most frequent, take the
// unseeded (fastest) form.
const NUMBER: u64 = 1;
const LITERAL: u64 = 2;
const ARRAY: u64 = 3;
const OBJECT: u64 = 4;
const BYTES: u64 = 5;

/// The digest of one body. See [`Digester`] for the form that reuses its buffers.
pub fn digest(body: &[u8]) -> u128 {
    Digester::default().digest(body)
}

/// Computes digests, reusing its buffers from body to body.
#[derive(Debug, Default)]
pub struct Digester {
    /// Hashes of the children of every open node, innermost last; members as pairs of name and value.
    nodes: Vec<Hash>,
    /// The text of a string that holds escapes.
    text: Vec<u8>,
}

type Hash = [u8; 16];

impl Digester {
    /// The digest of `body`. Never fails: what is not JSON is hashed as bytes.
    pub fn digest(&mut self, body: &[u8]) -> u128 {
        self.nodes.clear();
        let mut walk = Walk { body, at: 0, nodes: &mut self.nodes, text: &mut self.text };
        match walk.document() {
            Some(hash) => hash,
            None => xxh3_128_with_seed(body, BYTES),
        }
    }
}

/// One pass over one body. Every step leaves its hash on top of `nodes`, and returns `None` where the body is not JSON. (Handing
/// the hashes up as results was measured a fifth slower: each waits for its own store.)
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
    nodes: &'a mut Vec<Hash>,
    text: &'a mut Vec<u8>,
}

impl Walk<'_> {
    fn document(&mut self) -> Option<u128> {
        self.value(0)?;
        self.skip_space();
        let hash = self.nodes.pop()?;
        (self.at == self.body.len()).then(|| u128::from_le_bytes(hash))
    }

    fn push(&mut self, hash: u128) -> Option<()> {
        self.nodes.push(hash.to_le_bytes());
        Some(())
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string(),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn object(&mut self, depth: u32) -> Option<()> {
        let first = self.enter(depth)?;
        if !self.take_after_space(b'}') {
            loop {
                self.skip_space();
                self.string()?;
                if !self.take_after_space(b':') {
                    return None;
                }
                self.value(depth)?;
                if self.take_after_space(b'}') {
                    break;
                }
                if !self.take_after_space(b',') {
                    return None;
                }
            }
        }
        // The sort is stable, so members of one name stay in the order of the text.
        let (members, _) = self.nodes[first..].as_chunks_mut::<2>();
        members.sort_by_key(|[name, _]| u128::from_le_bytes(*name));
        self.leave(first, OBJECT)
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        let first = self.enter(depth)?;
        if !self.take_after_space(b']') {
            loop {
                self.value(depth)?;
                if self.take_after_space(b']') {
                    break;
                }
                if !self.take_after_space(b',') {
                    return None;
                }
            }
        }
        self.leave(first, ARRAY)
    }

    /// Steps over the opening bracket and says where the node's children begin.
    fn enter(&mut self, depth: u32) -> Option<usize> {
        self.at += 1;
        (depth <= DEPTH_MOST).then_some(self.nodes.len())
    }

    /// Folds the children from `first` on into the hash of their node.
    fn leave(&mut self, first: usize, seed: u64) -> Option<()> {
        let hash = xxh3_128_with_seed(self.nodes[first..].as_flattened(), seed);
        self.nodes.truncate(first);
        self.push(hash)
    }

    fn literal(&mut self, text: &'static [u8]) -> Option<()> {
        if !self.body[self.at..].starts_with(text) {
            return None;
        }
        self.at += text.len();
        self.push(xxh3_128_with_seed(text, LITERAL))
    }

    fn number(&mut self) -> Option<()> {
        let first = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        self.push(xxh3_128_with_seed(&self.body[first..self.at], NUMBER))
    }

    fn digits(&mut self) -> Option<()> {
        let first = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > first).then_some(())
    }

    fn string(&mut self) -> Option<()> {
        if !self.take(b'"') {
            return None;
        }
        let first = self.at;
        self.at += plain_length(&self.body[first..]);
        if self.peek()? == b'"' {
            let hash = xxh3_128(&self.body[first..self.at]);
            self.at += 1;
            return self.push(hash);
        }
        self.text.clear();
        self.text.extend_from_slice(&self.body[first..self.at]);
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None, // A bare control character.
            }
            let plain = plain_length(&self.body[self.at..]);
            self.text.extend_from_slice(&self.body[self.at..self.at + plain]);
            self.at += plain;
        }
        self.at += 1;
        self.push(xxh3_128(self.text))
    }

    fn escape(&mut self) -> Option<()> {
        let letter = *self.body.get(self.at + 1)?;
        self.at += 2;
        let byte = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(),
            _ => return None,
        };
        self.text.push(byte);
        Some(())
    }

    fn unicode(&mut self) -> Option<()> {
        let unit = self.hex()?;
        let mut code = unit;
        if (0xD800..0xDC00).contains(&unit) && self.body[self.at..].starts_with(b"\\u") {
            let resume = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xDC00..0xE000).contains(&low) {
                code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            } else {
                self.at = resume;
            }
        }
        match char::from_u32(code) {
            Some(letter) => {
                let mut buffer = [0; 4];
                self.text.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
            }
            // Half of a pair has no UTF-8 form: 0xFF, which never occurs in UTF-8, keeps it apart from every real text.
            None => {
                self.text.push(0xFF);
                self.text.extend_from_slice(&code.to_be_bytes());
            }
        }
        Some(())
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.body.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn take_after_space(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.take(byte)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }
}

/// How many bytes of `text` come before the first quote, backslash or control character: eight at a time.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The lowest byte that is set is always right; borrows can only set bytes above it.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zeros(word ^ (ONES * u64::from(b'"')))
            | zeros(word ^ (ONES * u64::from(b'\\')))
            | control;
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let tail = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    text.len() - rest.len() + tail.unwrap_or(rest.len())
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
