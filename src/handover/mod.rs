//! One process takes over from another, on the same host and in the same folder: who says what when, and what follows from it.
//!
//! ```text
//!  the new one (Taker)                              the old one (Giver)
//!   Hello                       ──────────────────►  freezes planned changes, has its channels written down
//!                               ◄──────────────────  Placed…, Welcome
//!   settles on channels of its own; what it hears ►  arbitrates it as a follower's
//!   Settled                     ──────────────────►  mutes its own sessions, waits until the overlap is over
//!                               ◄──────────────────  closes the journal; Window…, Cut
//!   goes on behind the cut                           drains its sinks, ends
//! ```
//!
//! Pure: messages, the end of the link and `now` go in; what is to be said and done comes out. The old process decides what is published
//! until the cut, so that no state of its arbitration has to cross but the identities of keyed families. Neither side trusts the other
//! to live: docs/decisions/0014-a-handover-relays.md has who notices what, and what it costs. Knows neither sockets nor the journal.

mod backlog;
mod giver;
mod message;
mod taker;
#[cfg(test)]
mod tests;
mod wire;

pub use backlog::{Item, Relayed};
pub use giver::{Act, Giver};
pub use message::{Hello, Message, Refusal, Welcome};
pub use taker::{Legacy, Outcome, Past, Taker};
pub use wire::{HEADER, Unreadable, decode, encode, length};
