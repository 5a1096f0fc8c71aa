//! A simulator of Genesys Cloud's notification API: faithful enough for the official SDKs, hostile
//! enough to be the conformance suite of any client, deterministic enough to argue with.
//!
//! ```no_run
//! # async fn run() -> Result<(), tieline_sim::Error> {
//! use tieline_sim::{Options, Sim};
//!
//! let sim = Sim::start(Options { queues: 5, rate: 100.0, ..Options::default() }).await?;
//! // Let a client loose on `sim.login_url()`, cut its socket with `POST {control_url}/sim/close`,
//! // and compare what it delivered with what there was to deliver:
//! let journal = sim.journal();
//! println!("{} emissions", journal.emissions.len());
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! It depends on nothing of the bridge: it is a second, independent reading of the platform.
//! It does not simulate Vault, and it keeps nothing on disk.

pub mod certificate;
mod chance;
mod clock;
mod http;
pub mod journal;
mod options;
mod platform;
pub mod scenario;
mod server;
mod socket;
mod switches;
mod tls;
mod traffic;

pub use self::options::{Families, Options, Tls};
pub use self::server::{Error, Sim};
pub use self::switches::{Evicted, RetryAfter, Switches, TokenEnd};
pub use self::traffic::{Queue, rehearse};
