//! Frames as fast as one core can write them, to measure a client with.
//!
//! They are made once and only renumbered, and nobody writes them down: this is no way to judge
//! what a client delivers, only how fast it is.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Blast, frames};

/// Frames that are written with one call, unless they are large.
const CHUNK: usize = 256;

/// Bytes that are written with one call, unless one frame is larger.
const CHUNK_BYTES: usize = 1 << 20;

/// Digits of the running number in each frame.
const DIGITS: usize = 12;

/// Where the number is to be put.
const MARK: &str = "############";

/// Writes the frames.
pub(super) async fn write(blast: &Blast, wire: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let (frame, marks) = template(blast);
    let chunk = CHUNK.min(CHUNK_BYTES / frame.len()).max(1);
    let mut buffer = frame.repeat(chunk);
    let mut number = 0_u64;
    while number < blast.frames {
        let count = usize::try_from(blast.frames - number).unwrap_or(chunk).min(chunk);
        for place in buffer.chunks_exact_mut(frame.len()).take(count) {
            number += 1;
            let digits = format!("{number:0DIGITS$}");
            for &mark in &marks {
                place[mark..mark + DIGITS].copy_from_slice(digits.as_bytes());
            }
        }
        wire.write_all(&buffer[..count * frame.len()]).await?;
    }
    wire.flush().await
}

/// One frame with marks for its number, and where the marks are.
fn template(blast: &Blast) -> (Vec<u8>, Vec<usize>) {
    let filled = |filler: &str| {
        format!(
            "{{\"topicName\":{},\"version\":\"2\",\"eventBody\":{{\"id\":\"{MARK}\",\
             \"participants\":[{{\"purpose\":\"customer\",\"attributes\":{{\"note\":\"{filler}\"}}}}]\
             }},\"metadata\":{{\"CorrelationId\":\"00000000-0000-4000-8000-{MARK}\"}}}}",
            frames::quoted(&blast.topic),
        )
    };
    let bare = filled("").len();
    let text = filled(&"x".repeat(blast.bytes.saturating_sub(bare)));
    let mut frame = header(text.len());
    frame.extend_from_slice(text.as_bytes());
    let marks = text.match_indices(MARK).map(|(at, _)| at + frame.len() - text.len()).collect();
    (frame, marks)
}

/// The head of an unmasked text frame.
pub(super) fn header(length: usize) -> Vec<u8> {
    let mut head = vec![0x81];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => head.push(short),
        (_, Ok(middle)) => {
            head.push(126);
            head.extend_from_slice(&middle.to_be_bytes());
        }
        (_, Err(_)) => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blast_frame_is_a_notification_of_the_size_asked_for() {
        let topic = "v2.routing.queues.q.\"conversations\"".to_owned();
        let (frame, marks) = template(&Blast { frames: 1, bytes: 900, topic });
        assert_eq!(frame.len(), 904);
        assert_eq!(marks.len(), 2);
        let text: serde_json::Value = serde_json::from_slice(&frame[4..]).expect("JSON");
        assert_eq!(text["version"], "2");
    }
}
