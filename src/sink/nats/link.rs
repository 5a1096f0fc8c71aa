//! One connection: publishes, and hears what became of it.

use super::Config;
use super::access::identified;
use super::message::{Expectation, wire_length};
use crate::event::Epoch;
use crate::sink::window::Window;
use crate::sink::{Error, Verdict};
use async_nats::client::PublishErrorKind;
use async_nats::header::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, ConnectOptions, Event, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use std::future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// How long connecting, or one answer of the JetStream API, may take.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long nothing may be acknowledged while something is in flight.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a message that was handed over.
pub(super) enum Taken {
    /// It is on its way.
    Sent,
    /// It can never be taken; nothing may follow before that was told.
    Refused,
    /// It can never be taken, which can be told only after what is in flight.
    NotYet,
}

/// One connection, from `open` to the first error.
pub(super) struct Link {
    /// The epoch for which it was opened; `None` while it is being opened.
    pub(super) epoch: Option<Epoch>,
    pub(super) addresses: String,
    pub(super) client: Client,
    /// What the connection itself complains of; the first complaint ends its use.
    pub(super) trouble: watch::Receiver<Option<String>>,
    /// Where acknowledgements arrive: `{inbox}.{ticket}`.
    pub(super) inbox: String,
    pub(super) acks: Subscriber,
    pub(super) window: Window,
    pub(super) expectation: Expectation,
    /// The largest message, headers included, that server and stream take.
    pub(super) most: usize,
    pub(super) patience: Pin<Box<Sleep>>,
    pub(super) failure: Option<String>,
    /// The subject of the message at hand.
    pub(super) rendered: String,
}

impl Link {
    pub(super) async fn connect(config: &Config) -> Result<Self, Error> {
        let addresses = config.addresses();
        let operation = || format!("connect to {addresses}");
        let (servers, user) =
            config.servers().map_err(|problem| Error::misconfigured("read url", problem))?;
        let (complain, mut trouble) = watch::channel(None);
        let options = ConnectOptions::new()
            .name("tieline")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .ping_interval(ANSWER)
            // Room for a whole window, so that publishing never waits; and each server is tried once per connection.
            .client_capacity(config.window + 64)
            .subscription_capacity(config.window + 64)
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                if let Some(complaint) = complaint(event) {
                    complain.send_if_modified(|first| {
                        let new = first.is_none();
                        first.get_or_insert(complaint);
                        new
                    });
                }
                future::ready(())
            });
        let options = identified(options, config, user).await?;
        let client =
            options.connect(servers).await.map_err(|error| Error::retry(operation(), error))?;
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*"));
        let acks = answered(&mut trouble, acks)
            .await
            .map_err(|reason| Error::retry(operation(), reason))?;
        Ok(Self {
            epoch: None,
            most: client.max_payload(),
            addresses,
            client,
            trouble,
            inbox,
            acks,
            window: Window::default(),
            expectation: Expectation::Sequence(0),
            patience: Box::pin(sleep(PATIENCE)),
            failure: None,
            rendered: String::new(),
        })
    }

    /// Publishes under `rendered`. What can never be taken is refused and leaves the chain as it was, but only while nothing else
    /// is in flight: were a later message stored, a new connection would resume behind the refused one, and nobody would be told.
    pub(super) async fn publish(
        &mut self,
        place: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Taken, Error> {
        let size = wire_length(&headers) + body.len();
        if size > self.most {
            let most = self.most;
            return Ok(
                self.refuse(format!("{size} bytes are more than the {most} that the server takes"))
            );
        }
        let trouble = self.trouble.borrow().clone();
        if let Some(reason) = trouble {
            return Err(Error::retry(format!("publish to {}", self.addresses), reason));
        }
        let ticket = self.window.admit();
        let (subject, reply) = (self.rendered.clone(), format!("{}.{ticket}", self.inbox));
        let published = self.client.publish_with_reply_and_headers(subject, reply, headers, body);
        match published.await {
            Ok(()) => {
                self.expectation = Expectation::Id(place);
                Ok(Taken::Sent)
            }
            Err(error) if error.kind() == PublishErrorKind::InvalidSubject => {
                self.window.retract();
                Ok(self.refuse(format!("{:?} is not a subject", self.rendered)))
            }
            Err(error) => Err(Error::retry(format!("publish to {}", self.addresses), error)),
        }
    }

    fn refuse(&mut self, reason: String) -> Taken {
        if self.window.len() > 0 {
            return Taken::NotYet;
        }
        self.window.refuse(reason);
        Taken::Refused
    }

    /// Waits for the next acknowledgement or failure, and takes whatever else has arrived.
    pub(super) async fn listen(&mut self) {
        tokio::select! {
            biased;
            ack = self.acks.next() => self.hear(ack),
            complaint = complained(&mut self.trouble) => self.failure = Some(complaint),
            () = &mut self.patience => {
                self.failure = Some(format!("nothing was acknowledged for {} s", PATIENCE.as_secs()));
            }
        }
        while let Some(ack) = self.acks.next().now_or_never() {
            self.hear(ack);
            if self.failure.is_some() {
                break;
            }
        }
    }

    fn hear(&mut self, message: Option<Message>) {
        let Some(message) = message else {
            self.failure = Some("the connection is closed".into());
            return;
        };
        let ticket = message.subject.rsplit_once('.').and_then(|(_, ticket)| ticket.parse().ok());
        let Some(ticket) = ticket else {
            return; // Not an answer to us.
        };
        match outcome(&message) {
            Ok(verdict) => self.window.decide(ticket, verdict),
            // What follows a failure in the chain fails too; only the first says why.
            Err(reason) => self.failure = self.failure.take().or(Some(reason)),
        }
    }
}

/// An answer of JetStream to a published message.
#[derive(Deserialize)]
struct Ack {
    error: Option<Failure>,
}

/// What JetStream says when it does not store a message.
#[derive(Deserialize)]
struct Failure {
    err_code: u64,
    description: String,
}

/// What became of a message, or why the connection cannot go on.
fn outcome(message: &Message) -> Result<Verdict, String> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err("no stream takes the subject, or JetStream is not up yet".into());
    }
    let ack: Ack = serde_json::from_slice(&message.payload)
        .map_err(|error| format!("an acknowledgement cannot be read: {error}"))?;
    let Some(failure) = ack.error else {
        return Ok(Verdict::Stored);
    };
    let Failure { err_code, description } = failure;
    match ErrorCode(err_code) {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Ok(Verdict::Refused { reason: description })
        }
        ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
            Err(format!("the stream does not end where we left it: {description} ({err_code})"))
        }
        _ => Err(format!("{description} ({err_code})")),
    }
}

/// What an event of the connection means for its use, if it ends it.
fn complaint(event: Event) -> Option<String> {
    match event {
        Event::Disconnected | Event::Closed => Some("the connection is lost".into()),
        Event::ServerError(error) => Some(error.to_string()),
        Event::Connected
        | Event::LameDuckMode
        | Event::Draining
        | Event::SlowConsumer(_)
        | Event::ClientError(_) => None,
    }
}

/// Waits for the first complaint.
async fn complained(trouble: &mut watch::Receiver<Option<String>>) -> String {
    let seen = trouble.wait_for(Option::is_some).await;
    let said = seen.ok().and_then(|said| said.clone());
    said.unwrap_or_else(|| "the connection is closed".into())
}

/// The answer to a request, or the complaint that explains why none comes: a missing permission, a lost connection.
pub(super) async fn answered<T, E: std::error::Error>(
    trouble: &mut watch::Receiver<Option<String>>,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    tokio::select! {
        answer = request => answer.map_err(|error| error.to_string()),
        complaint = complained(trouble) => Err(complaint),
    }
}
