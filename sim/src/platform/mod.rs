//! The platform's memory: OAuth clients, tokens, channels, limits, injected throttles, journal.
//!
//! One lock guards it, so that numbering an emission and queueing it to every socket is one act and
//! each channel hears each key in the same order. It does no IO: HTTP, sockets and the traffic call
//! it and act on what it answers.

mod channels;
mod clients;
mod disturb;
mod limits;
mod throttle;
pub(crate) mod topics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chance::{self, Chance};
use crate::clock::{self, Millis};
use crate::journal::Log;
use crate::options::Options;
use crate::socket::frames;
use crate::switches::Switches;
use crate::traffic::{Scripted, Traffic};

pub(crate) use self::channels::{Channel, Ending, Refused, TOPICS_MAX};
pub(crate) use self::clients::{Client, Denied, Grant};
pub(crate) use self::disturb::{Disturbance, Fate, What};
pub(crate) use self::limits::{Budget, MINUTE, Usage};
pub(crate) use self::throttle::{Effect, Target, Throttle};

/// What every task of one simulator shares.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) options: Options,
    pub(crate) traffic: Traffic,
    /// `http://127.0.0.1:8080`, without a slash at the end.
    pub(crate) base_url: String,
    pub(crate) stopped: CancellationToken,
    pub(crate) tasks: TaskTracker,
    state: Mutex<State>,
}

/// The part under the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clients: Vec<Client>,
    pub(crate) tokens: BTreeMap<String, Grant>,
    pub(crate) channels: BTreeMap<String, Channel>,
    pub(crate) throttles: Vec<Throttle>,
    pub(crate) disturbances: Vec<Disturbance>,
    pub(crate) switches: Switches,
    pub(crate) log: Log,
    /// Topics, or parts of topics, that no client may read, and the code that says so.
    pub(crate) forbidden: BTreeMap<String, &'static str>,
    /// Ids of queues that are not there as far as lists tell; their traffic goes on.
    pub(crate) hidden: Vec<String>,
    chance: Chance,
    /// Makes the CorrelationId of emissions, apart from `chance`, which the order of requests moves.
    correlations: Chance,
    options: Options,
    base_url: String,
    /// Handshakes and logins of the current second.
    handshakes: Usage,
    logins: Usage,
    uses: u64,
    sessions: u64,
    channels_made: u64,
}

impl Platform {
    pub(crate) fn new(options: Options, base_url: String, scripted: Vec<Scripted>) -> Self {
        let state = State::new(&options, &base_url);
        Self {
            traffic: Traffic::new(&options, scripted),
            base_url,
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            state: Mutex::new(state),
            options,
        }
    }

    /// The state, locked. A panic elsewhere does not make it unreadable.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` after `delay`, unless the simulator stops first.
    pub(crate) fn later(
        self: &Arc<Self>,
        delay: std::time::Duration,
        work: impl FnOnce(&Self) + Send + 'static,
    ) {
        let platform = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = platform.stopped.cancelled() => {}
                () = tokio::time::sleep(delay) => work(&platform),
            }
        });
    }

    /// Ends what has run out: tokens with the sockets of their channels, channels, throttles.
    pub(crate) fn expire(&self) {
        let now = clock::now();
        let mut state = self.state();
        state.throttles.retain(|throttle| throttle.until > now);
        state
            .disturbances
            .retain(|disturbance| disturbance.until > now && disturbance.left != Some(0));
        let dead = |expires: Millis| expires <= now;
        let tokens: Vec<String> = state
            .tokens
            .iter()
            .filter(|(_, grant)| dead(grant.expires))
            .map(|(token, _)| token.clone())
            .collect();
        for token in tokens {
            state.end_token(&token, Ending::TokenExpired);
        }
        let channels: Vec<String> = state
            .channels
            .values()
            .filter(|channel| dead(channel.expires))
            .map(|channel| channel.id.clone())
            .collect();
        for id in channels {
            state.end_channel(&id, Ending::ChannelExpired);
        }
    }
}

impl State {
    fn new(options: &Options, base_url: &str) -> Self {
        let mut chance = chance::stream(options.seed, "platform");
        let id = options.client_id.clone().unwrap_or_else(|| chance::uuid(&mut chance));
        let secret =
            options.client_secret.clone().unwrap_or_else(|| chance::token(&mut chance, 43));
        Self {
            clients: vec![Client { id, secret }],
            tokens: BTreeMap::new(),
            channels: BTreeMap::new(),
            throttles: Vec::new(),
            disturbances: Vec::new(),
            hidden: Vec::new(),
            switches: options.switches.clone(),
            log: Log::default(),
            forbidden: BTreeMap::new(),
            chance,
            correlations: chance::stream(options.seed, "correlations"),
            options: options.clone(),
            base_url: base_url.to_owned(),
            handshakes: Usage::default(),
            logins: Usage::default(),
            uses: 0,
            sessions: 0,
            channels_made: 0,
        }
    }

    /// A fresh id for a request, a message or whatever needs one.
    pub(crate) fn uuid(&mut self) -> String {
        chance::uuid(&mut self.chance)
    }

    /// The CorrelationId of the next emission.
    pub(crate) fn correlation_id(&mut self) -> String {
        chance::uuid(&mut self.correlations)
    }

    /// Numbers a notification, writes it down and queues it to every socket whose channel has the
    /// topic. Answers the number.
    pub(crate) fn emit(
        &mut self,
        topic: &str,
        body: &str,
        time: Millis,
        correlation_id: String,
    ) -> u64 {
        let (text, range) = frames::notification(topic, body, &correlation_id);
        let frame = Utf8Bytes::from(text);
        let number = self.log.emitted(topic.to_owned(), time, frame.clone(), range, correlation_id);
        if self.disturbances.is_empty() {
            for channel in self.channels.values_mut() {
                channel.deliver(topic, number, &frame, &Fate::default());
            }
        } else {
            self.disturbed(topic, body, number, &frame);
        }
        number
    }

    /// Delivers one emission to each channel after its own fate there.
    fn disturbed(&mut self, topic: &str, body: &str, number: u64, frame: &Utf8Bytes) {
        let now = clock::now();
        let hearing: Vec<String> = self
            .channels
            .values()
            .filter(|channel| channel.socket.is_some() && channel.hears(topic))
            .map(|channel| channel.id.clone())
            .collect();
        for id in hearing {
            let fate = disturb::fate(&mut self.disturbances, &id, topic, now);
            let other = fate.recorrelated.then(|| self.uuid());
            let frame = match fate.is_rewritten() {
                true => frames::rewritten(frame, topic, body, &fate, other).into(),
                false => frame.clone(),
            };
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.deliver(topic, number, &frame, &fate);
            }
        }
    }
}
