//! The task of one socket.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::{Cut, Item, Order, Wire, frames};
use crate::platform::Platform;

/// Emissions that are flushed together when the queue has as many.
const BATCH_MAX: usize = 64;

/// How long a closed socket waits for the peer to go: as long as common servers do.
const LINGER: Duration = Duration::from_secs(2);

/// The task's ends of a [`super::Socket`].
#[derive(Debug)]
pub(crate) struct Ends {
    pub(super) items: mpsc::Receiver<Item>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) cuts: mpsc::UnboundedReceiver<Cut>,
}

/// A message from the client.
#[derive(Debug, Deserialize)]
struct Said {
    message: String,
}

struct Session {
    platform: Arc<Platform>,
    channel: Utf8Bytes,
    serial: u64,
    stream: WebSocketStream<Wire>,
    items: mpsc::Receiver<Item>,
    orders: mpsc::UnboundedReceiver<Order>,
    heartbeat: Interval,
    speaks_again: Option<Instant>,
}

/// Why the loop ended, in words for the journal.
type End = ControlFlow<&'static str>;

/// Serves a socket until it ends; `early` is what the client sent before its handshake was
/// answered.
pub(crate) async fn serve(
    platform: Arc<Platform>,
    channel: String,
    serial: u64,
    wire: Wire,
    early: Vec<u8>,
    ends: Ends,
) {
    let config = WebSocketConfig::default();
    let stream =
        WebSocketStream::from_partially_read(wire, early, Role::Server, Some(config)).await;
    let period = platform.options.heartbeat;
    let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = Session {
        platform: Arc::clone(&platform),
        channel: channel.as_str().into(),
        serial,
        stream,
        items: ends.items,
        orders: ends.orders,
        heartbeat,
        speaks_again: None,
    };
    let reason = session.run(ends.cuts).await;
    platform.state().close(&channel, serial, reason);
    session.linger().await;
}

impl Session {
    async fn run(&mut self, mut cuts: mpsc::UnboundedReceiver<Cut>) -> &'static str {
        let stopped = self.platform.stopped.clone();
        loop {
            let end = tokio::select! {
                biased;
                () = stopped.cancelled() => ControlFlow::Break("simulator stopped"),
                Some(cut) = cuts.recv() => self.cut(cut),
                end = self.step() => end,
            };
            if let ControlFlow::Break(reason) = end {
                return reason;
            }
        }
    }

    /// Orders come first: a fault does not wait behind traffic. Then the client, so that a busy
    /// feed cannot keep a ping waiting.
    async fn step(&mut self) -> End {
        tokio::select! {
            biased;
            Some(order) = self.orders.recv() => self.obey(order),
            () = until(self.speaks_again) => self.speak_again(),
            said = self.stream.next() => self.hear(said).await,
            Some(item) = self.items.recv() => self.write(item).await,
            _ = self.heartbeat.tick() => self.say(frames::heartbeat().into()).await,
        }
    }

    fn cut(&mut self, cut: Cut) -> End {
        let wire = self.stream.get_mut();
        match cut {
            Cut::Reset => {
                wire.arm_reset().ok();
                ControlFlow::Break("reset")
            }
            Cut::Finish => ControlFlow::Break("finished"),
            Cut::Vanish => {
                wire.muted = true;
                wire.deaf = true;
                ControlFlow::Continue(())
            }
        }
    }

    fn obey(&mut self, order: Order) -> End {
        match order {
            Order::Mute { resume } => {
                self.stream.get_mut().muted = true;
                self.speaks_again = resume.map(|after| Instant::now() + after);
                ControlFlow::Continue(())
            }
        }
    }

    fn speak_again(&mut self) -> End {
        self.speaks_again = None;
        self.stream.get_mut().muted = false;
        ControlFlow::Continue(())
    }

    async fn hear(&mut self, said: Option<Result<Message, tungstenite::Error>>) -> End {
        match said {
            Some(Ok(Message::Text(text))) => self.answer(&text).await,
            // tungstenite queues the pong; flushing it here answers at once.
            Some(Ok(Message::Ping(_))) => match self.stream.flush().await {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break("connection lost"),
            },
            Some(Ok(Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {
                ControlFlow::Continue(())
            }
            Some(Ok(Message::Close(_))) => {
                self.stream.flush().await.ok();
                ControlFlow::Break("closed by the client")
            }
            Some(Err(_)) | None => ControlFlow::Break("connection lost"),
        }
    }

    async fn answer(&mut self, text: &str) -> End {
        // Some clients send a bare time stamp to keep the line open: whatever is no message is
        // ignored.
        let Ok(said) = serde_json::from_str::<Said>(text) else {
            return ControlFlow::Continue(());
        };
        match said.message.as_str() {
            "ping" => self.say(frames::pong().into()).await,
            _ => ControlFlow::Continue(()),
        }
    }

    async fn write(&mut self, item: Item) -> End {
        let mut numbers = Vec::new();
        let mut next = Some(item);
        while let Some(item) = next.take() {
            match item {
                Item::Emission { number, frame } => {
                    if self.stream.feed(Message::Text(frame)).await.is_err() {
                        return ControlFlow::Break("connection lost");
                    }
                    numbers.push(number);
                }
                Item::Text(text) => {
                    if self.stream.feed(Message::Text(text)).await.is_err() {
                        return ControlFlow::Break("connection lost");
                    }
                }
                Item::Close { code, reason } => {
                    self.flush(&numbers).await?;
                    let frame = CloseFrame { code: CloseCode::from(code), reason };
                    self.stream.close(Some(frame)).await.ok();
                    return ControlFlow::Break("closed by the platform");
                }
            }
            if numbers.len() < BATCH_MAX {
                next = self.items.try_recv().ok();
            }
        }
        self.flush(&numbers).await
    }

    async fn say(&mut self, text: Utf8Bytes) -> End {
        match self.stream.send(Message::Text(text)).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break("connection lost"),
        }
    }

    /// Flushes, and writes down what has now been delivered. A muted socket delivers nothing.
    async fn flush(&mut self, numbers: &[u64]) -> End {
        if self.stream.flush().await.is_err() {
            return ControlFlow::Break("connection lost");
        }
        if !numbers.is_empty() && !self.stream.get_ref().muted {
            self.platform.state().log.delivered(numbers, &self.channel, self.serial);
        }
        ControlFlow::Continue(())
    }

    /// Sends FIN and reads what is left, because closing over unread bytes would send RST.
    async fn linger(mut self) {
        let wire = self.stream.get_mut();
        if wire.muted || wire.doomed {
            return;
        }
        wire.shutdown().await.ok();
        let mut rest = [0_u8; 4096];
        let drained =
            async { while matches!(wire.read(&mut rest).await, Ok(count) if count > 0) {} };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(LINGER) => {}
            () = self.platform.stopped.cancelled() => {}
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
