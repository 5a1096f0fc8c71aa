//! Notifications to measure with: frames of 900 bytes, shaped like a queue's conversations, no two of them equal.
//!
//! Made once and only renumbered, so that making them costs the measurement next to nothing.

/// The length of every frame, in bytes.
pub const FRAME: usize = 900;

/// How many queues, and so keys, the frames are spread over.
pub const QUEUES: usize = 50;

/// Digits of the running number in each frame.
const DIGITS: usize = 12;

/// Where the running number goes: into the conversation's id and into the correlation id.
const MARK: &str = "############";

/// Frames that are renumbered in place.
pub struct Frames {
    /// One text of each queue, with the places of its number.
    texts: Vec<(Vec<u8>, Vec<usize>)>,
    number: u64,
}

impl Frames {
    /// Frames that are numbered from 1.
    pub fn new() -> Self {
        let texts = (0..QUEUES).map(|queue| {
            let text = text(&id(queue));
            let marks = text.match_indices(MARK).map(|(at, _)| at).collect();
            (text.into_bytes(), marks)
        });
        Self { texts: texts.collect(), number: 0 }
    }

    /// The next frame's text.
    pub fn next(&mut self) -> &[u8] {
        self.number += 1;
        let queue = usize::try_from(self.number).unwrap_or(0) % QUEUES;
        let (text, marks) = &mut self.texts[queue];
        let digits = format!("{:0DIGITS$}", self.number);
        for mark in marks.iter() {
            text[*mark..*mark + DIGITS].copy_from_slice(digits.as_bytes());
        }
        text
    }
}

/// The id of a queue, by its place.
pub fn id(queue: usize) -> String {
    format!("7f1d8a3e-4c52-4b0e-9d3a-0c5b6e{queue:06x}")
}

/// The topic of a queue's conversations.
pub fn topic(queue_id: &str) -> String {
    format!("v2.routing.queues.{queue_id}.conversations")
}

/// One frame with marks for its number, filled up to its length by the customer's name.
fn text(queue_id: &str) -> String {
    let filled = |filler: &str| {
        let topic = topic(queue_id);
        format!(
            r#"{{"topicName":"{topic}","version":"2","eventBody":{{"id":"5c1f2d6e-0d1a-4a53-9c1c-{MARK}","maxParticipants":2,"participants":[{{"id":"0d9e5b1c-66a4-4f0e-8a55-1d0c2f7b9e11","connectedTime":"2026-11-24T15:00:00.123Z","name":"Caller {filler}","purpose":"customer","address":"tel:+15550001234","calls":[{{"id":"c7","state":"connected","direction":"inbound","recording":false,"held":false}}]}},{{"id":"3b0f7f60-3f4c-4a52-b0bb-7f64a7a1f5c2","connectedTime":"2026-11-24T15:00:01.456Z","purpose":"acd","queueId":"{queue_id}","conversationRoutingData":{{"queue":{{"id":"{queue_id}"}},"priority":3,"skills":[]}}}}],"recordingState":"none","securePause":false}},"metadata":{{"CorrelationId":"f7b1d2c3-1111-4222-8333-{MARK}"}}}}"#
        )
    };
    let bare = filled("").len();
    filled(&"n".repeat(FRAME.saturating_sub(bare)))
}
