//! The theatre: real brokers, the simulator, a small disk and the process between them; and what is done to each of them.
//!
//! It asks the process only whether it is well again. Whether it kept its promises is `reckoning`'s to say.

use super::script::{Fault, Kind, Step, Victim};
use crate::books::micros;
use crate::harness::{Bridge, DEAD_AFTER, Stand};
use crate::journal::Mount;
use crate::servers::Server;
use crate::sinks::kafka::cluster::Cluster;
use serde_json::{Value, json};
use std::time::Duration;
use tieline_sim::Options;
use tokio::task::block_in_place;

/// Notifications a second.
const RATE: f64 = 100.0;

/// For so many notifications a frame that one session did not get is held at most, and as long again on a busy machine. It goes out late
/// then; if anything else fails before, it is missing behind a younger one, where no record can stand.
const HELD: u64 = 100;

/// The disk of `data_dir`: room for the events of some seconds without brokers, and for the files beside the journal.
const DISK: &str = "16m";

/// Longer than it takes to be well after anything: a commit is tried for half a minute.
const WELL_WITHIN: Duration = Duration::from_secs(300);

/// How often it is asked whether it is well.
const LOOK: Duration = Duration::from_millis(50);

/// The real brokers, which both acts share.
pub struct Brokers {
    pub kafka: Cluster,
    pub nats: Server,
}

impl Brokers {
    pub fn start() -> Self {
        Self { kafka: Cluster::start(), nats: Server::start("nats", &[]) }
    }
}

/// One run of the theatre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    pub name: &'static str,
    pub exactly_once: bool,
    pub sessions: usize,
}

/// How long it took to be well again.
#[derive(Debug)]
pub struct Recovery {
    /// The one fault; none where there were two at once.
    pub kind: Option<Kind>,
    pub took: Duration,
}

/// An act that is being played.
pub struct Theatre<'a> {
    pub act: Act,
    pub brokers: &'a mut Brokers,
    /// None while the process is not there.
    pub bridge: Option<Bridge>,
    /// All that the lives before this one have said.
    pub said: String,
    /// That of `data_dir`, until the act is over.
    _disk: Mount,
    pub stand: Stand,
    /// The first emission that counts.
    pub since: u64,
    /// The secret that Genesys and the file are to have next.
    secrets: usize,
    /// The step that is played, for the words of a failure.
    step: Option<Step>,
}

impl<'a> Theatre<'a> {
    pub async fn open(act: Act, seed: u64, brokers: &'a mut Brokers) -> Self {
        let options = Options { rate: RATE, seed, ..Options::default() };
        let mut stand = Stand::new(options).await;
        let _disk = Mount::tmpfs(&stand.config.path("data"), DISK);
        let delivery = if act.exactly_once { "exactly_once" } else { "at_least_once" };
        let config = &mut stand.config;
        config.set("sink.kafka.brokers", brokers.kafka.brokers());
        config.set("sink.kafka.topic", act.name);
        config.set("sink.kafka.delivery", delivery);
        config.set("sink.kafka.replication", 2);
        config.set("sink.nats.url", brokers.nats.field("url"));
        config.set("sink.nats.stream", act.name);
        config.set("sink.nats.subject", format!("{}.{{family}}.{{key}}", act.name));
        config.set("lifecycle.redundancy", i64::try_from(act.sessions).unwrap());
        config.set("journal.segment_bytes", "256KiB");
        config.set("process.drain_timeout", "3s");
        config.set("lifecycle.dead_after", DEAD_AFTER);
        // The log is searched, and kept for a failure.
        config.set("log.level", "debug");
        let bridge = Some(stand.ready().await);
        let since = stand.emitted().await + 1;
        let said = String::new();
        let theatre =
            Self { act, brokers, bridge, said, _disk, stand, since, secrets: 0, step: None };
        theatre.well(0).await;
        theatre
    }

    /// Does one step, and waits until all is well again.
    pub async fn play(&mut self, step: Step) -> Recovery {
        self.step = Some(step);
        let Step { first, second, .. } = step;
        let victims = [Some(first), second].map(|fault| fault.map(|fault| fault.kind.victim()));
        if victims.contains(&Some(Victim::Kafka)) {
            self.kafka_in_sync().await;
        }
        if second.is_none() && is_planned(first.kind) {
            self.settled().await;
        }
        let (rotated, lost) = (self.count("rotation_finished"), self.count("session_lost"));
        let begun = self.now().await;
        self.begin(first).await;
        let mut over = begun;
        if let Some(second) = second {
            self.stand.emits(first.lasts / 2).await;
            self.begin(second).await;
            self.stand.emits(second.lasts).await;
            let (one, other) =
                if step.second_ends_first { (second, first) } else { (first, second) };
            over = self.end(one).await.max(over);
            self.stand.emits(one.lasts / 4).await;
            over = self.end(other).await.max(over);
        } else {
            if has_length(first.kind) {
                self.stand.emits(first.lasts).await;
            }
            over = self.end(first).await.max(over);
        }
        let faults = [Some(first), second].into_iter().flatten();
        let kinds: Vec<Kind> = faults.map(|fault| fault.kind).collect();
        let is_another = kinds.iter().any(|kind| matches!(kind, Kind::Killed | Kind::Terminated));
        let mut since = over;
        if kinds.iter().copied().any(ends_a_socket) && !is_another {
            // What looks well until then is not: frames that came before are still read.
            self.said_again("session_lost", lost).await;
            since = self.now().await;
        }
        if second.is_none() && is_planned(first.kind) {
            self.said_again("rotation_finished", rotated).await;
        }
        self.well(since).await;
        let took = Duration::from_micros(self.now().await.saturating_sub(over));
        self.stand.emits(step.calm).await;
        let kind = second.is_none().then_some(first.kind);
        Recovery { kind, took }
    }

    /// Begins a fault.
    async fn begin(&mut self, fault: Fault) {
        // In the act of two sessions one of them is struck as often as both.
        let one = if fault.lasts % 4 < 2 { "#1" } else { "#2" };
        let struck = match self.act.sessions {
            2 if fault.lasts.is_multiple_of(2) => json!({"channel": one}),
            _ => json!({}),
        };
        match fault.kind {
            Kind::Cut => self.control("close", with(struck, json!({"mode": "rst"}))).await,
            Kind::Mute => self.control("silence", struck).await,
            Kind::ClosingNotice => {
                self.control("socket-closing", with(struck, json!({"after_ms": 15_000}))).await;
            }
            Kind::Evicted => self.control("evict", json!({"channel": "#1"})).await,
            Kind::Dropped => {
                let asked =
                    json!({"what": "drop", "channel": one, "every": 3, "count": dropped(fault)});
                self.control("disturb", asked).await;
            }
            Kind::SecretAtGenesysFirst => {
                self.secrets += 1;
                self.control("rotate", json!({"secret": self.secret()})).await;
            }
            Kind::SecretInTheFileFirst => {
                self.secrets += 1;
                self.stand.config.write_secret(&self.secret());
            }
            Kind::DiskFull => self.fill_disk(),
            Kind::ControllerKilled => block_in_place(|| self.brokers.kafka.first.kill()),
            Kind::BrokerKilled => block_in_place(|| self.brokers.kafka.second.kill()),
            Kind::NatsKilled => block_in_place(|| self.brokers.nats.kill()),
            Kind::ControllerPaused => self.brokers.kafka.first.signal("STOP"),
            Kind::BrokerPaused => self.brokers.kafka.second.signal("STOP"),
            Kind::NatsPaused => self.brokers.nats.signal("STOP"),
            Kind::Stopped => self.bridge().signal("STOP").await,
            Kind::Killed => self.end_process("KILL", None).await,
            Kind::Terminated => self.end_process("TERM", Some(0)).await,
        }
    }

    /// Ends what can be ended, and answers when the cause was over.
    async fn end(&mut self, fault: Fault) -> u64 {
        match fault.kind {
            Kind::Cut | Kind::Mute | Kind::ClosingNotice | Kind::Evicted => return 0,
            Kind::Dropped => self.stand.emits(3 * dropped(fault) + 3 + HELD).await,
            Kind::SecretAtGenesysFirst => self.stand.config.write_secret(&self.secret()),
            Kind::SecretInTheFileFirst => {
                self.control("rotate", json!({"secret": self.secret()})).await;
            }
            Kind::DiskFull => drop(std::fs::remove_file(self.filler())),
            Kind::ControllerKilled => block_in_place(|| self.brokers.kafka.first.restart()),
            Kind::BrokerKilled => block_in_place(|| self.brokers.kafka.second.restart()),
            Kind::NatsKilled => block_in_place(|| self.brokers.nats.restart()),
            Kind::ControllerPaused => self.brokers.kafka.first.signal("CONT"),
            Kind::BrokerPaused => self.brokers.kafka.second.signal("CONT"),
            Kind::NatsPaused => self.brokers.nats.signal("CONT"),
            Kind::Stopped => self.bridge().signal("CONT").await,
            Kind::Killed | Kind::Terminated => {
                let over = self.now().await;
                self.bridge = Some(self.stand.start().await);
                return over;
            }
        }
        self.now().await
    }

    async fn control(&self, call: &str, fields: Value) {
        // Between two sessions there may be no channel to strike.
        let wanted = fields["channel"].as_str().map_or(0, |name| name[1..].parse().unwrap());
        if wanted > 0 && self.bridge.is_none() {
            // A process that is not there has no session to strike.
            return;
        }
        self.until(&format!("{call} finds {wanted} channels"), async || {
            (self.stand.open_channels().await.len() >= wanted).then_some(())
        })
        .await;
        self.stand.control(call, fields).await;
    }

    fn secret(&self) -> String {
        format!("secret-number-{}-of-the-chaos", self.secrets)
    }

    fn filler(&self) -> std::path::PathBuf {
        self.stand.config.path("data/filler")
    }

    /// Writes until there is no room any more.
    fn fill_disk(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|written| written > 0) {}
    }

    async fn end_process(&mut self, signal: &str, code: Option<i32>) {
        let bridge = self.bridge.take().unwrap();
        bridge.signal(signal).await;
        let (ended, log) = bridge.ended().await;
        assert_eq!(ended, code, "{log}");
        self.said.push_str(&log);
    }

    pub fn bridge(&self) -> &Bridge {
        self.bridge.as_ref().unwrap()
    }

    /// How often this life of the process has said that.
    fn count(&self, event: &str) -> usize {
        self.bridge().count(&[&format!("\"event\":\"{event}\"")])
    }

    async fn said_again(&self, event: &str, before: usize) {
        self.until(event, async || (self.count(event) > before).then_some(())).await;
    }

    /// Waits until nothing is being replaced.
    async fn settled(&self) {
        self.until("one socket for each session", async || {
            let open = self.stand.open_channels().await;
            (open.len() == self.act.sessions).then_some(())
        })
        .await;
        self.well(self.now().await).await;
    }

    pub async fn now(&self) -> u64 {
        micros(self.stand.state().await["time"].as_str().unwrap())
    }

    async fn kafka_in_sync(&self) {
        let kafka = &self.brokers.kafka;
        let synced = async || block_in_place(|| kafka.is_in_sync()).then_some(());
        self.until("both nodes of Kafka have everything", synced).await;
    }

    /// Waits until every session hears what was sent after that moment, and every sink has what was heard before it.
    pub async fn well(&self, since: u64) {
        self.until("all is well", async || {
            let (_, state) = self.bridge().get("/api/v1/state").await;
            is_well(&state, since, self.act.sessions).then_some(())
        })
        .await;
    }

    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let mut tick = tokio::time::interval(LOOK);
        let found = tokio::time::timeout(WELL_WITHIN, async {
            loop {
                tick.tick().await;
                if let Some(found) = look().await {
                    return found;
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => {
                let (_, state) = self.bridge().read("/api/v1/state").await;
                panic!(
                    "it never came to be: {what}, in {:?}\n{state}\n{}",
                    self.step,
                    self.bridge().log()
                )
            }
        }
    }
}

/// How many frames are dropped.
const fn dropped(fault: Fault) -> u64 {
    1 + fault.lasts / 10
}

/// Whether anything lasts: a socket that was cut is cut.
const fn has_length(kind: Kind) -> bool {
    !matches!(kind, Kind::Cut | Kind::Evicted | Kind::Mute | Kind::ClosingNotice | Kind::Dropped)
}

/// Whether a session is lost by it.
const fn ends_a_socket(kind: Kind) -> bool {
    matches!(kind, Kind::Cut | Kind::Evicted | Kind::Mute)
}

/// Whether a session is to be replaced in peace.
const fn is_planned(kind: Kind) -> bool {
    matches!(kind, Kind::ClosingNotice | Kind::SecretAtGenesysFirst | Kind::SecretInTheFileFirst)
}

fn with(mut fields: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    fields.as_object_mut().unwrap().extend(more);
    fields
}

fn is_well(state: &Value, since: u64, sessions: usize) -> bool {
    let is_after = |moment: &Value| moment.as_str().is_some_and(|at| micros(at) > since);
    let all = |list: &str, holds: &dyn Fn(&Value) -> bool| {
        state[list].as_array().unwrap().iter().all(holds)
    };
    state["ready"] == true
        && is_after(&state["as_of"])
        && state["gaps"]["open"].as_array().unwrap().is_empty()
        && state["login"]["credentials_rejected"] == false
        && state["sessions"].as_array().unwrap().len() == sessions
        && all("sessions", &|one| one["state"] == "live" && is_after(&one["last_event"]))
        && all("sinks", &|one| {
            let waiting = &one["oldest_waiting"];
            one["connected"] == true && (waiting.is_null() || is_after(waiting))
        })
}
