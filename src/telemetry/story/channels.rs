//! What is told of the client's channels where there are too few, or nobody knows how many.

use super::line::{Level, Span, Told, attempt_or};
use std::time::Duration;

pub(super) fn refused(reason: &str, detail: &str, retry_in: Option<Duration>) -> Told {
    warn!(
        event = "channels_refused",
        reason,
        detail,
        retry_in_seconds = retry_in.map(|wait| wait.as_secs_f64()),
        "the channels of the client cannot be listed ({reason}): {detail}; until they are, {}; {}",
        if retry_in.is_some() { "no other is made" } else { "those in doubt count as made" },
        attempt_or(retry_in, "they are not asked for again")
    )
}

pub(super) fn awaited(session: &str, shard: u16, detail: &str, retry_in: Duration) -> Told {
    warn!(
        event = "channel_awaited",
        session,
        shard,
        detail,
        retry_in_seconds = retry_in.as_secs_f64(),
        "{session} (shard {shard}) waits for a channel: {detail}; it looks again each {}",
        Span(retry_in)
    )
}
