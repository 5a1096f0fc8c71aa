//! What a leg needs of the client it belongs to, and the rules by which it comes to a channel.
//!
//! There is no way to delete a channel, and one too many silently evicts a sibling's. So one that the platform still knows is taken
//! before one is made, and none is made unless the client's channels were counted just now and leave room.

use super::budget::Budget;
use super::census::Census;
use super::channel::Channel;
use super::login::Token;
use super::output::{Output, Place};
use super::plan::CHANNELS_PER_CLIENT;
use super::session::Session;
use super::{Command, Config, SessionId};
use crate::time::Time;
use rand::rngs::StdRng;
use std::time::Duration;

/// How much a session needs a channel of its own now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Another session of the leg delivers, and it need not be left yet: the spare channel is waited for.
    Calm,
    /// Another delivers, but must be left soon.
    Leaving,
    /// Nobody else delivers.
    Alone,
}

/// What a leg needs of the client it belongs to.
#[derive(Debug)]
pub struct Client<'a> {
    /// The times that govern sessions.
    pub config: &'a Config,
    /// The newest valid token.
    pub token: Option<Token>,
    /// The last session's number.
    pub sessions: &'a mut u64,
    /// Channels without a socket that the platform still knows, the one used last at the end.
    pub retired: &'a mut Vec<Channel>,
    /// Whether nothing planned may begin and no channel be made: another process takes over.
    pub frozen: bool,
    /// How many channels of ours the platform knows or is asked for, retired ones included.
    pub channels: usize,
    /// How many sessions are wanted; with one spare channel, shards take turns with their successors.
    pub wanted: usize,
    /// What else the platform may hold for us.
    pub census: &'a mut Census,
    /// Chance.
    pub rng: &'a mut StdRng,
    /// How often a socket may be opened.
    pub handshakes: &'a mut Budget,
    /// How often a REST call may be made.
    pub rest: &'a mut Budget,
}

impl Client<'_> {
    pub fn new_session(&mut self, place: Place, edition: u32, now: Time) -> Session {
        *self.sessions += 1;
        Session::new(SessionId(*self.sessions), place, edition, self.config, now)
    }

    /// How much earlier than one alone the sessions must leave channels whose maker ends.
    pub fn turns(&self) -> Duration {
        turns(self.wanted, self.config)
    }

    /// A retired channel for a session that needs one: the best there is, `None` where it had better make one or wait.
    pub fn take_retired(&mut self, need: Need, now: Time, output: &mut Output) -> Option<Channel> {
        self.drop_expired(now, output);
        let turns = self.turns();
        let good = |channel: &Channel| channel.is_usable(turns, now) && !channel.doubtful;
        if let Some(channel) = self.take(good) {
            return Some(channel);
        }
        // A list that is slow to come is not waited for by whom nobody else delivers.
        let is_slow = self.census.is_failing() || need == Need::Alone && self.census.is_slow(now);
        let counts = self.lacks_count(need, now) && !is_slow;
        if counts || self.may_open(need, now) || self.can_make_room(need, now) {
            return None;
        }
        // For a while is better than not at all, for whom nobody else delivers; what may be gone, its first use tells.
        let for_a_while =
            |channel: &Channel| need == Need::Alone && channel.is_free(now) && !channel.doubtful;
        self.take(for_a_while)
            .or_else(|| self.take(|channel| channel.doubtful && channel.is_free(now)))
    }

    fn take(&mut self, good: impl Fn(&Channel) -> bool) -> Option<Channel> {
        let at = self.retired.iter().position(good)?;
        Some(self.retired.remove(at))
    }

    fn drop_expired(&mut self, now: Time, output: &mut Output) {
        self.retired.retain(|channel| {
            let known = now < channel.expires_at;
            if !known {
                self.channels = self.channels.saturating_sub(1);
                output.command(Command::Forget { channel: channel.id });
            }
            known
        });
    }

    /// Whether one more channel may be made for a session.
    pub fn may_open(&self, need: Need, now: Time) -> bool {
        self.census.is_counted(now)
            && self.taken(now) < CHANNELS_PER_CLIENT
            && self.would_open(need, now)
    }

    /// Whether nothing but a fresh count keeps one from being made, or from knowing that there is no room.
    pub fn lacks_count(&self, need: Need, now: Time) -> bool {
        !self.census.is_counted(now) && self.would_open(need, now)
    }

    fn would_open(&self, need: Need, now: Time) -> bool {
        // What the last process was giving its channels is waited for, lest each of its deaths cost a channel more.
        let frugal = match need {
            Need::Calm => true,
            Need::Alone => self.retired.iter().any(|channel| channel.awaits_end_of_list(now)),
            Need::Leaving => false,
        };
        !self.frozen && (!frugal || self.channels <= self.wanted)
    }

    /// How many of the client's channels there are, those of others included.
    pub fn taken(&self, now: Time) -> usize {
        self.channels + self.census.strangers(now)
    }

    /// Makes room for a channel of a maker that lives, where the client's twenty are all its own: the platform gives up the one that
    /// was unused for longest, and only those without a socket while there are any.
    ///
    /// With more than ten legs there is no other way to leave all channels of one maker before it ends. Never while another process
    /// has channels of the same client: its spare one might be the older. Nor while the platform may still see a socket on ours: then
    /// it would give up one that is in use.
    ///
    /// The channel is not gone before the other is there: it is the asking session's to keep until then.
    pub fn make_room(&mut self, need: Need, now: Time) -> Option<Channel> {
        self.can_make_room(need, now).then(|| {
            self.channels -= 1;
            self.retired.remove(0)
        })
    }

    /// Whether there is a channel that would give its place to another.
    pub fn can_make_room(&self, need: Need, now: Time) -> bool {
        self.room_at(need, now).is_some_and(|at| at <= now)
    }

    /// When there is one, if it is there already.
    pub fn room_at(&self, need: Need, now: Time) -> Option<Time> {
        let own = self.census.is_counted(now) && self.census.strangers(now) == 0;
        let is_full = own && self.channels >= CHANNELS_PER_CLIENT;
        let may = !self.frozen && need == Need::Leaving && is_full;
        self.retired.first().filter(|_| may).map(Channel::rested_at)
    }
}

/// How much earlier than one alone this many sessions must leave channels whose maker ends: they take turns where there are fewer
/// channels for successors than sessions.
pub fn turns(wanted: usize, config: &Config) -> Duration {
    let spare = CHANNELS_PER_CLIENT.saturating_sub(wanted).max(1);
    let rounds = wanted.div_ceil(spare).saturating_sub(1);
    // From the request for a channel until the predecessor's is free, round trips included.
    let turn = config.settle + config.drain + TURN_SLACK;
    turn * u32::try_from(rounds).unwrap_or(u32::MAX)
}

/// What a turn takes beside settling and draining: round trips, until the platform knows that a socket is closed, and until somebody looks.
const TURN_SLACK: Duration = Duration::from_secs(3);
