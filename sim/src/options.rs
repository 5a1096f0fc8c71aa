//! What a simulator is told before it starts.
//!
//! It neither reads files nor the command line: `main` fills it in for the binary, tests and the
//! demo fill it in themselves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::switches::Switches;

/// Everything that can be chosen. `Options::default()` is a quiet, obedient platform on a free
/// port of the loopback interface.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides every id, body and pace of the traffic.
    pub seed: u64,
    /// How many queues the organisation has.
    pub queues: usize,
    /// Notifications per second over all queues; 0 for none but those asked for by hand.
    pub rate: f64,
    /// What the traffic tells of beside the queues themselves.
    pub families: Families,
    /// The OAuth client's id; by default a UUID made from the seed.
    pub client_id: Option<String>,
    /// The OAuth client's first secret; by default made from the seed.
    pub client_secret: Option<String>,
    /// How long a token is good for.
    pub token_ttl: Duration,
    /// How long a channel lives after it was made or subscribed last.
    pub channel_ttl: Duration,
    /// The pause between two heartbeats on a socket.
    pub heartbeat: Duration,
    /// Requests per minute and token; more are answered 429.
    pub rate_limit: u32,
    /// Whether the traffic waits for `POST /sim/traffic {"state":"run"}`.
    pub paused: bool,
    /// A scenario to play: a file of `sim/scenarios/` or your own.
    pub scenario: Option<PathBuf>,
    /// The time of the traffic's first moment. With it emissions repeat to the byte; without it
    /// they begin now, and follow the wall clock over pauses.
    pub start: Option<SystemTime>,
    /// Send each socket this many frames of 900 bytes, once its channel has a subscription, as
    /// fast as they can be written, unnumbered and unjournalled.
    pub blast: Option<u64>,
    /// How the platform behaves where its documents are silent.
    pub switches: Switches,
    /// The address that clients are told, when it is not the one that is listened on: in a
    /// container, behind a name, or for a certificate. Without a slash at the end.
    pub public_url: Option<String>,
    /// Speak https and wss with this certificate.
    pub tls: Option<Tls>,
}

/// Families of topics that are told of only when asked for; they share the rate with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// `v2.users.{id}.presence` and `v2.users.{id}.routingStatus` of every agent.
    pub users: bool,
    /// `v2.detail.events.conversation.{id}.*` of every conversation.
    pub details: bool,
}

/// A certificate chain and its key, PEM files.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key, PKCS#8.
    pub key: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            queues: 3,
            rate: 20.0,
            families: Families::default(),
            client_id: None,
            client_secret: None,
            token_ttl: Duration::from_secs(86_400),
            channel_ttl: Duration::from_secs(86_400),
            heartbeat: Duration::from_secs(30),
            rate_limit: 300,
            paused: false,
            scenario: None,
            start: None,
            blast: None,
            switches: Switches::default(),
            public_url: None,
            tls: None,
        }
    }
}
