//! Carries out the lifecycle's commands against Genesys Cloud.
//!
//! Decides nothing: each command becomes a task that ends in its one reply, with the failure's reason in it. Tokens, channel
//! ids and socket addresses stay in here, behind handles.

mod clients;
mod config;
mod error;
mod handles;
mod handshake;
mod inquiry;
mod kept;
mod perform;
mod proxy;
mod queues;
mod refusal;
mod rest;
mod snapshots;
mod socket;
pub mod tls;
mod wire;

pub use config::{Choice, Config};
pub use error::Error;
pub use inquiry::{Inquiry, Offer, Plan, Trial};
pub use snapshots::{Shown, Snapshot};
pub use wire::{Frame, read as read_frame};

use crate::clock::Clock;
use crate::event::{Notification, Topics};
use crate::lifecycle::{
    Call, ChannelId, Command, KeptChannel, ReadId, Refusal, Reply, SecretVersion, SessionId,
    TokenId,
};
use crate::observation::Observation;
use crate::secret::Secrets;
use crate::time::{Time, Timestamp};
use handles::Handles;
use handshake::Opener;
use perform::Platform;
use rest::Rest;
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What comes from the platform, in the order in which it happened on each session.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// What came of a command, or what a socket said besides notifications.
    Reply(Reply),
    /// A notification. For the lifecycle it is `Heard::Data`, which is not sent beside it.
    Notification {
        /// Whose socket.
        session: SessionId,
        /// When its reader had it.
        at: Time,
        /// What it said.
        notification: Notification,
    },
    /// What came of `Command::ReadSnapshots`.
    Snapshots {
        /// Which request.
        read: ReadId,
        /// What is asked.
        what: crate::lifecycle::Snapshot,
        /// When the answer came.
        received: Timestamp,
        /// What REST showed, or why not.
        shown: Result<Shown, Refusal>,
    },
    /// Something worth telling that decides nothing.
    Observation(Observation),
}

impl From<Reply> for Incoming {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// The platform, as the driver sees it. Dropping it abandons all requests and closes all sockets.
#[derive(Debug)]
pub struct Genesys {
    platform: Arc<Platform>,
    keeper: Option<kept::Keeper>,
    sessions: HashMap<SessionId, Session>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    _end: DropGuard,
}

/// What runs for a session.
#[derive(Debug)]
struct Session {
    cancel: CancellationToken,
    probes: Option<mpsc::Sender<()>>,
    /// Each task of the session holds a clone; alone, the session is over.
    running: Arc<()>,
}

impl Genesys {
    /// Makes the clients and begins to relay changes of the secret; asks the platform nothing yet.
    ///
    /// Everything that comes is sent to `incoming`, whose reader must never wait for a sink. All tasks are `tracker`'s.
    /// The TLS provider must have been installed: see [`tls::install_provider`].
    pub fn new(
        config: Config,
        secrets: Secrets,
        clock: Clock,
        incoming: mpsc::Sender<Incoming>,
        tracker: TaskTracker,
    ) -> Result<Self, Error> {
        let trust = tls::Trust::load(config.ca_file.as_deref())?;
        let proxies = crate::proxy::Proxies::from_env()?;
        let platform = Arc::new(Platform {
            rest: Rest::new(&config, &trust, proxies.clone(), clock)?,
            opener: Opener::new(&config, &trust, proxies, clock)?,
            handles: Handles::default(),
            pages: snapshots::Pages::default(),
            queue_pages: queues::Pages::default(),
            clients: clients::Clients::default(),
            choice: RwLock::new(Arc::new(config.choice())),
            config,
            secrets,
            incoming,
            clock,
        });
        let cancel = CancellationToken::new();
        let relay = relay_secrets(platform.clone());
        let ended = cancel.clone();
        tracker.spawn(async move { ended.run_until_cancelled(relay).await });
        Ok(Self {
            platform,
            keeper: None,
            sessions: HashMap::new(),
            tracker,
            _end: cancel.clone().drop_guard(),
            cancel,
        })
    }

    /// From the next listing on these queues and topics are wanted.
    pub fn choose(&self, choice: Choice) {
        *self.platform.choice.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(choice);
    }

    /// Keeps the client's channels in that folder from now on, and reads which an earlier process has left there.
    pub fn keep_channels(&mut self, folder: &Path) {
        let incoming = self.platform.incoming.clone();
        let (keeper, writing) = kept::Keeper::open(folder, &self.platform, incoming);
        self.tracker.spawn(writing);
        self.keeper = Some(keeper);
    }

    /// The channels of the client that bought this token, as an earlier process has left them; each is told once.
    pub fn recall_channels(&mut self, token: TokenId) -> Vec<KeptChannel> {
        let Some(keeper) = &mut self.keeper else { return Vec::new() };
        keeper.recall(token, &self.platform)
    }

    /// Whether what was noted of the channels is in their file.
    pub fn has_channels_written(&self) -> bool {
        self.keeper.as_ref().is_none_or(kept::Keeper::is_written)
    }

    /// The OAuth client that bought a token.
    pub fn client(&self, token: TokenId) -> Option<Arc<str>> {
        self.platform.clients.buyer(token)
    }

    /// Where the client logs in.
    pub fn login_url(&self) -> String {
        self.platform.login_url()
    }

    /// Has these channels written down, if they are others than before.
    pub fn note_channels(&mut self, channels: Vec<KeptChannel>) {
        if let Some(keeper) = &mut self.keeper {
            keeper.note(channels, &self.platform);
        }
    }

    /// Begins to carry out a command, and returns at once.
    ///
    /// Replies that were already on their way when their session was closed may still arrive.
    pub fn execute(&mut self, command: Command) {
        let platform = self.platform.clone();
        match command {
            Command::RequestToken => {
                self.answer(None, async move { platform.request_token().await });
            }
            Command::ListTopics { token, page } => {
                self.answer(None, async move { platform.list_topics(token, page).await });
            }
            Command::ListChannels { token } => {
                self.answer(None, async move { platform.list_channels(token).await });
            }
            Command::OpenChannel { session, token } => {
                let opened = async move { platform.open_channel(session, token).await };
                self.answer(Some(session), opened);
            }
            Command::Subscribe { session, token, channel, topics } => {
                let subscribed =
                    async move { platform.subscribe(session, token, channel, &topics).await };
                self.answer(Some(session), subscribed);
            }
            Command::ReadSnapshots { read, token, what, topics, page } => {
                self.answer(None, async move {
                    let shown = platform.read_snapshots(token, what, &topics, page).await;
                    let received = platform.clock.timestamp();
                    Incoming::Snapshots { read, what, received, shown }
                });
            }
            // Its outcome counts also when the session loses its socket meanwhile: topics belong to the channel.
            Command::Amend { session, token, channel, change } => {
                self.answer(
                    None,
                    async move { platform.amend(session, token, channel, &change).await },
                );
            }
            Command::Connect { session, channel } => self.connect(session, channel),
            Command::Ping { session } => self.ping(session),
            Command::Close { session } => self.close(session),
            Command::Forget { channel } => self.platform.handles.forget(channel),
        }
    }

    /// Runs a request to its one reply, unless its session is closed before.
    fn answer(
        &mut self,
        session: Option<SessionId>,
        request: impl Future<Output: Into<Incoming> + Send> + Send + 'static,
    ) {
        let platform = self.platform.clone();
        let (cancel, running) = match session {
            Some(session) => {
                let session = self.session(session);
                (session.cancel.clone(), Some(session.running.clone()))
            }
            None => (self.cancel.clone(), None),
        };
        self.tracker.spawn(async move {
            let told = async {
                let reply = request.await;
                let said = platform.rest.take_allowance().map(|said| Reply::Allowance {
                    allowed: said.allowed,
                    left: said.left,
                    resets_in: said.resets_in,
                });
                for said in said.map(Incoming::Reply).into_iter().chain([reply.into()]) {
                    // A driver that has gone needs no reply.
                    drop(platform.incoming.send(said).await);
                }
            };
            cancel.run_until_cancelled(told).await;
            drop(running);
        });
    }

    fn connect(&mut self, id: SessionId, channel: ChannelId) {
        let platform = self.platform.clone();
        let (probe, probes) = mpsc::channel(1);
        // A session has one socket: should an earlier one still be about, it ends here and is heard no more.
        self.close(id);
        let session = self.session(id);
        session.probes = Some(probe);
        let (cancel, running) = (session.cancel.clone(), session.running.clone());
        self.tracker.spawn(async move {
            let opened = async {
                let opened = platform.connect(channel).await;
                let (reply, opened) = match opened {
                    Ok(opened) => (Reply::Connected { session: id }, Some(opened)),
                    Err(refusal) => {
                        (Reply::Refused { session: id, call: Call::Handshake, refusal }, None)
                    }
                };
                let told = platform.incoming.send(Incoming::Reply(reply)).await;
                opened.filter(|_| told.is_ok())
            };
            if let Some(Some((socket, channel))) = cancel.run_until_cancelled(opened).await {
                let reader = socket::Reader {
                    session: id,
                    channel,
                    incoming: platform.incoming.clone(),
                    clock: platform.clock,
                    topics: Topics::default(),
                    told: None,
                };
                reader.run(socket, probes, cancel).await;
            }
            drop(running);
        });
    }

    /// Probes that overtake each other are one probe.
    fn ping(&mut self, session: SessionId) {
        let session = self.sessions.get(&session);
        if let Some(probes) = session.and_then(|session| session.probes.as_ref()) {
            // Full means that one waits already, closed that the socket is gone, which is told by itself.
            probes.try_send(()).ok();
        }
    }

    fn close(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.remove(&session) {
            session.cancel.cancel();
        }
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions
            .retain(|other, session| *other == id || Arc::strong_count(&session.running) > 1);
        let cancel = &self.cancel;
        self.sessions.entry(id).or_insert_with(|| Session {
            cancel: cancel.child_token(),
            probes: None,
            running: Arc::new(()),
        })
    }
}

/// Tells each fresh secret, the first one too, for as long as somebody keeps secrets.
async fn relay_secrets(platform: Arc<Platform>) {
    let mut changes = platform.secrets.changes();
    loop {
        let version = *changes.borrow_and_update();
        if version > 0 {
            let changed = Reply::SecretChanged { secret: SecretVersion(version) };
            if platform.incoming.send(Incoming::Reply(changed)).await.is_err() {
                return;
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
