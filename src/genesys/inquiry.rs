//! Questions that a person asks of the platform beside a run: what it offers, what a configuration would come to, what it permits.
//!
//! Opens no socket. Only `try_topics` makes a channel, and only where one more cannot end a live one.

use super::queues;
use super::rest::Rest;
use super::tls::Trust;
use super::wire::Queue;
use super::{Config, Error};
use crate::clock::Clock;
use crate::event::Topic;
use crate::lifecycle::{
    self, CHANNELS_PER_CLIENT, Reason, Refusal, RejectedTopic, ShardTopics, TooMany,
};
use crate::secret::Credentials;
use secrecy::SecretString;
use std::time::Duration;

/// A logged-in client that only asks.
#[derive(Debug)]
pub struct Inquiry {
    config: Config,
    rest: Rest,
    token: SecretString,
    expires_in: Duration,
}

/// A topic that the platform offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The template, such as `v2.routing.queues.{id}.conversations`.
    pub template: String,
    /// What it tells of.
    pub description: String,
    /// Whether it can be had over the socket.
    pub on_socket: bool,
    /// The permissions that it asks for.
    pub permissions: Vec<String>,
}

/// What a configuration comes to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every topic once.
    pub topics: Vec<Topic>,
    /// Queues of the configuration that the platform does not know.
    pub unknown: Vec<String>,
    /// The topics of each channel, or why they do not fit.
    pub shards: Result<Vec<ShardTopics>, TooMany>,
    /// How many channels carry each.
    pub redundancy: usize,
}

impl Plan {
    /// What a configuration comes to that names its queues by id: the platform is not asked. `None` where only it can say.
    #[must_use]
    pub fn offline(config: &Config, redundancy: usize) -> Option<Self> {
        let listed = queues::need_listing(&config.queues, &config.topics);
        (!listed).then(|| Self::of(config, &[], redundancy))
    }

    fn of(config: &Config, listed: &[Queue], redundancy: usize) -> Self {
        let (topics, unknown) = queues::expand(&config.queues, &config.topics, listed);
        let shards = lifecycle::Plan::default()
            .next(&topics, redundancy)
            .map(|plan| plan.shards().map(|id| plan.subscriptions_of(id)).collect());
        Self { topics, unknown, shards, redundancy }
    }
}

/// What became of a trial of topics.
#[derive(Clone, Debug)]
pub enum Trial {
    /// The platform answered; these topics it refused.
    Answered(Vec<RejectedTopic>),
    /// The client has so many channels that one more might end a live one; nothing was tried.
    NoRoom,
}

impl Inquiry {
    /// Logs in.
    ///
    /// # Errors
    /// The outer one when the configuration cannot work, the inner one when the platform refuses or is not reached.
    pub async fn begin(
        config: &Config,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Result<Self, Refusal>, Error> {
        let trust = Trust::load(config.ca_file.as_deref())?;
        let proxies = crate::proxy::Proxies::from_env()?;
        let rest = Rest::new(config, &trust, proxies, clock)?;
        let id = credentials.client_id.clone().or_else(|| config.client_id.clone());
        let Some(id) = id else {
            let detail = "no client id: neither the secret's source nor genesys.client_id has one";
            let reason = Reason::SecretUnavailable;
            return Ok(Err(Refusal { reason, retry_after: None, detail: detail.into() }));
        };
        let token = rest.token(&id, &credentials.client_secret).await;
        Ok(token.map(|token| Self {
            config: config.clone(),
            rest,
            token: token.token,
            expires_in: token.expires_in,
        }))
    }

    /// How long the token lives.
    pub const fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Every topic that the platform offers, by name.
    ///
    /// # Errors
    /// The platform's refusal.
    pub async fn offers(&self) -> Result<Vec<Offer>, Refusal> {
        let mut offers: Vec<Offer> =
            self.rest.catalogue(&self.token).await?.into_iter().map(offer).collect();
        offers.sort_by(|one, other| one.template.cmp(&other.template));
        Ok(offers)
    }

    /// The topics and channels that the configuration comes to.
    ///
    /// # Errors
    /// The platform's refusal to list queues.
    pub async fn plan(&self, redundancy: usize) -> Result<Plan, Refusal> {
        let Config { queues, topics, .. } = &self.config;
        let mut listed = Vec::new();
        if queues::need_listing(queues, topics) {
            listed = self.queues().await?;
        }
        Ok(Plan::of(&self.config, &listed, redundancy))
    }

    /// Every queue that the client may see.
    async fn queues(&self) -> Result<Vec<Queue>, Refusal> {
        let pages = queues::Pages::default();
        let mut number = 1;
        loop {
            if let Some(listed) =
                pages.take(number, self.rest.queues(&self.token, number).await?)?
            {
                return Ok(listed);
            }
            number += 1;
        }
    }

    /// How many channels the OAuth client has, whoever made them.
    ///
    /// # Errors
    /// The platform's refusal.
    pub async fn channels(&self) -> Result<usize, Refusal> {
        self.rest.channels(&self.token).await.map(|channels| channels.len())
    }

    /// Asks for each shard's topics on one channel of its own, which stays without a socket and is the first that the platform gives up.
    ///
    /// # Errors
    /// The platform's refusal of a whole call.
    pub async fn try_topics(&self, shards: &[ShardTopics]) -> Result<Trial, Refusal> {
        // One for the trial, and what a run of this configuration may need beside what is there.
        if self.channels().await? + 1 + shards.len() + 1 > CHANNELS_PER_CLIENT {
            return Ok(Trial::NoRoom);
        }
        let (channel, _) = self.rest.open_channel(&self.token).await?;
        let mut rejected = Vec::new();
        for topics in shards {
            rejected.extend(self.rest.replace_topics(&self.token, &channel.id, topics).await?);
        }
        // Nothing is left on it that a socket could be told.
        self.rest.replace_topics(&self.token, &channel.id, &[]).await?;
        Ok(Trial::Answered(rejected))
    }
}

fn offer(offered: super::wire::Offered) -> Offer {
    let is_socket = |transport: &String| {
        ["All", "Websocket"].iter().any(|name| transport.eq_ignore_ascii_case(name))
    };
    Offer {
        // Where nothing is said, nothing forbids it.
        on_socket: offered.transports.is_empty() || offered.transports.iter().any(is_socket),
        template: offered.id,
        description: offered.description.unwrap_or_default(),
        permissions: offered.requires_permissions.unwrap_or_default(),
    }
}
