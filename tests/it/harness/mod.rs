//! A real process of ours against a simulator: starts them, waits for what they say, and stops them by their own ids.
//!
//! It never looks into the library; whether the books balance is `books`' affair. Whatever is waited for has a deadline, and what
//! the process had said until then is part of the failure.

mod config;
mod program;
mod rest;

pub use config::{Config, topics_of};
#[cfg(all(feature = "kafka", feature = "nats"))]
pub use program::read_with;
pub use program::{program, tieline};
pub use rest::Rest;

use crate::books::{self, Gap, Held, Verdict};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tieline_sim::journal::Journal;
use tieline_sim::{Options, Sim};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Nothing that is waited for takes so long, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(20);

/// The bridge's times in these tests, short enough that a story takes seconds. An overlap (settle and drain) must be much longer
/// than `arbitration.hold`: in a shorter one repeats and second sights cannot be told apart, and both go out, marked.
pub const SETTLE: Duration = Duration::from_millis(500);

/// For a test that plays silence. Usually it is longer (`Config::new`): a busy machine may hold the simulator up for a while.
pub const DEAD_AFTER: &str = "3s";

/// A client that takes no connection again which the other side may be about to close: doors close an idle one after 10 s.
fn client() -> reqwest::Client {
    reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(3)).build().unwrap()
}

/// Brisk traffic on three queues.
pub fn brisk() -> Options {
    Options { rate: 60.0, ..Options::default() }
}

/// No traffic but what is asked for.
pub fn quiet() -> Options {
    Options { rate: 0.0, ..Options::default() }
}

/// A port of the loopback interface that refuses connections until this is dropped, and is nobody else's meanwhile.
#[derive(Debug)]
pub struct Closed(TcpSocket);

impl Closed {
    /// Below 20000, where neither the system nor another server (tests/servers) takes a port: whoever is to come up there finds it free.
    pub fn new() -> Self {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let port = |nth| u16::try_from(10_000 + (std::process::id() + nth) % 10_000).unwrap();
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            let address = ([127, 0, 0, 1], port(NTH.fetch_add(1, Ordering::Relaxed)));
            if socket.bind(SocketAddr::from(address)).is_ok() {
                return Self(socket);
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// The simulator, and the folder and configuration of the process that is to meet it.
pub struct Stand {
    pub sim: Sim,
    pub config: Config,
    http: reqwest::Client,
}

impl Stand {
    pub async fn new(options: Options) -> Self {
        tieline::genesys::tls::install_provider();
        Self::of(Sim::start(options).await.unwrap(), client())
    }

    /// A simulator that only this client finds the way to.
    pub fn of(sim: Sim, http: reqwest::Client) -> Self {
        let config = Config::new(sim.api_url(), sim.client_id());
        config.write_secret(sim.client_secret());
        Self { sim, config, http }
    }

    /// A process that is ready.
    pub async fn ready(&self) -> Bridge {
        let bridge = self.start().await;
        bridge.ready().await;
        bridge
    }

    /// A process whose doors are open.
    pub async fn start(&self) -> Bridge {
        Bridge::start(&self.config, &[]).await
    }

    /// A control call that must succeed.
    pub async fn control(&self, call: &str, fields: Value) -> Value {
        let url = format!("{}/sim/{call}", self.sim.control_url());
        let reply = self.http.post(url).json(&fields).send().await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert!(status.is_success(), "{call}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn state(&self) -> Value {
        let url = format!("{}/sim/state", self.sim.control_url());
        let reply = self.http.get(url).send().await.unwrap();
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    /// How many notifications there have been.
    pub async fn emitted(&self) -> u64 {
        self.state().await["emitted"].as_u64().unwrap()
    }

    /// Waits until so many more notifications have been made.
    pub async fn emits(&self, more: u64) {
        let until = self.emitted().await + more;
        eventually("the simulator emits", async || (self.emitted().await >= until).then_some(()))
            .await;
    }

    /// The channels that have a socket.
    pub async fn open_channels(&self) -> Vec<String> {
        let state = self.state().await;
        let channels = state["channels"].as_array().unwrap();
        let open = channels.iter().filter(|channel| !channel["session"].is_null());
        open.map(|channel| channel["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The one channel that has a socket.
    pub async fn channel(&self) -> String {
        let open = self.open_channels().await;
        assert_eq!(open.len(), 1, "{open:?}");
        open[0].clone()
    }

    /// A new secret at Genesys, which nobody was told of yet.
    pub async fn rotate(&self) -> String {
        let rotated = self.control("rotate", json!({})).await;
        rotated["client_secret"].as_str().unwrap().to_owned()
    }

    /// How many channels the platform knows.
    pub async fn channels(&self) -> usize {
        self.state().await["channels"].as_array().unwrap().len()
    }

    /// Lets no more traffic come, waits until the file holds the last of it, stops the process, and compares.
    pub async fn balance(&self, bridge: Bridge, since: u64) -> Verdict {
        self.balance_and_log(bridge, since).await.0
    }

    /// As `balance`, with all that the process said.
    pub async fn balance_and_log(&self, bridge: Bridge, since: u64) -> (Verdict, String) {
        self.control("traffic", json!({"state": "pause"})).await;
        self.delivered_all(since).await;
        let gaps = bridge.gaps().await;
        let log = bridge.finish(self).await;
        (self.judge(&self.held(), &gaps, since), log)
    }

    pub fn judge(&self, held: &[Held], gaps: &[Gap], since: u64) -> Verdict {
        books::judge(&self.sim.journal(), &self.config.topics(&self.sim), held, gaps, since)
    }

    /// Waits until the file holds the last subscribed notification; those before it were read before it.
    pub async fn delivered_all(&self, since: u64) {
        self.delivered_all_of(&self.config.topics(&self.sim), since).await;
    }

    /// The same, where only these topics are subscribed to.
    pub async fn delivered_all_of(&self, topics: &[String], since: u64) {
        let journal = self.sim.journal();
        let mut counted = journal.emissions.iter().filter(|one| topics.contains(&one.topic));
        let last = counted.rfind(|one| one.number >= since);
        let last = last.expect("nothing was emitted").correlation_id.clone();
        eventually("the file holds the last notification", async || {
            self.held().iter().any(|event| event.correlation_id == last).then_some(())
        })
        .await;
    }

    /// What the file holds.
    pub fn held(&self) -> Vec<Held> {
        books::read_lines(&self.config.events())
    }

    /// Waits until the simulator has a socket on another channel than this, and answers the journal.
    pub async fn journal_with(&self, what: &str, found: impl Fn(&Journal) -> bool) -> Journal {
        eventually(what, async || {
            let journal = self.sim.journal();
            found(&journal).then_some(journal)
        })
        .await
    }
}

/// A running `tieline run`.
pub struct Bridge {
    child: Child,
    pid: u32,
    admin: String,
    http: reqwest::Client,
    said: watch::Receiver<Vec<String>>,
    readers: JoinSet<()>,
}

impl Bridge {
    /// Starts one and waits until its doors are open.
    pub async fn start(config: &Config, args: &[&str]) -> Self {
        let mut bridge = Self::launch(tieline(config, args));
        let listening = bridge.line(&["\"event\":\"listening\""]).await;
        bridge.admin = format!("http://{}", listening["address"].as_str().unwrap());
        bridge
    }

    /// Starts a command that is, or becomes, a bridge.
    pub fn launch(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (say, said) = watch::channel(Vec::new());
        let mut readers = JoinSet::new();
        readers.spawn(listen(child.stdout.take().unwrap(), say.clone()));
        readers.spawn(listen(child.stderr.take().unwrap(), say));
        let pid = child.id().unwrap();
        let http = client();
        Self { child, pid, admin: String::new(), http, said, readers }
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Takes note of where the doors are, for a process that was launched by another command.
    pub async fn doors(&mut self) {
        let listening = self.line(&["\"event\":\"listening\""]).await;
        self.admin = format!("http://{}", listening["address"].as_str().unwrap());
    }

    /// Waits for the first line of the log that holds all these words.
    pub async fn line(&self, words: &[&str]) -> Value {
        self.lines(words, 1).await.remove(0)
    }

    /// Waits for so many lines that hold all these words.
    pub async fn lines(&self, words: &[&str], count: usize) -> Vec<Value> {
        let mut said = self.said.clone();
        let find = |lines: &Vec<String>| -> Vec<Value> {
            let holds = |line: &&String| words.iter().all(|word| line.contains(word));
            let found = lines.iter().filter(holds);
            found.map(|line| serde_json::from_str(line).unwrap_or(json!(line))).collect()
        };
        let found = async {
            loop {
                let found = find(&said.borrow_and_update());
                // The senders end with the process: what it has not said then it will never say.
                if found.len() >= count || said.changed().await.is_err() {
                    return find(&said.borrow());
                }
            }
        };
        match tokio::time::timeout(DEADLINE, found).await {
            Ok(found) if found.len() >= count => found,
            Ok(_) | Err(_) => panic!("never said {count} times {words:?}:\n{}", self.log()),
        }
    }

    /// How many lines hold all these words by now.
    pub fn count(&self, words: &[&str]) -> usize {
        let said = self.said.borrow();
        said.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// How many lines there are by now: whatever is said later has another place.
    pub fn place(&self) -> usize {
        self.said.borrow().len()
    }

    /// Waits for the first line behind `place` that holds all these words.
    pub async fn line_behind(&self, place: usize, words: &[&str]) {
        self.lines_behind(place, words, 1).await;
    }

    /// Waits for so many.
    pub async fn lines_behind(&self, place: usize, words: &[&str], count: usize) {
        let found = async || {
            let said = self.said.borrow();
            let holds = |line: &&String| words.iter().all(|word| line.contains(word));
            (said[place..].iter().filter(holds).count() >= count).then_some(())
        };
        self.until(&format!("said anew {count} times: {words:?}"), found).await;
    }

    /// All that was said above `debug`, for the words of a failure.
    pub fn log(&self) -> String {
        let said = self.said.borrow();
        let loud = said.iter().filter(|line| {
            !line.contains("\"level\":\"DEBUG\"") && !line.contains("\"level\":\"TRACE\"")
        });
        loud.map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Where the doors are.
    pub fn url(&self) -> String {
        self.admin.clone()
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.read(path).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// A page as it stands.
    pub async fn read(&self, path: &str) -> (u16, String) {
        let reply = self.http.get(format!("{}{path}", self.admin)).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    /// Waits until `/readyz` says yes.
    pub async fn ready(&self) {
        let ready = async || (self.get("/readyz").await.0 == 200).then_some(());
        self.until("ready", ready).await;
    }

    /// Waits until `/readyz` says no for a reason that holds all these words, and answers the reason.
    pub async fn unready(&self, words: &[&str]) -> String {
        self.until(&format!("unready because of {words:?}"), async || {
            let (code, answer) = self.get("/readyz").await;
            let reasons = answer["reasons"].as_array().unwrap();
            let mut reasons = reasons.iter().filter_map(Value::as_str);
            let found = reasons.find(|reason| words.iter().all(|word| reason.contains(word)));
            found.filter(|_| code == 503).map(str::to_owned)
        })
        .await
    }

    /// Waits until the state is as wanted.
    pub async fn state(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(what, async || {
            let (_, state) = self.get("/api/v1/state").await;
            wanted(&state).then_some(state)
        })
        .await
    }

    /// Every gap by now.
    pub async fn gaps(&self) -> Vec<Gap> {
        // The doors show what was true at most a second ago; the log tells at once.
        let opened = self.count(&["\"event\":\"gap_opened\""]);
        let shown = self.until("all gaps are shown", async || {
            let (_, gaps) = self.get("/api/v1/gaps?limit=1000").await;
            let closed = gaps["open"].as_array().unwrap().is_empty();
            // A ledger that outlived a process knows of more.
            (closed && gaps["total"].as_u64() >= Some(opened as u64)).then_some(gaps)
        });
        let mut gaps: Vec<Gap> = serde_json::from_value(shown.await["recent"].clone()).unwrap();
        gaps.sort_by_key(|gap| gap.number);
        gaps
    }

    /// The most memory that it ever held, in bytes.
    pub fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }

    /// Waits for something, and tells the log where it does not come.
    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        match tokio::time::timeout(DEADLINE, looked(look)).await {
            Ok(found) => found,
            Err(_) => {
                let (_, state) = self.read("/api/v1/state").await;
                panic!("it never came to be: {what}\n{state}\n{}", self.log())
            }
        }
    }

    /// Sends it a signal by its name.
    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid);
        let sent = Command::new("sh").arg("-c").arg(kill).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended. Answers the exit code, and all that it said.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        self.ends().await
    }

    /// The same, for whoever has another in its place then.
    pub async fn ends(&mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log())).unwrap();
        while let Some(read) = self.readers.join_next().await {
            read.unwrap();
        }
        let log = self.said.borrow().join("\n");
        assert!(!log.contains("panicked"), "{log}");
        (status.code(), log)
    }

    /// Ends it by SIGTERM, as a service manager does, and checks what must hold at the end of every run: all was acknowledged, nothing
    /// panicked, and nothing said what must not be said.
    pub async fn finish(self, stand: &Stand) -> String {
        let (_, metrics) = self.read("/metrics").await;
        let (_, state) = self.read("/api/v1/state").await;
        self.signal("TERM").await;
        let (code, log) = self.ended().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("every sink has acknowledged everything"), "{log}");
        hold_no_secret(&format!("{log}\n{metrics}\n{state}"), stand);
        log
    }
}

/// Checks that no secret, no token and no channel's address was told: whoever knows the address may listen.
pub fn hold_no_secret(told: &str, stand: &Stand) {
    let journal = stand.sim.journal();
    let channels = journal.sessions.iter().map(|session| session.channel.as_str());
    let written = std::fs::read_to_string(stand.config.path("secret")).unwrap_or_default();
    let secrets = [stand.sim.client_secret(), written.trim()];
    for hidden in channels.chain(secrets).filter(|hidden| !hidden.is_empty()) {
        assert!(!told.contains(hidden), "it told {hidden}: {}", around(told, hidden));
    }
    // A token is the only word of that shape.
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let token = told.split(|letter| !is_part(letter)).find(|word| word.len() >= 80);
    assert_eq!(token, None, "it told a token");
}

fn around<'a>(told: &'a str, hidden: &str) -> &'a str {
    told.lines().find(|line| line.contains(hidden)).unwrap_or_default()
}

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = tokio::time::timeout(DEADLINE, looked(look)).await;
    found.unwrap_or_else(|_| panic!("it never came to be: {what}"))
}

async fn looked<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tick.tick().await;
        if let Some(found) = look().await {
            return found;
        }
    }
}

async fn listen(stream: impl AsyncRead + Unpin, say: watch::Sender<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        say.send_modify(|said| said.push(line));
    }
}
