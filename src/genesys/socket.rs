//! One open socket: reads frames and passes them on, sends probes, and says once why it ended.
//!
//! It never waits for a sink, only for the driver, so that pings of the peer are answered by the next poll.

use super::Incoming;
use super::handshake::Socket;
use super::refusal::{chain, is_tls, scrub};
use super::rest::Channel;
use super::wire::{self, Frame};
use crate::clock::Clock;
use crate::event::{Notification, Topics};
use crate::lifecycle::{Heard, Reason, Reply, SessionId};
use crate::observation::Observation;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

/// How long a probe may take to leave. It is tiny: the peer has long stopped to read when this passes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a closed socket may take to say good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a socket is gone.
type Ended = (Reason, String);

/// What came of one turn: at most two things to pass on, and perhaps the end.
#[derive(Default)]
struct Read {
    first: Option<Incoming>,
    second: Option<Incoming>,
    ended: Option<Ended>,
}

impl Read {
    fn one(item: Incoming) -> Self {
        Self { first: Some(item), ..Self::default() }
    }

    fn end(ended: Ended) -> Self {
        Self { ended: Some(ended), ..Self::default() }
    }
}

/// A session's open socket.
pub(super) struct Reader {
    pub(super) session: SessionId,
    pub(super) channel: Arc<Channel>,
    pub(super) incoming: mpsc::Sender<Incoming>,
    pub(super) clock: Clock,
    pub(super) topics: Topics,
    /// What the platform has announced; it explains the end that follows.
    pub(super) told: Option<Reason>,
}

impl Reader {
    /// Reads until the socket ends, which is told by one `Lost`, or until `cancel`, which is told by nothing.
    pub(super) async fn run(
        mut self,
        mut socket: Socket,
        mut probes: mpsc::Receiver<()>,
        cancel: CancellationToken,
    ) {
        // One future for the whole life, so that a frame does not pay for asking.
        let mut cancelled = pin!(cancel.cancelled());
        let mut may_probe = true;
        let ended = loop {
            let read = tokio::select! {
                biased;
                () = &mut cancelled => break None,
                probe = probes.recv(), if may_probe => match probe {
                    Some(()) => self.probe(&mut socket).await,
                    None => {
                        may_probe = false;
                        Read::default()
                    }
                },
                frame = socket.next() => self.frame(frame),
            };
            for item in [read.first, read.second].into_iter().flatten() {
                let passed = tokio::select! {
                    biased;
                    passed = pass(&self.incoming, item) => passed,
                    () = &mut cancelled => false,
                };
                if !passed {
                    return good_bye(socket).await;
                }
            }
            if read.ended.is_some() {
                break read.ended;
            }
        };
        if let Some((reason, detail)) = ended {
            let told = self.lost(reason, &detail);
            cancel.run_until_cancelled(told).await;
        }
        good_bye(socket).await;
    }

    async fn lost(&mut self, reason: Reason, detail: &str) {
        let reason = match (reason, self.told) {
            (Reason::Closed | Reason::Cut, Some(told)) => told,
            (reason, _) => reason,
        };
        let hidden = [self.channel.connect_uri.expose_secret(), self.channel.id.expose_secret()];
        let lost = Reply::Lost { session: self.session, reason, detail: scrub(detail, &hidden) };
        pass(&self.incoming, Incoming::Reply(lost)).await;
    }

    async fn probe(&self, socket: &mut Socket) -> Read {
        let probe = socket.send(Message::text(wire::PING));
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(())) => Read::default(),
            Ok(Err(error)) => Read::end(reason_of(&error)),
            Err(_) => Read::end((
                Reason::Silent,
                format!("a probe could not be sent within {PROBE_TIMEOUT:?}"),
            )),
        }
    }

    fn frame(&mut self, frame: Option<Result<Message, tungstenite::Error>>) -> Read {
        match frame {
            Some(Ok(Message::Text(text))) => self.text(text),
            Some(Ok(Message::Binary(bytes))) => {
                self.unreadable("it is binary".to_owned(), bytes.len())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                Read::one(self.heard(Heard::Sign))
            }
            Some(Ok(Message::Close(close))) => Read::end((Reason::Closed, closed(close.as_ref()))),
            Some(Err(error)) => {
                Read { first: self.oversized(&error), ..Read::end(reason_of(&error)) }
            }
            None => Read::end((Reason::Cut, "the stream ended".to_owned())),
        }
    }

    fn text(&mut self, text: Utf8Bytes) -> Read {
        let frame = Bytes::from(text.clone());
        match wire::read(text.as_str()) {
            Ok(Frame::Data { topic, body, correlation_id }) => Read::one(Incoming::Notification {
                session: self.session,
                at: self.clock.now(),
                notification: Notification {
                    topic: self.topics.get(&topic),
                    body: frame.slice_ref(body.as_bytes()),
                    correlation_id,
                    received: self.clock.timestamp(),
                },
            }),
            Ok(Frame::Word(word)) => {
                self.told = announced(word).or(self.told);
                Read::one(self.heard(word))
            }
            Err(detail) => self.unreadable(detail, frame.len()),
        }
    }

    fn heard(&self, what: Heard) -> Incoming {
        let session = self.session;
        Incoming::Reply(Reply::Heard { session, what, at: self.clock.now() })
    }

    fn unreadable(&self, detail: String, bytes: usize) -> Read {
        let unreadable =
            Observation::FrameUnreadable { session: self.session.to_string(), detail, bytes };
        Read {
            first: Some(Incoming::Observation(unreadable)),
            second: Some(self.heard(Heard::Sign)),
            ended: None,
        }
    }

    /// A frame above the limit is lost with its session, and told like any other that could not be read.
    fn oversized(&self, error: &tungstenite::Error) -> Option<Incoming> {
        let tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) = error
        else {
            return None;
        };
        Some(Incoming::Observation(Observation::FrameUnreadable {
            session: self.session.to_string(),
            detail: format!("it is larger than genesys.frame_max ({max_size} bytes)"),
            bytes: *size,
        }))
    }
}

/// Passes on without waiting where there is room; false when nobody listens any more.
async fn pass(incoming: &mpsc::Sender<Incoming>, item: Incoming) -> bool {
    match incoming.try_send(item) {
        Ok(()) => true,
        Err(TrySendError::Full(item)) => incoming.send(item).await.is_ok(),
        Err(TrySendError::Closed(_)) => false,
    }
}

/// What an announcement makes of the end that follows it.
fn announced(word: Heard) -> Option<Reason> {
    match word {
        Heard::ClosingNotice => Some(Reason::ClosingNotice),
        Heard::NoLongerSubscribed => Some(Reason::Evicted),
        Heard::TokenRevoked => Some(Reason::TokenRevoked),
        Heard::Data | Heard::Sign | Heard::Pong => None,
    }
}

fn closed(close: Option<&CloseFrame>) -> String {
    match close {
        None => "closed without a code".to_owned(),
        Some(close) if close.reason.is_empty() => {
            format!("closed with code {}", u16::from(close.code))
        }
        Some(close) => format!("closed with code {}: {}", u16::from(close.code), close.reason),
    }
}

fn reason_of(error: &tungstenite::Error) -> Ended {
    use tungstenite::Error as E;
    let is_cut = matches!(
        error,
        E::Io(_)
            | E::ConnectionClosed
            | E::AlreadyClosed
            | E::WriteBufferFull(_)
            | E::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    );
    let reason = match is_cut {
        _ if is_tls(error) => Reason::Tls,
        true => Reason::Cut,
        false => Reason::Protocol,
    };
    (reason, chain(error))
}

/// Closes politely, but waits for nobody: what the peer still says is not heard any more.
async fn good_bye(mut socket: Socket) {
    let polite = async {
        let close = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };
        // Where the peer has closed first, this flushes the answer to it; where the connection is gone, nothing is owed.
        if socket.close(Some(close)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, polite).await.is_err() {
        // The peer did not answer in time; dropping the socket closes it.
    }
}
