//! A handover as the bridge carries it out: `handover` decides, this moves bytes and does what it says.
//!
//! ```text
//!  link     the socket in data_dir, messages in both directions
//!  giving   the old process: the driver lets another take over
//!  taking   the new process, before it has a journal: sessions settle, and what they say is relayed
//!  heir     the new process's driver goes on where the old one was cut off
//! ```

mod giving;
mod heir;
mod link;
mod taking;
#[cfg(test)]
mod tests;

pub use giving::{Giving, Successor};
pub use heir::Heir;
pub use link::{Door, Link};
pub use taking::{Declined, Taking};
