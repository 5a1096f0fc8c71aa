//! One function for each command that is answered: what it does, and the one reply that comes of it.

use super::Incoming;
use super::clients::Clients;
use super::config::{Choice, Config};
use super::handles::Handles;
use super::handshake::{Opener, Socket};
use super::queues;
use super::refusal::refusal;
use super::rest::{Channel, Rest};
use super::snapshots::{Pages, Shown};
use super::wire::Queue;
use crate::clock::Clock;
use crate::event::Topic;
use crate::lifecycle::{
    self, Call, Change, ChannelId, FoundChannel, Reason, Refusal, Reply, SecretVersion, SessionId,
    TokenId,
};
use crate::secret::Secrets;
use secrecy::SecretString;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;

/// What every command may need.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) config: Config,
    /// What is subscribed to; in the place of what `config` says of it.
    pub(super) choice: RwLock<Arc<Choice>>,
    pub(super) rest: Rest,
    pub(super) opener: Opener,
    pub(super) secrets: Secrets,
    pub(super) handles: Handles,
    pub(super) pages: Pages,
    pub(super) queue_pages: queues::Pages,
    pub(super) clients: Clients,
    pub(super) incoming: mpsc::Sender<Incoming>,
    pub(super) clock: Clock,
}

impl Platform {
    /// Where the client logs in.
    pub(super) fn login_url(&self) -> String {
        self.config.urls().map(|(login, _)| login.to_string()).unwrap_or_default()
    }

    pub(super) async fn request_token(&self) -> Reply {
        let credentials = match self.secrets.newest().await {
            Ok(credentials) => credentials,
            Err(error) => {
                return Reply::TokenRefused {
                    refusal: refusal(Reason::SecretUnavailable, error.to_string()),
                    secret: None,
                };
            }
        };
        let secret = SecretVersion(credentials.version);
        let client_id = credentials.client_id.or_else(|| self.config.client_id.clone());
        let Some(client_id) = client_id else {
            let detail = "no client id: neither the secret's source nor genesys.client_id has one";
            return Reply::TokenRefused {
                refusal: refusal(Reason::SecretUnavailable, detail),
                secret: Some(secret),
            };
        };
        let bought = self.rest.token(&client_id, &credentials.client_secret);
        match bought.await {
            Ok(bought) => Reply::TokenGranted {
                token: self.clients.bought(self.handles.add_token(bought.token), &client_id),
                expires_in: bought.expires_in,
                secret,
            },
            Err(refusal) => {
                if refusal.reason == Reason::CredentialsRejected {
                    self.secrets.hurry();
                }
                Reply::TokenRefused { refusal, secret: Some(secret) }
            }
        }
    }

    pub(super) async fn list_topics(&self, token: TokenId, page: u32) -> Reply {
        let choice = Arc::clone(&self.choice.read().unwrap_or_else(PoisonError::into_inner));
        let Choice { queues, topics } = &*choice;
        let mut listed = Vec::new();
        if queues::need_listing(queues, topics) {
            listed = match self.list_queues(token, page).await {
                Ok(Some(listed)) => listed,
                Ok(None) => return Reply::TopicsPage { page },
                Err((refusal, anew)) => return Reply::TopicsRefused { refusal, anew },
            };
        }
        let (topics, unknown) = queues::expand(queues, topics, &listed);
        Reply::TopicsListed { topics, unknown }
    }

    /// Reads a page of the queues; answers all of them once it was the last. The error says whether the list must be read anew.
    async fn list_queues(
        &self,
        token: TokenId,
        page: u32,
    ) -> Result<Option<Vec<Queue>>, (Refusal, bool)> {
        let token = self.token(token).map_err(|refusal| (refusal, false))?;
        let read = self.rest.queues(&token, page).await.map_err(|refusal| (refusal, false))?;
        self.queue_pages.take(page, read).map_err(|refusal| (refusal, true))
    }

    /// How these topics stand now.
    pub(super) async fn read_snapshots(
        &self,
        token: TokenId,
        what: lifecycle::Snapshot,
        topics: &[Topic],
        page: u32,
    ) -> Result<Shown, Refusal> {
        let token = self.token(token)?;
        match (what, topics) {
            (lifecycle::Snapshot::Members, [topic]) => {
                let (members, is_last) = self.rest.members(&token, topic, page).await?;
                let lacks = || refusal(Reason::Unexpected, "a page of members came out of turn");
                self.pages.take(topic, page, members, is_last).ok_or_else(lacks)
            }
            // Members are asked queue by queue; more at once would not be one call.
            (lifecycle::Snapshot::Members, _) => {
                Err(refusal(Reason::Unexpected, "members of several queues were asked at once"))
            }
            (lifecycle::Snapshot::Observations, topics) => {
                self.rest.observations(&token, topics).await.map(Shown::Whole)
            }
        }
    }

    pub(super) async fn open_channel(&self, session: SessionId, token: TokenId) -> Reply {
        let opened = async { self.rest.open_channel(&self.token(token)?).await };
        match opened.await {
            Ok((channel, expires_in)) => Reply::ChannelOpened {
                session,
                channel: self.clients.made(self.handles.add_channel(channel), token),
                expires_in,
            },
            Err(refusal) => Reply::Refused { session, call: Call::Rest, refusal },
        }
    }

    pub(super) async fn list_channels(&self, token: TokenId) -> Reply {
        let listed = async { self.rest.channels(&self.token(token)?).await };
        let listed = match listed.await {
            Ok(listed) => listed,
            Err(refusal) => return Reply::ChannelsRefused { refusal },
        };
        let total = listed.len();
        let found = listed.into_iter().filter_map(|entry| {
            let channel = self.clients.made(self.handles.add_channel(entry.channel?), token);
            Some(FoundChannel { channel, expires_in: entry.expires_in })
        });
        Reply::ChannelsListed { found: found.collect(), total }
    }

    pub(super) async fn subscribe(
        &self,
        session: SessionId,
        token: TokenId,
        channel: ChannelId,
        topics: &[Box<str>],
    ) -> Reply {
        let subscribed = async {
            if self.clients.are_strangers(token, channel) {
                let detail = "the channel belongs to the client that was used before";
                return Err(refusal(Reason::ChannelGone, detail));
            }
            let (token, channel) = (self.token(token)?, self.channel(channel)?);
            self.rest.replace_topics(&token, &channel.id, topics).await
        };
        match subscribed.await {
            Ok(rejected) => Reply::Subscribed { session, rejected },
            Err(refusal) => Reply::Refused { session, call: Call::Channel, refusal },
        }
    }

    pub(super) async fn amend(
        &self,
        session: SessionId,
        token: TokenId,
        channel: ChannelId,
        change: &Change,
    ) -> Reply {
        let amended = async {
            let (token, own) = (self.token(token)?, self.channel(channel)?);
            match change {
                Change::Add(topics) => self.rest.add_topics(&token, &own.id, topics).await,
                Change::Replace(topics) => self.rest.replace_topics(&token, &own.id, topics).await,
            }
        };
        match amended.await {
            Ok(rejected) => Reply::Amended { session, channel, rejected },
            Err(refusal) => Reply::AmendRefused { session, channel, refusal },
        }
    }

    pub(super) async fn connect(
        &self,
        channel: ChannelId,
    ) -> Result<(Socket, Arc<Channel>), Refusal> {
        let channel = self.channel(channel)?;
        let socket = self.opener.open(&channel).await?;
        Ok((socket, channel))
    }

    fn token(&self, token: TokenId) -> Result<SecretString, Refusal> {
        let gone = || refusal(Reason::Unauthorized, "the token is no longer kept");
        self.handles.token(token).ok_or_else(gone)
    }

    fn channel(&self, channel: ChannelId) -> Result<Arc<Channel>, Refusal> {
        let gone = || refusal(Reason::ChannelGone, "the channel was forgotten");
        self.handles.channel(channel).ok_or_else(gone)
    }
}
