//! The task of one socket.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::{Cut, Item, Order, Wire, blast, frames};
use crate::http::said;
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

struct Session {
    platform: Arc<Platform>,
    channel: Utf8Bytes,
    serial: u64,
    stream: WebSocketStream<Wire>,
    items: mpsc::Receiver<Item>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Emissions that are kept back, by the moment they are due and by their order of arrival.
    late: BTreeMap<(Instant, u64), (u64, Utf8Bytes)>,
    arrivals: u64,
    /// Emissions that were written and are not flushed yet.
    unflushed: Vec<u64>,
    next_heartbeat: Instant,
    heartbeats_to_skip: u32,
    heartbeat_delay: Duration,
    fragment: Option<usize>,
    speaks_again: Option<Instant>,
}

/// Why the loop ended, in words for the journal.
type End = ControlFlow<Utf8Bytes>;

const LOST: End = ControlFlow::Break(Utf8Bytes::from_static("connection lost"));
const GOES_ON: End = ControlFlow::Continue(());

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
    let mut session = Session {
        next_heartbeat: Instant::now() + platform.options.heartbeat,
        platform: Arc::clone(&platform),
        channel: channel.as_str().into(),
        serial,
        stream,
        items: ends.items,
        orders: ends.orders,
        late: BTreeMap::new(),
        arrivals: 0,
        unflushed: Vec::new(),
        heartbeats_to_skip: 0,
        heartbeat_delay: Duration::ZERO,
        fragment: None,
        speaks_again: None,
    };
    let reason = session.run(ends.cuts).await;
    platform.state().close(&channel, serial, &reason);
    session.linger().await;
}

impl Session {
    async fn run(&mut self, mut cuts: mpsc::UnboundedReceiver<Cut>) -> Utf8Bytes {
        let stopped = self.platform.stopped.clone();
        loop {
            let end = tokio::select! {
                biased;
                () = stopped.cancelled() => ControlFlow::Break("simulator stopped".into()),
                Some(cut) = cuts.recv() => self.cut(cut),
                end = self.step() => end,
            };
            if let ControlFlow::Break(reason) = end {
                return reason;
            }
        }
    }

    /// Orders come first: a fault does not wait behind traffic. Then the client and the heart, so
    /// that a busy feed keeps neither waiting.
    async fn step(&mut self) -> End {
        let due = self.late.first_key_value().map(|((due, _), _)| *due);
        tokio::select! {
            biased;
            Some(order) = self.orders.recv() => self.obey(order),
            () = until(self.speaks_again) => self.speak_again(),
            heard = self.stream.next() => self.hear(heard).await,
            () = until(due) => self.write_late().await,
            () = tokio::time::sleep_until(self.next_heartbeat) => self.beat().await,
            Some(item) = self.items.recv() => self.write(item).await,
        }
    }

    fn cut(&mut self, cut: Cut) -> End {
        let wire = self.stream.get_mut();
        match cut {
            Cut::Reset => {
                wire.arm_reset().ok();
                ControlFlow::Break("reset".into())
            }
            Cut::Finish => ControlFlow::Break("finished".into()),
            Cut::Vanish => {
                wire.muted = true;
                wire.deaf = true;
                wire.vanished = true;
                GOES_ON
            }
        }
    }

    fn obey(&mut self, order: Order) -> End {
        let wire = self.stream.get_mut();
        match order {
            Order::Mute { resume } => {
                wire.muted = true;
                self.speaks_again = resume.map(|after| Instant::now() + after);
            }
            Order::Deaf(deaf) => wire.deaf = deaf,
            Order::Pace(pace) => wire.pace(pace),
            Order::Fragment(bytes) => self.fragment = bytes,
            Order::Heartbeats { skip, delay } => {
                self.heartbeats_to_skip = skip;
                self.heartbeat_delay = delay;
                self.next_heartbeat += delay;
            }
        }
        GOES_ON
    }

    fn speak_again(&mut self) -> End {
        self.speaks_again = None;
        self.stream.get_mut().muted = false;
        GOES_ON
    }

    async fn beat(&mut self) -> End {
        self.next_heartbeat =
            Instant::now() + self.platform.options.heartbeat + self.heartbeat_delay;
        if self.heartbeats_to_skip > 0 {
            self.heartbeats_to_skip -= 1;
            return GOES_ON;
        }
        self.say(frames::heartbeat().into()).await
    }

    async fn hear(&mut self, heard: Option<Result<Message, tungstenite::Error>>) -> End {
        match heard {
            Some(Ok(Message::Text(text))) => {
                match said::answer(&self.platform, self.channel.as_str(), &text) {
                    Some(answer) => self.say(answer.into()).await,
                    None => GOES_ON,
                }
            }
            // tungstenite queues the pong; flushing it here answers at once.
            Some(Ok(Message::Ping(_))) => match self.stream.flush().await {
                Ok(()) => GOES_ON,
                Err(_) => LOST,
            },
            Some(Ok(Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => GOES_ON,
            Some(Ok(Message::Close(_))) => {
                self.stream.flush().await.ok();
                ControlFlow::Break("closed by the client".into())
            }
            Some(Err(_)) | None => LOST,
        }
    }

    /// Writes an item and what else waits, then flushes once.
    async fn write(&mut self, item: Item) -> End {
        // A crawling socket is asked for each frame anew, so that an order waits for one at most.
        let most = if self.stream.get_ref().is_paced() { 1 } else { BATCH_MAX };
        let mut next = Some(item);
        while let Some(item) = next.take() {
            self.write_one(item).await?;
            if self.unflushed.len() < most {
                next = self.items.try_recv().ok();
            }
        }
        self.flush().await
    }

    async fn write_one(&mut self, item: Item) -> End {
        match item {
            Item::Emission { number, frame, due: Some(due) } => {
                self.arrivals += 1;
                self.late.insert((due, self.arrivals), (number, frame));
                GOES_ON
            }
            Item::Emission { number, frame, due: None } => {
                // What is due goes first: timers are coarse, and one of its key may be among it.
                self.feed_late().await?;
                self.feed(frame).await?;
                self.unflushed.push(number);
                GOES_ON
            }
            Item::Text(text) => self.feed(text).await,
            Item::Binary(bytes) => match self.stream.feed(Message::Binary(bytes)).await {
                Ok(()) => GOES_ON,
                Err(_) => LOST,
            },
            Item::Raw(bytes) => {
                self.flush().await?;
                self.write_raw(&bytes).await
            }
            Item::Blast(blast) => {
                self.flush().await?;
                blast::write(&blast, self.stream.get_mut()).await.map_or(LOST, |()| GOES_ON)
            }
            Item::Close { code, reason } => {
                self.flush().await?;
                let frame = CloseFrame { code: CloseCode::from(code), reason: reason.clone() };
                self.stream.close(Some(frame)).await.ok();
                ControlFlow::Break(reason)
            }
        }
    }

    async fn write_late(&mut self) -> End {
        self.feed_late().await?;
        self.flush().await
    }

    /// Writes what was kept back and is due now.
    async fn feed_late(&mut self) -> End {
        if self.late.is_empty() {
            return GOES_ON;
        }
        let now = Instant::now();
        while let Some(entry) = self.late.first_entry()
            && entry.key().0 <= now
        {
            let (number, frame) = entry.remove();
            self.feed(frame).await?;
            self.unflushed.push(number);
        }
        GOES_ON
    }

    async fn say(&mut self, text: Utf8Bytes) -> End {
        self.feed(text).await?;
        self.flush().await
    }

    /// Writes one text message, in as many frames as it is to have.
    async fn feed(&mut self, text: Utf8Bytes) -> End {
        let fed = match self.fragment {
            None => self.stream.feed(Message::Text(text)).await,
            Some(bytes) => self.feed_fragments(&text, bytes).await,
        };
        if fed.is_ok() { GOES_ON } else { LOST }
    }

    async fn feed_fragments(
        &mut self,
        text: &Utf8Bytes,
        bytes: usize,
    ) -> Result<(), tungstenite::Error> {
        let mut pieces = text.as_bytes().chunks(bytes.max(1)).peekable();
        let mut kind = Data::Text;
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), last);
            self.stream.feed(Message::Frame(frame)).await?;
            kind = Data::Continue;
        }
        Ok(())
    }

    async fn write_raw(&mut self, bytes: &[u8]) -> End {
        let wire = self.stream.get_mut();
        let written = async {
            wire.write_all(bytes).await?;
            wire.flush().await
        };
        if written.await.is_ok() { GOES_ON } else { LOST }
    }

    /// Flushes, and writes down what has now been delivered. A muted socket delivers nothing.
    async fn flush(&mut self) -> End {
        if self.stream.flush().await.is_err() {
            return LOST;
        }
        let numbers = std::mem::take(&mut self.unflushed);
        if !numbers.is_empty() && !self.stream.get_ref().muted {
            self.platform.state().log.delivered(&numbers, &self.channel, self.serial);
        }
        GOES_ON
    }

    /// Sends FIN and reads what is left, because closing over unread bytes would send RST.
    async fn linger(mut self) {
        let wire = self.stream.get_mut();
        if wire.vanished && !wire.doomed {
            // The connection must outlive its channel: to close it would send FIN.
            self.platform.stopped.cancelled().await;
            return;
        }
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
