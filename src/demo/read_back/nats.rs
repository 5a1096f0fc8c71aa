//! The stream: through an ordered consumer made for this reading, from the first message to the last.

use super::{Held, binary};
use anyhow::Context;
use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt;
use std::time::Duration;

/// How long the next of the messages that the server has counted may take.
const NEXT_MAX: Duration = Duration::from_secs(10);

/// What the names of CloudEvents headers begin with.
const PREFIX: &str = "ce-";

/// All events of the stream, in its order.
///
/// # Errors
/// When it cannot be read within its time, or holds something that is no event of tieline's.
pub async fn read(url: &str, stream: &str) -> anyhow::Result<Vec<Held>> {
    let client = async_nats::connect(url).await?;
    let mut stream = jetstream::new(client).get_stream(stream).await?;
    let count = stream.info().await?.state.messages;
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let mut messages = consumer.messages().await?;
    let mut held = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(NEXT_MAX, messages.next()).await;
        let message =
            next.context("the stream ended early")?.context("the stream ended early")??;
        let headers = message.headers.clone().unwrap_or_default();
        let attributes = headers.iter().filter_map(|(name, values)| {
            let name = AsRef::<str>::as_ref(name).to_ascii_lowercase();
            let value = values.first()?.as_str().to_owned();
            Some((name.strip_prefix(PREFIX)?.to_owned(), value))
        });
        held.extend(binary(attributes.collect(), &message.payload)?);
    }
    Ok(held)
}
