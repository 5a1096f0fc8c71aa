//! One WebSocket: its handle, by which the platform speaks to it, and the task that serves it.
//!
//! The task writes what it is handed, in that order, answers pings, beats its heart, and obeys
//! faults at once, ahead of what is queued. It decides nothing about channels.

mod blast;
pub(crate) mod frames;
mod serve;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub(crate) use self::serve::{Ends, serve};
pub(crate) use self::wire::Wire;

/// Frames that may wait for a slow reader before its socket is cut: about a minute at 1,000 a
/// second.
const WAITING_MAX: usize = 65_536;

/// How the platform speaks to a socket.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) serial: u64,
    items: mpsc::Sender<Item>,
    orders: mpsc::UnboundedSender<Order>,
    cuts: mpsc::UnboundedSender<Cut>,
}

/// What is sent in order.
#[derive(Debug)]
pub(crate) enum Item {
    /// An emission, to be written down once it is flushed; kept back until it is due.
    Emission { number: u64, frame: Utf8Bytes, due: Option<Instant> },
    /// Anything else the platform says.
    Text(Utf8Bytes),
    /// A binary frame, which no client asks for.
    Binary(Bytes),
    /// Bytes as they are, be they a frame or not.
    Raw(Bytes),
    /// Frames as fast as they can be written.
    Blast(Blast),
    /// A Close frame, then the end.
    Close { code: u16, reason: Utf8Bytes },
}

/// A great many frames at once, to measure a client with.
#[derive(Debug, Clone)]
pub(crate) struct Blast {
    pub(crate) frames: u64,
    pub(crate) bytes: usize,
    pub(crate) topic: String,
}

/// What is obeyed at once, even while a write waits for a peer that does not read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// TCP RST.
    Reset,
    /// TCP FIN without a Close frame.
    Finish,
    /// Neither send nor read, as if the network had swallowed the peer.
    Vanish,
}

/// What is obeyed between two frames, ahead of everything queued.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Send nothing more; speak again after this time, or never.
    Mute { resume: Option<Duration> },
    /// Stop reading, or read again.
    Deaf(bool),
    /// Send this many bytes at a time with a pause between, or as fast as can be.
    Pace(Option<(usize, Duration)>),
    /// Split each message into frames of this many bytes, or do not.
    Fragment(Option<usize>),
    /// Leave out this many heartbeats, and let each later one come late.
    Heartbeats { skip: u32, delay: Duration },
}

impl Socket {
    /// A handle, and the ends that [`serve`] takes.
    pub(crate) fn new() -> (Self, Ends) {
        let (items, items_end) = mpsc::channel(WAITING_MAX);
        let (orders, orders_end) = mpsc::unbounded_channel();
        let (cuts, cuts_end) = mpsc::unbounded_channel();
        let ends = Ends { items: items_end, orders: orders_end, cuts: cuts_end };
        (Self { serial: 0, items, orders, cuts }, ends)
    }

    /// The same handle under its serial number.
    pub(crate) fn numbered(self, serial: u64) -> Self {
        Self { serial, ..self }
    }

    /// Queues an emission.
    pub(crate) fn send(&self, number: u64, frame: Utf8Bytes, due: Option<Instant>) {
        self.queue(Item::Emission { number, frame, due });
    }

    /// Queues any other text.
    pub(crate) fn say(&self, text: Utf8Bytes) {
        self.queue(Item::Text(text));
    }

    /// Closes after everything queued so far.
    pub(crate) fn close(&self, code: u16, reason: Utf8Bytes) {
        self.queue(Item::Close { code, reason });
    }

    /// Ends the connection below the protocol. A socket that has just ended obeys nobody.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cuts.send(cut).ok();
    }

    /// Obeyed ahead of everything queued.
    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order).ok();
    }

    /// Queues anything. A reader so slow that the queue is full is cut off.
    pub(crate) fn queue(&self, item: Item) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.items.try_send(item) {
            self.cut(Cut::Reset);
        }
    }
}
