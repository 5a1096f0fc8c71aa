//! The log as a story for a person: what happened, why, what comes next, when.
//!
//! A level says who gets woken: error, act now; warn, look today; info, the story; debug, its small print. The message holds all that
//! a person needs; the fields hold the same for machines, and `event` names the observation.

#[macro_use]
mod line;
mod channels;
mod handover;

pub use line::{Level, Told};

use crate::lifecycle::Answer;
use crate::observation::Observation;
use line::{Span, attempt_or, first_of, is_loud};
use std::time::Duration;

/// Tells one observation and answers what was said; `nth` counts those of its kind that may come in floods.
#[expect(
    clippy::too_many_lines,
    reason = "one exhaustive match, of which each arm is one line of the story"
)]
pub(super) fn tell(observation: &Observation, nth: u64) -> Told {
    match observation {
        Observation::SecretSeen { source, version } => info!(
            event = "secret_seen",
            source,
            version,
            "the secret's source ({source}) shows a fresh one (number {version}); the next token is bought with it"
        ),
        Observation::SecretSourceFailed { source, detail, holding: true, retry_in } => warn!(
            event = "secret_source_failed",
            source,
            detail,
            holding = true,
            retry_in_seconds = retry_in.as_secs_f64(),
            "the secret's source ({source}) cannot be read: {detail}; going on with the last good secret, asking again each {}",
            Span(*retry_in)
        ),
        Observation::SecretSourceFailed { source, detail, holding: false, retry_in } => error!(
            event = "secret_source_failed",
            source,
            detail,
            holding = false,
            retry_in_seconds = retry_in.as_secs_f64(),
            "the secret's source ({source}) cannot be read: {detail}; there is no secret to log in with, asking again each {}",
            Span(*retry_in)
        ),
        Observation::SecretSourceAtRisk { source, detail } => warn!(
            event = "secret_source_at_risk",
            source,
            detail,
            "the secret's source ({source}) can still be read, but not for long: {detail}"
        ),
        Observation::SecretSourceRecovered { source } => info!(
            event = "secret_source_recovered",
            source, "the secret's source ({source}) can be read again"
        ),
        Observation::TokenGranted { expires_in, secret } => info!(
            event = "token_granted",
            expires_in_seconds = expires_in.as_secs(),
            secret,
            "logged in with secret number {secret}; the token lives {}",
            Span(*expires_in)
        ),
        Observation::TokenRefused { reason, detail, retry_in } => warn!(
            event = "token_refused",
            reason,
            detail,
            retry_in_seconds = retry_in.as_secs_f64(),
            "no token ({reason}): {detail}; asking again in {}",
            Span(*retry_in)
        ),
        Observation::CredentialsRejected { secret, detail } => error!(
            event = "credentials_rejected",
            secret,
            detail,
            "Genesys refuses the newest secret (number {secret}): {detail}; what is live stays live, but nothing can be \
             renewed until the secret's source shows a good one"
        ),
        Observation::CredentialsAccepted { secret } => info!(
            event = "credentials_accepted",
            secret, "Genesys accepts secret number {secret} again"
        ),
        Observation::SessionEntered { session, shard, from, to: "live" } => info!(
            event = "session_entered",
            session,
            shard,
            from,
            to = "live",
            "{session} (shard {shard}) is live"
        ),
        Observation::SessionEntered { session, shard, from, to } => debug!(
            event = "session_entered",
            session, shard, from, to, "{session} (shard {shard}) went from {from} to {to}"
        ),
        Observation::SessionLost { session, shard, reason, detail, lived } => warn!(
            event = "session_lost",
            session,
            shard,
            reason,
            detail,
            lived_seconds = lived.as_secs_f64(),
            "{session} (shard {shard}) is lost after {} ({reason}): {detail}",
            Span(*lived)
        ),
        Observation::RetryScheduled { session, shard, reason, detail, answer, retry_in }
            if *answer == Answer::Park.as_str() =>
        {
            error!(
                event = "retry_scheduled",
                session,
                shard,
                reason,
                detail,
                answer,
                retry_in_seconds = retry_in.as_secs_f64(),
                "{session} (shard {shard}) is parked ({reason}): {detail}; waiting does not mend that; it is looked at again in {}, \
                 and at once when the secret or the configuration changes",
                Span(*retry_in)
            )
        }
        Observation::RetryScheduled { session, shard, reason, detail, answer, retry_in } => warn!(
            event = "retry_scheduled",
            session,
            shard,
            reason,
            detail,
            answer,
            retry_in_seconds = retry_in.as_secs_f64(),
            "{session} (shard {shard}) has no socket ({reason}): {detail}; next attempt in {}: {answer}",
            Span(*retry_in)
        ),
        Observation::QueueUnknown { queue } => warn!(
            event = "queue_unknown",
            queue, "the platform knows no queue {queue:?}; the others are subscribed"
        ),
        Observation::TopicRejected { topic, reason } => warn!(
            event = "topic_rejected",
            topic = topic.name(),
            reason,
            "the platform refuses {topic}: {reason}; the others are subscribed"
        ),
        Observation::RotationStarted { shard, trigger, predecessor, successor } => info!(
            event = "rotation_started",
            shard,
            trigger,
            predecessor,
            successor,
            "shard {shard} gets a new session ({trigger}): {successor} is made while {predecessor} goes on delivering"
        ),
        Observation::RotationFinished { shard, trigger, overlap } => info!(
            event = "rotation_finished",
            shard,
            trigger,
            overlap_seconds = overlap.as_secs_f64(),
            "shard {shard} has its new session ({trigger}); both delivered for {}",
            Span(*overlap)
        ),
        Observation::RotationFailed { shard, trigger, detail, retry_in } => warn!(
            event = "rotation_failed",
            shard,
            trigger,
            detail,
            retry_in_seconds = retry_in.as_secs_f64(),
            "shard {shard} did not get its new session ({trigger}): {detail}; the old one is kept, next attempt in {}",
            Span(*retry_in)
        ),
        Observation::PlanRefused { reason, detail, retry_in } => warn!(
            event = "plan_refused",
            reason,
            detail,
            retry_in_seconds = retry_in.as_secs_f64(),
            "the queues could not be listed ({reason}): {detail}; next attempt in {}",
            Span(*retry_in)
        ),
        Observation::PlanMade { topics, shards } => {
            info!(event = "plan_made", topics, shards, "{topics} topics on {shards} channel(s)")
        }
        Observation::ChannelsFound { channels } => info!(
            event = "channels_found",
            channels, "channels of an earlier process, used before any is made: {channels}"
        ),
        Observation::ChannelsUnkept { detail } => warn!(
            event = "channels_unkept",
            detail, "the file of channels is of no use: {detail}; a restart makes new ones"
        ),
        Observation::PlanChanged { joined, left, added, removed, topics, shards } => info!(
            event = "plan_changed",
            joined = joined.len(),
            left = left.len(),
            joined_keys = first_of(joined),
            left_keys = first_of(left),
            added,
            removed,
            topics,
            shards,
            "{} joined ({}), {} left ({}): {added} topics more and {removed} less; now {topics} topics on {shards} channel(s)",
            joined.len(),
            first_of(joined),
            left.len(),
            first_of(left)
        ),
        Observation::TopicsAmended { session, shard, added, removed } => info!(
            event = "topics_amended",
            session,
            shard,
            added,
            removed,
            "{session} carries {added} subscription(s) more and {removed} less, on the same socket"
        ),
        Observation::AmendRefused { session, shard, reason, detail, retry_in } => warn!(
            event = "amend_refused",
            session,
            shard,
            reason,
            detail,
            retry_in_seconds = retry_in.as_secs_f64(),
            "the topics of {session} could not be changed ({reason}): {detail}; it goes on with what it has, next attempt in {}",
            Span(*retry_in)
        ),
        Observation::ChannelsRefused { reason, detail, retry_in } => {
            channels::refused(reason, detail, *retry_in)
        }
        Observation::ChannelAwaited { session, shard, detail, retry_in } => {
            channels::awaited(session, *shard, detail, *retry_in)
        }
        Observation::TopicPermitted { topic } => {
            info!(event = "topic_permitted", topic = topic.name(), "the platform takes {topic} now")
        }
        Observation::GapOpened { number, shard, cause, certainty, from } => warn!(
            event = "gap_opened",
            number,
            shard,
            cause,
            certainty,
            from = %from,
            "gap {number} opened on shard {shard} ({cause}): notifications may be missed from {from} on"
        ),
        Observation::GapClosed { number, shard, cause, certainty, from, to, action } => warn!(
            event = "gap_closed",
            number,
            shard,
            cause,
            certainty,
            from = %from,
            to = %to,
            action,
            "gap {number} on shard {shard} ({cause}) closed after {}: from {from} to {to}; {action}",
            Span(Duration::from_micros(to.as_micros().saturating_sub(from.as_micros())))
        ),
        Observation::Rebased { gap, snapshots, superseded, failed, without } => info!(
            event = "rebased",
            gap,
            snapshots,
            superseded,
            failed,
            without,
            "after gap {gap}: {snapshots} topic(s) re-based, {superseded} overtaken by live events, {failed} failed; \
             of {without} there is no snapshot"
        ),
        Observation::SnapshotRefused { what, reason, detail, retry_in, given_up } => warn!(
            event = "snapshot_refused",
            what,
            reason,
            detail,
            retry_in_seconds = retry_in.as_secs_f64(),
            given_up,
            "no snapshot of {what} ({reason}): {detail}; {}",
            attempt_or((!given_up).then_some(*retry_in), "these are not asked for again")
        ),
        Observation::FeedSuspected { shard, keys } => warn!(
            event = "feed_suspected",
            shard,
            keys,
            "a lively key of shard {shard} has fallen silent while its session is well ({keys} altogether): notifications may be \
             missed; nothing is done about it but to say so"
        ),
        Observation::LedgerFailed { detail } => error!(
            event = "ledger_failed",
            detail,
            "the gap ledger: {detail}; gaps may be forgotten over a restart until it can be written"
        ),
        Observation::FrameUnreadable { session, detail, bytes } => {
            if is_loud(nth) {
                warn!(
                    event = "frame_unreadable",
                    session,
                    detail,
                    bytes,
                    nth,
                    "a frame of {bytes} bytes on {session} could not be read and was not delivered: {detail} (number {nth})"
                );
            } else {
                debug!(event = "frame_unreadable", session, detail, bytes, nth);
            }
        }
        Observation::SinkReady { sink, resumed_from: Some(position) } => info!(
            event = "sink_ready",
            sink,
            position,
            "sink {sink} takes events; it holds everything up to position {position}"
        ),
        Observation::SinkReady { sink, resumed_from: None } => {
            info!(event = "sink_ready", sink, "sink {sink} takes events")
        }
        Observation::GuaranteeWeakened { sink, about, text } => {
            info!(event = "guarantee_weakened", sink, about, "sink {sink} is weakened: {text}");
        }
        Observation::SinkFailed { sink, kind, detail, retry_in } => warn!(
            event = "sink_failed",
            sink,
            kind,
            detail,
            retry_in_seconds = retry_in.as_secs_f64(),
            "sink {sink} failed: {detail}; what it has not acknowledged waits, next attempt in {}",
            Span(*retry_in)
        ),
        Observation::EventParked { sink, topic, number, reason } => {
            let topic = topic.name();
            if is_loud(nth) {
                warn!(
                    event = "event_parked",
                    sink,
                    topic,
                    number,
                    reason,
                    nth,
                    "sink {sink} can never take event {number} of {topic}: {reason}; it is parked (number {nth}), the others go on"
                );
            } else {
                debug!(event = "event_parked", sink, topic, number, reason, nth);
            }
        }
        Observation::MarkerRefused { sink, topic, number, reason } => error!(
            event = "marker_refused",
            sink,
            topic = topic.name(),
            number,
            reason,
            "sink {sink} cannot take the marker of parked event {number} of {topic} either: {reason}; that number is missing there, the event is among the dead letters"
        ),
        Observation::FilterErred { sink, topic, problem, count } => warn!(
            event = "filter_erred",
            sink,
            topic = topic.name(),
            problem,
            count,
            "the filter of sink {sink} has no answer for an event of {topic}: {problem}; the sink gets it ({count} so far)"
        ),
        Observation::JournalFull { sink, count } => error!(
            event = "journal_full",
            sink,
            count,
            "the journal of sink {sink} is full: events lost to it so far in this gap: {count}; bring the sink back, \
             raise journal.max_bytes, or give the disk of data_dir room"
        ),
        Observation::JournalFound { last_epoch, was_closed: true, waiting, torn_bytes } => info!(
            event = "journal_found",
            last_epoch,
            was_closed = true,
            waiting,
            torn_bytes,
            "the journal of epoch {last_epoch} was closed as it should be; events that wait in it: {waiting}"
        ),
        Observation::JournalFound { last_epoch, was_closed: false, waiting, torn_bytes } => warn!(
            event = "journal_found",
            last_epoch,
            was_closed = false,
            waiting,
            torn_bytes,
            "the journal of epoch {last_epoch} was not closed: the process before this one was killed; events that wait in it: \
             {waiting}; bytes of torn writes that were cut off: {torn_bytes}"
        ),
        Observation::EpochBegan { epoch, reason } => warn!(
            event = "epoch_began",
            epoch,
            reason,
            "a new epoch begins ({reason}): {epoch}; every key is numbered from 1 again"
        ),
        Observation::JournalFailed { operation, detail } => error!(
            event = "journal_failed",
            operation,
            detail,
            "the journal's disk failed ({operation}): {detail}; what was written is kept and delivered, new events are refused until \
             it works again"
        ),
        Observation::JournalDamaged { events, first } => error!(
            event = "journal_damaged",
            events,
            first,
            "the journal is damaged: {events} event(s) from position {first} on cannot be read; all others are delivered"
        ),
        Observation::SinkReleased { sink, events } => warn!(
            event = "sink_released",
            sink,
            events,
            "sink {sink} is not configured any more; events that waited for it and are let go: {events}"
        ),
        Observation::SinkAdded { sink } => info!(
            event = "sink_added",
            sink, "sink {sink} is new here and begins at the journal's end"
        ),
        Observation::ConfigRead { trigger, outcome: "refused" } => error!(
            event = "config_read",
            trigger,
            outcome = "refused",
            "the configuration was read again ({trigger}) and is refused: it has mistakes, and nothing of it is in force"
        ),
        Observation::ConfigRead { trigger, outcome } => info!(
            event = "config_read",
            trigger,
            outcome,
            "the configuration was read again ({trigger}): {}",
            match *outcome {
                "applied" => "all of it is in force",
                "restart_needed" => "part of it takes a restart",
                _ => "it asks for nothing that is not in force",
            }
        ),
        Observation::ConfigApplied { key, was, now } => info!(
            event = "config_applied",
            key, was, now, "{key} is {now} from now on; it was {was}"
        ),
        Observation::ConfigPending { key, was, now } => warn!(
            event = "config_pending",
            key, was, now, "{key} needs a restart to become {now}; {was} stays in force"
        ),
        Observation::ConfigOverridden { key, variable } => warn!(
            event = "config_overridden",
            key,
            variable,
            "{key} in the file changes nothing: the environment variable {variable} stands above it"
        ),
        Observation::ConfigMistaken { key, words } => error!(
            event = "config_mistaken",
            key, words, "the configuration is refused for this: {words}"
        ),
        Observation::Handover(handover) => handover::tell(handover),
        Observation::Started { version, epoch } => info!(
            event = "started",
            version,
            epoch = %epoch,
            "tieline {version} started; this is epoch {epoch}"
        ),
        Observation::Listening { address } => info!(
            event = "listening",
            address = %address,
            "status, metrics and health are at http://{address}/"
        ),
        Observation::DoorsUnguarded { address } => warn!(
            event = "doors_unguarded",
            address = %address,
            "the doors at {address} are open to the network without token or TLS (admin.allow_insecure): whoever reaches them sees \
             events and state"
        ),
        Observation::DoorKeyUnusable { detail } => {
            warn!(event = "door_key_unusable", detail, "{detail}; the last good one stays in use")
        }
        Observation::DoorPanicked { detail } => error!(
            event = "door_panicked",
            detail,
            "a bug ended a connection of the doors for operators: {detail}; events are not concerned; please report it with this log"
        ),
        Observation::Ready => {
            info!(event = "ready", "ready: subscribed, hearing frames, and every sink acknowledges")
        }
        Observation::Unready { reasons } => {
            let reasons = reasons.join("; ");
            warn!(event = "unready", reasons, "not ready: {reasons}");
        }
        Observation::Draining { reason, deadline } => info!(
            event = "draining",
            reason,
            deadline_seconds = deadline.as_secs_f64(),
            "draining ({reason}): delivering what is in hand, for at most {}",
            Span(*deadline)
        ),
        Observation::Drained { unacknowledged: 0 } => info!(
            event = "drained",
            unacknowledged = 0,
            "drained: every sink has acknowledged everything"
        ),
        Observation::Drained { unacknowledged } => warn!(
            event = "drained",
            unacknowledged,
            "the drain's time is over; events not acknowledged: {unacknowledged}; they are in the journal, and the next start delivers \
             them"
        ),
    }
}
