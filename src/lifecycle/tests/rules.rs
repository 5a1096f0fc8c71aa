//! What holds after every step, and what the books of a life say.

use super::world::{World, config};
use crate::lifecycle::{CHANNELS_PER_CLIENT, SessionId, ShardId, State};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How soon what waiting does not mend is looked at again.
const PARKED: Duration = Duration::from_secs(300);

/// No back-off is longer: that of logins.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

impl World {
    /// What holds after every step.
    fn hold_to_the_rules(&mut self) {
        // What is parked is looked at again after five minutes; back-off comes on top of what the platform asked for.
        let latest = self.now + PARKED + self.asked_to_wait + LONGEST_BACKOFF;
        let due = self.lifecycle.poll_timeout();
        assert!(due.is_some_and(|due| due <= latest), "{due:?}\n{}", self.transcript);
        let mut sessions = BTreeMap::new();
        for session in self.lifecycle.sessions() {
            *sessions.entry((session.shard, session.leg)).or_insert(0) += 1;
            let due = session.poll_timeout(&config());
            let waits =
                due.map_or_else(|| session.state == State::Authenticating, |due| due <= latest);
            assert!(waits, "{} waits without end in {:?}", session.id, session.state);
        }
        assert!(self.lifecycle.retired.len() <= CHANNELS_PER_CLIENT, "{}", self.transcript);
        assert!(sessions.values().all(|count| *count <= 3), "{sessions:?}\n{}", self.transcript);
        assert!(self.lifecycle.channels(self.now) <= CHANNELS_PER_CLIENT, "{}", self.transcript);
        let coverage = &self.lifecycle.output.coverage;
        let covered = coverage.iter().filter(|(_, coverage)| coverage.is_covered());
        let covered: BTreeSet<ShardId> = covered.map(|(shard, _)| *shard).collect();
        self.begun.extend(&covered);
        let lost = |shard: &&ShardId| coverage.contains_key(shard) && !covered.contains(shard);
        let lost: BTreeSet<ShardId> = self.begun.iter().filter(lost).copied().collect();
        let open = self.gaps.iter().filter(|gap| gap.to.is_none());
        let named: BTreeSet<ShardId> = open.map(|gap| gap.shard).collect();
        assert_eq!(lost, named, "{:?}\n{}", self.gaps, self.transcript);
    }

    /// A session moved along an arrow of the picture, from where it was.
    pub(super) fn hold_to_the_picture(
        &mut self,
        session: String,
        from: &'static str,
        to: &'static str,
    ) {
        let was = self.told_states.insert(session.clone(), to).unwrap_or("waiting");
        assert_eq!(was, from, "{session} jumped");
        let arrow = match from {
            "waiting" | "authenticating" => {
                ["waiting", "authenticating", "opening", "subscribing", "connecting"].contains(&to)
            }
            "opening" => ["waiting", "subscribing"].contains(&to),
            "subscribing" => ["waiting", "connecting"].contains(&to),
            "connecting" => ["waiting", "settling"].contains(&to),
            "settling" => ["waiting", "live"].contains(&to),
            "live" => ["waiting", "draining"].contains(&to),
            "draining" => to == "live",
            _ => false,
        };
        assert!(arrow, "{session} went from {from} to {to}\n{}", self.transcript);
    }

    /// Notes which shards no socket feeds.
    pub(super) fn watch(&mut self) {
        self.collect();
        self.hold_to_the_rules();
        let speaks = |session: &SessionId| !self.mute.contains(session);
        let open: BTreeSet<SessionId> = self.sockets.values().copied().filter(speaks).collect();
        let sessions = self.lifecycle.sessions();
        let fed: BTreeSet<ShardId> = sessions
            .filter(|session| session.has_socket() && open.contains(&session.id))
            .map(|session| session.shard)
            .collect();
        for shard in &fed {
            if let Some((_, end @ None)) = self.unfed.entry(*shard).or_default().last_mut() {
                *end = Some(self.now);
            }
        }
        for (shard, unfed) in &mut self.unfed {
            if !fed.contains(shard) && unfed.last().is_none_or(|(_, end)| end.is_some()) {
                unfed.push((self.now, None));
            }
        }
    }

    /// What nobody can see: an interval without a speaking socket that no gap names.
    pub fn unnamed(&self) -> Option<(ShardId, Time, Time)> {
        let intervals = self.unfed.iter().flat_map(|(shard, all)| all.iter().map(|i| (*shard, *i)));
        intervals.map(|(shard, (from, to))| (shard, from, to.unwrap_or(self.now))).find(
            |(shard, from, to)| {
                // Gaps follow each other without a frame between them that would prove anything.
                let mut reached = *from;
                for gap in self.gaps.iter().filter(|gap| gap.shard == *shard) {
                    if gap.from <= reached {
                        reached = reached.max(gap.to.unwrap_or(self.now));
                    }
                }
                reached < *to
            },
        )
    }

    /// The longest that a gap claims beyond the time without a speaking socket.
    pub fn excess(&self) -> Duration {
        let excess = self.gaps.iter().map(|gap| {
            let to = gap.to.unwrap_or(self.now);
            let unfed: Duration = self.unfed.get(&gap.shard).map_or(Duration::ZERO, |all| {
                let within = |(from, end): &(Time, Option<Time>)| {
                    end.unwrap_or(self.now).min(to).since((*from).max(gap.from))
                };
                all.iter().map(within).sum()
            });
            to.since(gap.from).saturating_sub(unfed)
        });
        excess.max().unwrap_or_default()
    }

    /// Forgets what was settled long ago, so that many days fit into memory.
    pub fn forget(&mut self) {
        let open = |(_, end): &(Time, Option<Time>)| end.is_none();
        if self.unfed.values().flatten().any(open) || self.gaps.iter().any(|gap| gap.to.is_none()) {
            return;
        }
        self.gaps.clear();
        // What counts towards a limit still.
        let recent = |at: &Time| self.now.since(*at) < PARKED;
        self.refused_logins.retain(|(at, _)| recent(at));
        self.asked.retain(|(at, _)| recent(at));
        let living: BTreeSet<String> =
            self.lifecycle.sessions().map(|session| session.id.to_string()).collect();
        self.told_states.retain(|session, _| living.contains(session));
        self.unfed.values_mut().for_each(Vec::clear);
        self.transcript.clear();
    }

    /// How much the lifecycle remembers, in letters: whatever grows without a bound is seen here.
    pub fn weight(&self) -> usize {
        format!("{:?}", self.lifecycle).len()
    }
}

/// Of times in order.
pub fn most_in_window(times: &[Time], window: Duration) -> usize {
    let (mut first, mut most) = (0, 0);
    for (at, end) in times.iter().enumerate() {
        while end.since(times[first]) >= window {
            first += 1;
        }
        most = most.max(at + 1 - first);
    }
    most
}
