//! The driver's part of a handover, beside a platform that answers at once.

use super::link::{Numbered, Voice, Word};
use super::{Giving, Heir, Successor};
use crate::bridge::doubt::Doubts;
use crate::bridge::driver::Driver;
use crate::bridge::gaps::{Gaps, Keeper, Kept};
use crate::bridge::report::Report;
use crate::bridge::stall::Stall;
use crate::bridge::status::Status;
use crate::bridge::stream::Stream;
use crate::clock::Clock;
use crate::event::Topic;
use crate::genesys::{self, Genesys};
use crate::handover::{Giver, Legacy, Message, Outcome, Taker};
use crate::journal::rehearsal;
use crate::lifecycle::{
    ChannelId, Command, Config, Heard, Lifecycle, Note, Plan, Reason, Refusal, Reply,
    SecretVersion, SessionId, ShardId, TokenId,
};
use crate::secret::{self, Secrets};
use crate::sequence::{self, Arbiter, Feed};
use crate::size::Size;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Metrics;
use crate::time::{Time, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DAY: Duration = Duration::from_secs(86_400);
const HOLD: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(60);
const URL: &str = "https://login.example/";

/// A driver, and what it would miss if that were dropped.
struct Bench {
    driver: Driver,
    topics: Vec<Topic>,
    /// A session whose topics the platform does not change.
    fixed: Option<SessionId>,
    handed: watch::Receiver<Option<Successor>>,
    words: mpsc::Sender<Numbered>,
    _folder: tempfile::TempDir,
}

fn topics(ids: std::ops::Range<u32>) -> Vec<Topic> {
    let name = |id| format!("v2.routing.queues.00000000-0000-4000-8000-{id:012}.users");
    ids.map(|id| Topic::new(&name(id))).collect()
}

/// The lifecycle's times, those that would be waited for left out.
fn times(redundancy: usize) -> Config {
    Config {
        ping_interval: DAY,
        dead_after: DAY,
        settle: Duration::ZERO,
        drain: Duration::ZERO,
        backoff_base: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(1),
        stable_after: Duration::ZERO,
        rotation_jitter: Duration::ZERO,
        renew_before: Duration::from_secs(1),
        redundancy,
        queues_refresh: DAY,
    }
}

fn genesys(folder: &std::path::Path, clock: Clock) -> Genesys {
    genesys::tls::install_provider();
    let path = folder.join("secret");
    std::fs::write(&path, "secret").unwrap();
    let file = Some(secret::File { path });
    let source = secret::Config { poll_interval: DAY, file, env: None, vault: None };
    let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
    let secrets = Secrets::start(&source, clock, mpsc::channel(1).0, &tracker, end).unwrap();
    let config = genesys::Config {
        region: Some("example.com".into()),
        login_url: None,
        api_url: None,
        client_id: Some("me".into()),
        ca_file: None,
        queues: Vec::new(),
        topics: Vec::new(),
        allow_insecure: false,
        request_timeout: SOON,
        frame_max: Size(1 << 20),
    };
    Genesys::new(config, secrets, clock, mpsc::channel(16).0, tracker).unwrap()
}

impl Bench {
    /// A driver that has asked for nothing yet.
    fn new(redundancy: usize) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::start());
        let metrics = Arc::new(Metrics::new("test", &["kafka"]));
        let (journal, _) = rehearsal::journal(1 << 20, &["kafka"]);
        let (keeper, _) = Keeper::new(folder.path(), mpsc::channel(1).0);
        let gaps = Gaps::new(Kept::default(), 10, true, Some(keeper));
        let arbitration = sequence::Config { hold: HOLD, window: SOON, window_events: 100 };
        let (arbiter, feed) = (Arbiter::new(&arbitration), Feed::new(Duration::ZERO));
        let stream = Stream::new(clock, arbiter, journal, (gaps, feed), Arc::clone(&metrics));
        let status = Status::new("test", "", Timestamp::default(), Duration::ZERO);
        let ((words, heard), (hand, handed)) = (mpsc::channel(16), watch::channel(None));
        let giver = Giver::new(URL.into(), HOLD);
        let driver = Driver {
            clock,
            lifecycle: Lifecycle::new(times(redundancy), 1),
            genesys: genesys(folder.path(), clock),
            incoming: mpsc::channel(1).1,
            observed: mpsc::channel(1).1,
            stream,
            report: Report::new(Telemetry::new(metrics), status.clone(), clock),
            stall: Stall::default(),
            doubts: Doubts::default(),
            status: watch::channel(Arc::new(status)).0,
            rebase: true,
            rotate: Arc::default(),
            giving: Giving::new(giver, heard, SOON, hand),
            renewals: mpsc::channel(1).1,
            fail_fast: false,
        };
        Self { driver, topics: topics(0..2), fixed: None, handed, words, _folder: folder }
    }

    /// A driver whose sessions all deliver.
    fn live(redundancy: usize) -> Self {
        let mut bench = Self::new(redundancy);
        bench.until(|bench| bench.delivering().len() == redundancy);
        bench
    }

    fn now(&self) -> Time {
        self.driver.clock.now()
    }

    fn delivering(&self) -> Vec<SessionId> {
        let sessions = self.driver.lifecycle.sessions();
        sessions.filter(|session| session.delivers()).map(|session| session.id).collect()
    }

    /// Lets time pass until that is so.
    fn until(&mut self, is: impl Fn(&Self) -> bool) {
        let late = self.now() + SOON;
        while !is(self) {
            assert!(self.now() < late, "that never comes to be");
            let now = self.now();
            self.driver.lifecycle.handle_timeout(now);
            self.answer();
            self.driver.give_in_time(now);
            self.answer();
        }
    }

    /// The platform answers what it is asked, and the driver heeds what it is told.
    fn answer(&mut self) {
        while let Some(command) = self.driver.lifecycle.poll_command() {
            let now = self.now();
            if let Some(reply) = self.reply(command, now) {
                self.driver.lifecycle.handle_reply(reply, now);
            }
        }
        while let Some(note) = self.driver.lifecycle.poll_note() {
            let now = self.now();
            self.driver.note_down(note, now);
        }
    }

    fn reply(&self, command: Command, now: Time) -> Option<Reply> {
        let (expires_in, rejected) = (DAY, Vec::new());
        Some(match command {
            Command::RequestToken => {
                Reply::TokenGranted { token: TokenId(1), expires_in, secret: SecretVersion(1) }
            }
            Command::ListTopics { .. } => {
                Reply::TopicsListed { topics: self.topics.clone(), unknown: Vec::new() }
            }
            Command::ListChannels { .. } => Reply::ChannelsListed { found: Vec::new(), total: 0 },
            Command::OpenChannel { session, .. } => {
                Reply::ChannelOpened { session, channel: ChannelId(session.0), expires_in }
            }
            Command::Subscribe { session, .. } => Reply::Subscribed { session, rejected },
            Command::Connect { session, .. } => Reply::Connected { session },
            Command::Ping { session } => Reply::Heard { session, what: Heard::Pong, at: now },
            Command::Amend { session, channel, .. } if self.fixed == Some(session) => {
                let (reason, retry_after) = (Reason::Unavailable, Some(DAY));
                let refusal = Refusal { reason, retry_after, detail: "not now".into() };
                Reply::AmendRefused { session, channel, refusal }
            }
            Command::Amend { session, channel, .. } => {
                Reply::Amended { session, channel, rejected }
            }
            Command::Close { .. } | Command::ReadSnapshots { .. } | Command::Forget { .. } => {
                return None;
            }
        })
    }

    /// A driver with two legs, of which the second could not be told of a third topic.
    fn with_a_leg_that_lacks_one() -> (Self, SessionId) {
        let mut bench = Self::live(2);
        let [ahead, behind] = bench.delivering()[..] else { panic!("two legs") };
        bench.fixed = Some(behind);
        bench.topics = topics(0..3);
        let now = bench.now();
        bench.driver.lifecycle.handle_chosen(now);
        bench.until(|bench| {
            let mut sessions = bench.driver.lifecycle.sessions();
            sessions.any(|session| session.id == behind && !session.is_whole())
        });
        (bench, ahead)
    }

    fn lose(&mut self, session: SessionId) {
        let (reason, detail) = (Reason::Cut, String::new());
        let now = self.now();
        self.driver.lifecycle.handle_reply(Reply::Lost { session, reason, detail }, now);
    }

    fn hear(&mut self, word: Word) {
        self.driver.hear_out(&mut vec![(1, word)]);
        self.answer();
    }

    /// Another process takes over, up to the moment at which it alone is heard.
    fn muted(&mut self) {
        let now = self.now();
        self.hear(Word::Opened(Voice::new(mpsc::channel(64).0), None));
        let mut taker = Taker::new(URL.into(), "2", HOLD, now);
        self.hear(Word::Said(taker.poll_message().unwrap()));
        self.until(|bench| !bench.driver.giving.waits_for_quiet());
        for message in [Message::Began { leg: 7, shard: 0, place: 0 }, Message::Settled(true)] {
            self.hear(Word::Said(message));
        }
        self.until(|bench| bench.driver.giving.muted);
    }

    fn open_gaps(&self) -> Vec<(&'static str, Timestamp)> {
        let open = self.driver.stream.ledger().open_gaps();
        open.map(|gap| (gap.cause, gap.from)).collect()
    }
}

fn heir(notes: Vec<(u64, Note)>) -> Heir {
    let (legacy, doubts, refused) = (Legacy::default(), Vec::new(), BTreeSet::new());
    Heir { outcome: Outcome::TakeOver, legacy, notes, doubts, refused }
}

#[tokio::test]
async fn a_gap_that_was_left_open_ends_where_all_topics_are_delivered_and_not_before() {
    let (mut bench, ahead) = Bench::with_a_leg_that_lacks_one();
    bench.lose(ahead);
    let at = bench.driver.clock.timestamp();
    bench.driver.stream.open_gap(0, "cut", at, Vec::new());
    bench.driver.inherit(heir(Vec::new()));
    assert_eq!(bench.open_gaps(), [("cut", at)]);
    bench.until(|bench| bench.delivering().len() == 2);
    assert_eq!(bench.open_gaps(), []);
}

#[tokio::test]
async fn an_own_leg_that_lacks_topics_does_not_end_the_gap_that_a_process_left_that_died() {
    let (mut bench, ahead) = Bench::with_a_leg_that_lacks_one();
    bench.muted();
    bench.lose(ahead);
    bench.answer();
    assert_eq!(bench.open_gaps(), [], "the other process is heard");
    bench.hear(Word::Gone);
    assert!(matches!(bench.open_gaps()[..], [("handover", _)]), "{:?}", bench.open_gaps());
    bench.until(|bench| bench.delivering().len() == 2);
    assert_eq!(bench.open_gaps(), []);
}

#[tokio::test]
async fn what_our_own_sessions_did_not_count_for_is_missing_whatever_the_other_process_has_said() {
    let mut bench = Bench::live(1);
    bench.muted();
    // Later than that by more than two looks at the clock may differ.
    let silent = bench.driver.clock.timestamp().after(Duration::from_millis(100));
    while bench.driver.clock.timestamp() <= silent {
        std::thread::yield_now();
    }
    // It dies before it has said what it heard.
    bench.hear(Word::Gone);
    let gaps: Vec<_> = bench.driver.stream.ledger().list().collect();
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert!(gap.cause == "handover" && gap.from <= silent, "{gap:?} begins after {silent:?}");
}

#[tokio::test]
async fn a_gap_within_a_handover_does_not_vouch_for_what_waits_to_be_written() {
    let mut bench = Bench::live(1);
    let (shard, now) = (ShardId(0), bench.now());
    let cause = Reason::Cut;
    let opened = Note::GapOpened { shard, cause, from: now, topics: 2, only: Vec::new() };
    let closed = Note::GapClosed { shard, to: now, action: "resumed" };
    let before = bench.driver.stream.marked();
    bench.driver.inherit(heir(vec![(1, opened), (1, closed)]));
    assert_eq!(bench.driver.stream.marked(), before);
    assert_eq!(bench.driver.stream.ledger().list().count(), 1);
}

#[tokio::test]
async fn what_the_old_process_used_is_free_although_there_is_no_token_yet() {
    let mut bench = Bench::new(1);
    bench.driver.lifecycle.join(Plan::default(), 7);
    assert_eq!(bench.driver.lifecycle.channels(bench.now()), 7);
    bench.driver.inherit(heir(Vec::new()));
    assert_eq!(bench.driver.lifecycle.channels(bench.now()), 0);
}

#[tokio::test]
async fn a_process_that_is_cut_off_and_cannot_tell_anybody_knows_it() {
    let mut bench = Bench::live(1);
    bench.muted();
    let now = bench.now();
    bench.driver.stream.close_journal(now);
    bench.words.send((1, Word::Gone)).await.unwrap();
    bench.driver.hand_over().await;
    assert_eq!(*bench.handed.borrow(), Some(Successor { pid: None, is_told: false }));
}
