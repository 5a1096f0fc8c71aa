//! The shell that joins the pure parts to the IO.
//!
//! ```text
//!  genesys ─► driver ─► stream ─► journal ─► publisher ─► sink      (one publisher a sink)
//!               │ ▲
//!               ▼ │ report ─► status, telemetry
//!           lifecycle
//! ```

mod age;
mod configured;
mod doubt;
mod driver;
mod gaps;
mod handover;
pub mod history;
mod publisher;
mod renewal;
mod report;
mod sessions;
mod stall;
pub mod status;
mod stream;
pub mod tap;
pub mod verdict;

pub use doubt::Doubts;
pub use driver::{Driver, Ending};
pub use gaps::{Gaps, Keeper, Kept};
pub use handover::{Declined, Door, Giving, Heir, Link, Successor, Taking};
pub use publisher::{Delay, Encode, Error as PublishError, Publisher, Setup};
pub use renewal::Renewal;
pub use report::Report;
pub use stall::Stall;
pub use status::Status;
pub use stream::Stream;
pub use tap::Tap;
