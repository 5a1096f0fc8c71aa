//! `tieline tap`: events as they go by, from the doors of a running process.
//!
//! A look, no delivery: what goes by while nobody looks, or too slowly, is missed, and told as a number.

use super::Exit;
use super::args::{Output, Tap};
use super::door::{Door, Trouble, on_runtime};
use super::say;
use crate::config;
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// How long a stream that ended is given before it is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// The largest event that is taken from the stream.
const EVENT_MAX: usize = 1 << 20;

/// How much of a body a line of text shows, in characters.
const BODY_SHOWN: usize = 160;

/// Watches until told to stop, or until `--count` events were shown.
pub fn run(args: &Tap) -> Exit {
    let watched = Door::find(&args.door, config::variables()).and_then(|door| {
        let mut out = io::stdout().lock();
        on_runtime(async { watch(args, &door, &mut out).await })
    });
    match watched {
        Ok(said) => say::over(said),
        Err(trouble) => say::complain(&trouble),
    }
}

/// Streams, one after the other: the process ends each after an hour or so.
async fn watch(args: &Tap, door: &Door, out: &mut impl Write) -> Result<io::Result<()>, Trouble> {
    let query: Vec<(&str, &str)> =
        [("key", &args.key), ("topic", &args.topic), ("family", &args.family)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
    let mut left = args.count.unwrap_or(u64::MAX);
    loop {
        let mut response = door.send("/api/v1/tap", &query).await?;
        let mut blocks = Blocks::default();
        while let Ok(Some(chunk)) = response.chunk().await {
            for (name, data) in blocks.take(&chunk) {
                if let Err(error) = tell(args.door.output, &name, &data, out) {
                    return Ok(Err(error));
                }
                left -= u64::from(name == "event");
                if left == 0 {
                    return Ok(Ok(()));
                }
            }
        }
        writeln!(io::stderr().lock(), "the stream ended; asking again").ok();
        tokio::time::sleep(AGAIN).await;
    }
}

/// Cuts a stream of server-sent events into blocks of a name and its data.
#[derive(Debug, Default)]
struct Blocks {
    text: Vec<u8>,
}

impl Blocks {
    fn take(&mut self, chunk: &[u8]) -> Vec<(String, String)> {
        self.text.extend_from_slice(chunk);
        let mut blocks = Vec::new();
        while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim_start().to_owned())
            };
            // A comment has no data.
            blocks.extend(field("data:").map(|data| (field("event:").unwrap_or_default(), data)));
        }
        // A stream that never ends a block is none of ours.
        if self.text.len() > EVENT_MAX {
            self.text.clear();
        }
        blocks
    }
}

fn tell(output: Output, name: &str, data: &str, out: &mut impl Write) -> io::Result<()> {
    let value: Value = serde_json::from_str(data).unwrap_or_default();
    if name == "missed" {
        let missed = value["missed"].as_u64().unwrap_or_default();
        return writeln!(io::stderr().lock(), "{missed} events went by too fast to be shown");
    }
    match output {
        Output::Json => writeln!(out, "{data}")?,
        Output::Text => writeln!(out, "{}", line(&value))?,
    }
    out.flush()
}

/// One event on one line.
fn line(event: &Value) -> String {
    let word = |name: &str| event[name].as_str().unwrap_or_default();
    let time = word("time").get(11..23).unwrap_or_default();
    let kind = word("type").trim_start_matches("com.genesys.cloud.");
    let marks = ["late", "possibleduplicate"].into_iter();
    let marks: String =
        marks.filter(|mark| event[mark] == true).map(|mark| format!(" [{mark}]")).collect();
    let body = match event["data"].is_null() {
        true => format!("({} bytes)", event["bytes"]),
        false => shortened(&event["data"].to_string()),
    };
    // What is tieline's own has no number here.
    let nth = event["nth"].as_u64().map(|nth| format!("#{nth}")).unwrap_or_default();
    format!("{time}  {nth:<9} {kind}  {}{marks}  {body}", word("subject"))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(BODY_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_blocks_wherever_its_chunks_end() {
        let text = ": watching\n\nevent: event\ndata: {\"a\":1}\n\nevent: missed\ndata: {\"missed\":3}\n\n";
        for size in 1..text.len() {
            let mut blocks = Blocks::default();
            let found: Vec<_> =
                text.as_bytes().chunks(size).flat_map(|chunk| blocks.take(chunk)).collect();
            let expected = [("event", "{\"a\":1}"), ("missed", "{\"missed\":3}")]
                .map(|(a, b)| (a.into(), b.into()));
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let event = serde_json::json!({"nth": 7, "time": "2026-11-24T15:00:00.123456Z",
            "type": "com.genesys.cloud.v2.routing.queues.users", "subject": "q", "late": true,
            "bytes": 12, "data": {"joined": true}});
        assert_eq!(
            line(&event),
            "15:00:00.123  #7        v2.routing.queues.users  q [late]  {\"joined\":true}"
        );
        let own = serde_json::json!({"nth": null, "time": "2026-11-24T15:00:00.123456Z",
            "type": "tieline.gap.opened.v1", "subject": "tieline.control", "bytes": 12, "data": {"gap": 1}});
        assert_eq!(
            line(&own),
            "15:00:00.123            tieline.gap.opened.v1  tieline.control  {\"gap\":1}"
        );
    }
}
