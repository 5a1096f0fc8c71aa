//! What a broker shows to a sink that asks how far it got: a record of Kafka's topic of cursors, the last message of a stream. Anybody with
//! the right to write there may have written it.

use tieline::event::Epoch;

/// The epoch that asks.
const EPOCH: &str = "20260101T000000Z-00000001";

/// The value of a record in the topic of cursors.
#[cfg(feature = "kafka")]
pub fn committed(input: &[u8]) {
    use tieline::sink::kafka::Cursor;
    let epoch = Epoch::named(EPOCH);
    let cursor = match Cursor::read(input) {
        Ok(cursor) => cursor,
        Err(error) => return assert!(error.len() < 1_000, "an error quotes little: {error}"),
    };
    let resume = cursor.resume(&epoch);
    // What is sent again and what is not: nothing is left out unless it says that very epoch, or a younger one.
    assert!(resume.last_position.is_none() || resume.younger.is_none(), "{resume:?}");
    assert_ne!(resume.last_position, Some(0));
    if let Some(younger) = &resume.younger {
        assert!(younger.as_str() > epoch.as_str() && cursor.youngest() >= younger.as_str());
    }
    let again = Cursor::read(&cursor.to_json()).expect("what we write ourselves");
    assert_eq!(again, cursor);
}

/// The block of headers of a stream's last message, as the server stores it.
#[cfg(feature = "nats")]
pub fn chained(input: &[u8]) {
    use async_nats::jetstream::message::StreamMessage;
    use async_nats::jetstream::stream::RawMessage;
    use base64::Engine;
    use tieline::sink::nats::{Last, Whose};
    let answer = serde_json::json!({
        "subject": "genesys.a", "seq": 7, "time": "2026-01-01T00:00:00Z",
        "hdrs": base64::engine::general_purpose::STANDARD.encode(input),
    });
    let answer: RawMessage = serde_json::from_value(answer).expect("an answer of the server");
    let Ok(message) = StreamMessage::try_from(answer) else { return };
    let last = Last::of(&message.headers, &Epoch::named(EPOCH));
    assert!(last.id.chars().count() <= 100, "{last:?}");
    if let Whose::Ours(position) = last.whose {
        assert_eq!(last.id, format!("{EPOCH}-{position}"), "as we write it, and no other way");
    }
}
