//! The three questions of a person who was woken: is it live, are we losing anything, whose fault is it; in words, with what
//! comes next and when.
//!
//! Follows from the status alone. `Status::unready` says what a machine should do; this says what a person should know.

use super::status::{SILENCE_MAX, Session, Sink, Status, since};
use crate::sequence::{Certainty, Gap};
use crate::time::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// The three answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Is it live?
    pub live: Answer,
    /// Are we losing anything?
    pub losing: Answer,
    /// Whose fault is it?
    pub fault: Answer,
}

/// How an answer should be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// All is well.
    Good,
    /// Nothing is lost, but somebody should look.
    Watch,
    /// Act.
    Bad,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// How it should be taken.
    pub mood: Mood,
    /// The answer in a few words.
    pub words: String,
    /// Why, in a sentence.
    pub why: String,
    /// What happens next, or what to do; empty where nothing needs to.
    pub next: String,
    /// When that happens, where it is known.
    pub due: Option<Timestamp>,
    /// What else there is to say of it, most urgent first.
    pub also: Vec<String>,
}

impl Answer {
    fn new(mood: Mood, words: impl Into<String>, why: impl Into<String>) -> Self {
        let (words, why) = (words.into(), why.into());
        Self { mood, words, why, next: String::new(), due: None, also: Vec::new() }
    }

    fn next(self, next: impl Into<String>, due: Option<Timestamp>) -> Self {
        Self { next: next.into(), due, ..self }
    }

    /// The most urgent of several answers, with what `said` makes of the others.
    fn most_urgent(
        answers: impl IntoIterator<Item = Self>,
        said: impl Fn(Self) -> String,
    ) -> Option<Self> {
        let mut answers: Vec<Self> = answers.into_iter().collect();
        answers.sort_by_key(|answer| std::cmp::Reverse(answer.mood));
        let mut answers = answers.into_iter();
        let first = answers.next()?;
        let also = answers.map(said).collect();
        Some(Self { also, ..first })
    }
}

impl Verdict {
    /// What the status means at `now`.
    pub fn of(status: &Status, now: Timestamp) -> Self {
        Self { live: live(status, now), losing: losing(status, now), fault: fault(status, now) }
    }
}

fn live(status: &Status, now: Timestamp) -> Answer {
    let silence = since(status.as_of, now);
    if silence > SILENCE_MAX {
        let why = format!("The bridge has not reported for {}.", span(silence));
        return Answer::new(Mood::Bad, "No", why)
            .next("End the process, so that its manager starts it again; keep its log.", None);
    }
    if status.draining {
        let why = "The process was told to stop: its sockets are closed, and it delivers what is in hand.";
        return Answer::new(Mood::Watch, "No more", why)
            .next("Start it again, if this is not a planned stop.", None);
    }
    if status.shards == 0 {
        let why = status.login.last_error.as_deref().or(status.login.source_error.as_deref());
        let why = why.map_or("It is logging in and asks for its topics.".into(), sentence);
        return Answer::new(Mood::Bad, "Not yet", why)
            .next("It tries again by itself.", status.login.retry_at);
    }
    let deaf: Vec<String> = status.numbers().filter_map(|shard| status.deaf(shard, now)).collect();
    let Some(first) = deaf.first() else {
        let shards = count(u64::from(status.shards), "shard hears", "shards hear");
        let quiet = span(status.last_frame_age(now));
        let why = format!("{}; the last frame came {quiet} ago.", capital(&shards));
        return Answer::new(Mood::Good, "Yes", why);
    };
    let words = if deaf.len() == usize::from(status.shards) { "No" } else { "Only in part" };
    Answer::new(Mood::Bad, words, sentence(first)).next(
        "It opens the socket again by itself.",
        trying(status).and_then(|session| session.retry_at),
    )
}

fn losing(status: &Status, now: Timestamp) -> Answer {
    let open = status.gaps.open.iter().map(|gap| open_gap(status, gap, now));
    let late = status.sinks.iter().filter_map(|sink| late(sink, now));
    let answers = open.chain(late).chain(unheard(status)).chain(parked(status));
    Answer::most_urgent(answers, |other| other.why)
        .unwrap_or_else(|| Answer::new(Mood::Good, "No", past(status, now)))
}

/// Events wait for a sink that does not take them.
fn late(sink: &Sink, now: Timestamp) -> Option<Answer> {
    let why = sink.unready(now)?;
    let events = count(sink.waiting_events, "event waits", "events wait");
    let why = format!("{} {events} in the journal.", sentence(&why));
    let name = sink.name;
    let next =
        format!("They go out in order when {name} takes them; until then the journal fills.");
    Some(Answer::new(Mood::Watch, "Not now", why).next(next, None))
}

fn unheard(status: &Status) -> Option<Answer> {
    let rejected = Some(status.topics.rejected).filter(|rejected| *rejected > 0)?;
    let topics = count(rejected, "topic is", "topics are");
    let why = format!("{topics} refused by Genesys and never heard.");
    let next = "Give the OAuth client the permissions named under Secret, token and limits, or take the topics out.";
    Some(Answer::new(Mood::Watch, "Not of what we may hear", why).next(next, None))
}

fn parked(status: &Status) -> Option<Answer> {
    let parked: u64 = status.sinks.iter().map(|sink| sink.parked).sum();
    let parked = Some(parked).filter(|parked| *parked > 0)?;
    let events = count(parked, "event lies", "events lie");
    let why = format!("{events} in dead letters, because a sink can never take what is there.");
    let next = "Read the dead-letter file: each line says why.";
    Some(Answer::new(Mood::Watch, "No", why).next(next, None))
}

fn open_gap(status: &Status, gap: &Gap, now: Timestamp) -> Answer {
    let age = span(since(gap.from, now));
    let (what, next, due) = match gap.sink {
        Some(sink) => (
            format!("sink {sink}"),
            format!(
                "Bring {sink} back, or raise journal.max_bytes; the gap ends when there is room."
            ),
            None,
        ),
        None => (
            format!("shard {}", gap.shard),
            "The gap ends when the shard hears again.".to_owned(),
            trying(status).and_then(|session| session.retry_at),
        ),
    };
    let (mood, words) = match gap.certainty {
        Certainty::Certain => (Mood::Bad, "Yes"),
        Certainty::Possible => (Mood::Watch, "Perhaps"),
    };
    let why = format!("Gap {} on {what} ({}) is open for {age}.", gap.number, said(gap.cause));
    Answer::new(mood, words, why).next(next, due)
}

/// What was lost, when nothing is being lost.
fn past(status: &Status, now: Timestamp) -> String {
    let Some(last) = status.gaps.recent.first() else {
        return match status.gaps.total {
            0 => "No gap is known.".into(),
            total => format!("{} so far.", capital(&count(total, "gap", "gaps"))),
        };
    };
    let ago = last.to.map(|to| span(since(to, now))).unwrap_or_default();
    let length = span(Duration::from_secs_f64(last.seconds.unwrap_or_default().max(0.0)));
    let gaps = capital(&count(status.gaps.total, "gap", "gaps"));
    format!("{gaps} so far; the last ({}, {length}) ended {ago} ago.", said(last.cause))
}

fn fault(status: &Status, now: Timestamp) -> Answer {
    if since(status.as_of, now) > SILENCE_MAX {
        return Answer::new(
            Mood::Bad,
            "tieline's own",
            "The process hangs, or the machine stands still.",
        )
        .next("Look at the machine's load; restart; report a bug with the log.", None);
    }
    if status.draining {
        return Answer::new(Mood::Watch, "Nobody's", "Somebody asked the process to stop.");
    }
    let login = credentials(status).or_else(|| login(status));
    let sinks = status.sinks.iter().filter_map(|sink| broker(sink, now));
    let others = sinks.chain(configuration(status));
    Answer::most_urgent(session(status, now).into_iter().chain(login).chain(others), who)
        .unwrap_or_else(|| Answer::new(Mood::Good, "Nobody's", "Nothing is wrong now."))
}

fn credentials(status: &Status) -> Option<Answer> {
    let login = &status.login;
    if login.credentials_rejected {
        let number = login.newest_secret.map(|secret| format!(" (number {secret})"));
        let why = format!(
            "Genesys refuses the newest secret{}. What is live stays live until its token ends.",
            number.unwrap_or_default()
        );
        return Some(Answer::new(Mood::Bad, "Whoever rotated the client secret", why).next(
            format!("Put the secret that Genesys has now into its source ({}); it is taken up by itself.", login.source),
            login.retry_at,
        ));
    }
    let error = login.source_error.as_deref()?;
    let mood = if login.secret.is_some() { Mood::Watch } else { Mood::Bad };
    let words = format!("The secret's source ({})", login.source);
    Some(
        Answer::new(mood, words, sentence(error))
            .next("The last good secret stays in use; the source is asked again by itself.", None),
    )
}

fn login(status: &Status) -> Option<Answer> {
    let error = status.login.last_error.as_deref()?;
    let (whose, next) = blame(status.login.last_reason.unwrap_or_default());
    let mood = if status.shards == 0 { Mood::Bad } else { Mood::Watch };
    Some(Answer::new(mood, whose, sentence(error)).next(next, status.login.retry_at))
}

fn session(status: &Status, now: Timestamp) -> Option<Answer> {
    let is_deaf = status.numbers().any(|shard| status.deaf(shard, now).is_some());
    let session = trying(status)?;
    let (whose, next) = blame(session.last_reason.unwrap_or_default());
    let words = session.last_words.as_deref().unwrap_or("It could not be opened");
    let why = format!("session {} is {}: {words}", session.id, session.state);
    let mood = if is_deaf { Mood::Bad } else { Mood::Watch };
    Some(Answer::new(mood, whose, sentence(&why)).next(next, session.retry_at))
}

fn broker(sink: &Sink, now: Timestamp) -> Option<Answer> {
    let why = sink.unready(now)?;
    let words = format!("The broker behind sink {}", sink.name);
    let next = format!("Wake whoever runs {}; tieline connects again by itself.", sink.name);
    Some(Answer::new(Mood::Bad, words, sentence(&why)).next(next, None))
}

/// The file was changed for the worse: what runs is well, but would not start again.
fn configuration(status: &Status) -> Option<Answer> {
    let mistakes = status.configuration.mistakes();
    let first = mistakes.first()?;
    let found = count(mistakes.len() as u64, "mistake", "mistakes");
    let why = format!("The changed file has {found} and changes nothing: {}", sentence(first));
    let next = "Correct the file, which is read again by itself; until then the process would not start with it.";
    Some(Answer::new(Mood::Watch, "Whoever changed the configuration file", why).next(next, None))
}

/// Another one at fault, in a sentence.
fn who(answer: Answer) -> String {
    format!("{}. {}", answer.words, answer.why)
}

/// A session that failed and is not subscribed again.
fn trying(status: &Status) -> Option<&Session> {
    let failed = |session: &&Session| !session.is_subscribed() && session.last_words.is_some();
    status.sessions.iter().filter(failed).min_by_key(|session| session.retry_at)
}

/// Whose fault a `lifecycle::Reason` is, and what to do about it.
fn blame(reason: &str) -> (&'static str, &'static str) {
    match reason {
        "closed" | "cut" | "silent" | "closing_notice" | "token_revoked" | "protocol" => (
            "Genesys Cloud, or the network to it",
            "It reconnects by itself; if it does not, look at Genesys' status page and the proxy.",
        ),
        "evicted" => (
            "Another program with our OAuth client",
            "Give tieline an OAuth client of its own: a 21st channel silently ends one of ours.",
        ),
        "unreachable" | "timeout" | "tls" => (
            "The network between us and Genesys",
            "Look at name resolution, proxy, firewall and certificates; it tries again by itself.",
        ),
        "dns" => (
            "Name resolution on this machine",
            "Look at the resolver and at the region's spelling; it tries again by itself.",
        ),
        "proxy" => (
            "The proxy",
            "Look at HTTPS_PROXY, and at what the proxy allows; it tries again by itself.",
        ),
        "throttled" => (
            "Too many requests for this OAuth client",
            "It waits as long as Genesys asks; see who else uses the client.",
        ),
        "unavailable" | "unexpected" | "channel_gone" => {
            ("Genesys Cloud", "It tries again by itself; look at Genesys' status page.")
        }
        "unauthorized" => ("The token", "A fresh one is bought by itself."),
        "forbidden" => (
            "The OAuth client's role",
            "Ask the Genesys administrator for the permission that is named.",
        ),
        "credentials_rejected" => (
            "Whoever rotated the client secret",
            "Put the secret that Genesys has now into its source.",
        ),
        "secret_unavailable" => {
            ("The secret's source", "See that it can be reached and holds the secret.")
        }
        _ => ("Not known", "Read the last lines below."),
    }
}

/// `journal_full` as people say it.
fn said(cause: &str) -> String {
    cause.replace('_', " ")
}

fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn sentence(words: &str) -> String {
    let end = if words.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{end}", capital(words))
}

/// A time as people say it.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
    }

    fn well() -> Status {
        let mut status = Status::new("1.2.3", "", at(0), Duration::from_secs(35));
        status.as_of = at(100);
        status.shards = 1;
        status.login.source = "vault";
        status.sessions = vec![session("s1", "live", None)];
        status.sinks = vec![Sink::new("kafka")];
        status.sinks[0].connected = true;
        status
    }

    fn session(id: &str, state: &'static str, reason: Option<&'static str>) -> Session {
        Session {
            id: id.to_owned(),
            shard: 0,
            leg: 1,
            state,
            since: at(1),
            last_frame: Some(at(97)),
            retry_at: (state == "waiting").then(|| at(104)),
            last_reason: reason,
            last_words: reason.map(|_| "connection reset".to_owned()),
            ..Session::default()
        }
    }

    fn gap(sink: Option<&'static str>, cause: &'static str) -> Gap {
        Gap {
            number: 4,
            shard: 0,
            sink,
            cause,
            certainty: Certainty::Certain,
            from: at(98),
            to: None,
            seconds: None,
            topics: 3,
            action: None,
            rebased: None,
        }
    }

    fn words(answer: &Answer) -> String {
        format!("{} | {} | {}", answer.words, answer.why, answer.next)
    }

    #[test]
    fn all_is_well() {
        let verdict = Verdict::of(&well(), at(100));
        assert_eq!(words(&verdict.live), "Yes | 1 shard hears; the last frame came 3.0 s ago. | ");
        assert_eq!(words(&verdict.losing), "No | No gap is known. | ");
        assert_eq!(words(&verdict.fault), "Nobody's | Nothing is wrong now. | ");
        assert!(
            [verdict.live, verdict.losing, verdict.fault].iter().all(|one| one.mood == Mood::Good)
        );
    }

    #[test]
    fn a_cut_names_the_gap_the_network_and_the_next_attempt() {
        let mut status = well();
        status.sessions = vec![session("s1", "waiting", Some("cut"))];
        status.gaps.open = vec![gap(None, "cut")];
        let verdict = Verdict::of(&status, at(100));
        assert_eq!((verdict.live.mood, verdict.live.due), (Mood::Bad, Some(at(104))));
        assert_eq!(
            words(&verdict.losing),
            "Yes | Gap 4 on shard 0 (cut) is open for 2.0 s. | The gap ends when the shard hears again."
        );
        assert_eq!(verdict.fault.words, "Genesys Cloud, or the network to it");
        assert_eq!(verdict.fault.why, "Session s1 is waiting: connection reset.");
    }

    #[test]
    fn a_broker_that_is_away_costs_nothing_until_the_journal_is_full() {
        let mut status = well();
        status.sinks[0].connected = false;
        status.sinks[0].waiting_events = 12;
        let verdict = Verdict::of(&status, at(100));
        assert_eq!(verdict.live.mood, Mood::Good);
        assert_eq!((verdict.losing.mood, verdict.losing.words.as_str()), (Mood::Watch, "Not now"));
        assert_eq!(verdict.fault.words, "The broker behind sink kafka");
        status.gaps.open = vec![gap(Some("kafka"), "journal_full")];
        let verdict = Verdict::of(&status, at(100));
        assert_eq!(verdict.losing.why, "Gap 4 on sink kafka (journal full) is open for 2.0 s.");
        assert_eq!(
            verdict.losing.also,
            ["Sink kafka is not connected. 12 events wait in the journal."]
        );
        status.sessions = vec![session("s1", "waiting", Some("cut"))];
        let verdict = Verdict::of(&status, at(100));
        assert_eq!(verdict.fault.words, "Genesys Cloud, or the network to it");
        assert_eq!(
            verdict.fault.also,
            ["The broker behind sink kafka. Sink kafka is not connected."]
        );
    }

    #[test]
    fn a_secret_that_is_refused_is_the_rotators_affair_while_the_session_lives() {
        let mut status = well();
        status.login.credentials_rejected = true;
        status.login.newest_secret = Some(8);
        status.login.retry_at = Some(at(130));
        let verdict = Verdict::of(&status, at(100));
        assert_eq!((verdict.live.mood, verdict.losing.mood), (Mood::Good, Mood::Good));
        assert_eq!(verdict.fault.words, "Whoever rotated the client secret");
        assert!(verdict.fault.why.contains("number 8"), "{}", verdict.fault.why);
        assert_eq!(verdict.fault.due, Some(at(130)));
    }

    #[test]
    fn a_process_that_hangs_says_so_of_itself() {
        let verdict = Verdict::of(&well(), at(110));
        assert_eq!(verdict.live.why, "The bridge has not reported for 10 s.");
        assert_eq!(verdict.fault.words, "tieline's own");
    }

    #[test]
    fn every_reason_of_the_lifecycle_has_somebody_to_blame() {
        for reason in crate::lifecycle::Reason::ALL {
            assert_ne!(blame(reason.as_str()).0, "Not known", "{reason}");
        }
    }

    #[test]
    fn past_gaps_are_told_with_the_last_one() {
        let mut status = well();
        status.gaps.total = 3;
        let closed = Gap { to: Some(at(99)), seconds: Some(1.0), ..gap(None, "cut") };
        status.gaps.recent = vec![closed];
        let verdict = Verdict::of(&status, at(400));
        assert_eq!(past(&status, at(400)), "3 gaps so far; the last (cut, 1.0 s) ended 5 min ago.");
        assert_eq!(verdict.live.mood, Mood::Bad, "nothing was reported for five minutes");
    }
}
