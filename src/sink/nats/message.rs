//! What goes out: headers, body, and the chain.

use crate::sink::Record;
use crate::sink::cloudevents::{Encoder, Mode, STRUCTURED};
use async_nats::header::{
    HeaderMap, HeaderName, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE,
    NATS_MESSAGE_ID,
};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt::Write;

/// What the next message expects of the stream's end.
pub(super) enum Expectation {
    /// The sequence number of its last message, as `open` read it.
    Sequence(u64),
    /// The id of the message that we sent before.
    Id(String),
}

impl Expectation {
    pub(super) fn headers(&self, place: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, place);
        match self {
            Self::Sequence(number) => {
                headers.insert(NATS_EXPECTED_LAST_SEQUENCE, number.to_string());
            }
            Self::Id(id) => headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, id.as_str()),
        }
        headers
    }
}

/// The headers and the body of a message. `headers` holds what the chain needs.
pub(super) fn laid_out(
    encoder: &mut Encoder,
    mode: Mode,
    record: &Record,
    mut headers: HeaderMap,
) -> (HeaderMap, Bytes) {
    match mode {
        Mode::Binary => {
            encoder.attributes(record, |name, value| {
                let value = percent_encoded(value.as_str());
                headers.insert(HeaderName::from_static(name.nats), &*value);
            });
            (headers, record.event.body.clone())
        }
        Mode::Structured => {
            let mut document = Vec::with_capacity(record.event.body.len() + 1024);
            encoder.structured(record, &mut document);
            headers.insert(HeaderName::from_static("content-type"), STRUCTURED);
            (headers, document.into())
        }
    }
}

/// How many bytes headers take on the wire, which count against the server's limit.
pub(super) fn wire_length(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| name.len() + value.as_str().len() + ": \r\n".len())
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// A header's value as the CloudEvents binding wants it: printable ASCII without space, `"` and `%`.
fn percent_encoded(value: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%');
    if value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    value
        .bytes()
        .fold(String::new(), |mut text, byte| {
            if plain(byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").expect("a String takes whatever is written to it");
            }
            text
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_the_binding_wants_it() {
        assert_eq!(percent_encoded("2026-11-24T15:00:00Z"), "2026-11-24T15:00:00Z");
        assert_eq!(percent_encoded("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(percent_encoded("100% \"a\"\r\n"), "100%25%20%22a%22%0D%0A");
    }

    #[test]
    fn the_length_of_headers_is_that_on_the_wire() {
        let mut headers = HeaderMap::new();
        headers.insert("a", "b");
        assert_eq!(wire_length(&headers), "NATS/1.0\r\na: b\r\n\r\n".len());
    }
}
