//! Reads the configuration again when its file changes or somebody asks, and brings into force what a running process can take over.
//!
//! All or nothing: what is wrong with the new configuration is told, and then nothing of it is in force. Sessions are not its
//! affair: it hands the driver what has changed.

mod watch;
mod words;

use crate::bridge::Renewal;
use crate::bridge::status::Configuration;
use crate::clock::Clock;
use crate::config::{Difference, Loaded, Mistakes, Text};
use crate::genesys::Choice;
use crate::observation::Observation;
use crate::privacy::{self, Privacy};
use crate::telemetry::logging::Knob;
use ring::hmac::Key;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use watch::{Looks, Watch};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a disk may take to give a small file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody asked, by a signal.
const ASKED: &str = "SIGHUP";

/// The file is another than before.
const SEEN: &str = "file";

/// Changes that the driver has not taken yet: the next is judged when the last was taken.
const WAITING: usize = 1;

/// What a running process needs to have its configuration read again.
#[derive(Debug)]
pub struct Desk {
    clock: Clock,
    /// Which key the privacy rules hash with.
    key: Option<privacy::Print>,
    /// A person's order to read it again.
    asked: Arc<Notify>,
    renewals: mpsc::Sender<Renewal>,
}

impl Desk {
    /// A desk for rules that hash with `key`, and where the driver takes what has changed.
    pub fn new(clock: Clock, key: Option<&Key>) -> (Self, mpsc::Receiver<Renewal>) {
        let (renewals, renewed) = mpsc::channel(WAITING);
        let key = key.map(privacy::print);
        (Self { clock, key, asked: Arc::default(), renewals }, renewed)
    }

    /// Has the configuration read again now.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// What reads it again. `loaded` is what is in force, `text` the file that it came from, and `knob` turns the log's level.
    pub fn reloader(&self, loaded: Loaded, text: Option<Text>, knob: Knob) -> Reloader {
        let file = text.as_ref().map(|text| text.path().display().to_string());
        Reloader {
            in_force: loaded,
            key: self.key,
            file: text.as_ref().map(Watch::new),
            knob,
            asked: Arc::clone(&self.asked),
            renewals: self.renewals.clone(),
            clock: self.clock,
            shown: Configuration { file, ..Configuration::new(self.clock.timestamp()) },
        }
    }
}

/// Reads the configuration again and again.
#[derive(Debug)]
pub struct Reloader {
    in_force: Loaded,
    key: Option<privacy::Print>,
    file: Option<Watch>,
    knob: Knob,
    asked: Arc<Notify>,
    renewals: mpsc::Sender<Renewal>,
    clock: Clock,
    shown: Configuration,
}

/// A configuration without mistakes, that is not in force yet.
struct Fresh {
    loaded: Loaded,
    key: Option<Key>,
}

/// What came of judging a text.
#[derive(Default)]
struct Taken {
    told: Vec<Observation>,
    privacy: Option<Privacy>,
    choice: Option<Choice>,
}

impl Reloader {
    /// Looks each second and whenever somebody asks, until the driver takes nothing any more.
    pub async fn run(mut self) {
        let mut taken = Taken::default();
        loop {
            let Taken { told, privacy, choice } = taken;
            let renewal = Renewal { privacy, choice, told, shown: self.shown.clone() };
            if self.renewals.send(renewal).await.is_err() {
                return;
            }
            let (trigger, text) = self.next().await;
            taken = self.take(trigger, text.as_ref()).await;
        }
    }

    /// Waits for a text that is to be judged.
    async fn next(&mut self) -> (&'static str, Option<Text>) {
        let asked = Arc::clone(&self.asked);
        let Some(file) = &mut self.file else {
            asked.notified().await;
            return (ASKED, None);
        };
        loop {
            tokio::select! {
                () = asked.notified() => return (ASKED, Some(file.look(Looks::Once).await)),
                () = tokio::time::sleep(LOOK_EVERY), if file.is_watched() => {
                    let text = file.look(Looks::Twice).await;
                    if file.is_due() {
                        return (SEEN, Some(text));
                    }
                }
            }
        }
    }

    /// Judges a text and brings into force what can be; answers what is to be told of it.
    async fn take(&mut self, trigger: &'static str, text: Option<&Text>) -> Taken {
        let now = self.clock.timestamp();
        let fresh = match self.read(text).await {
            Ok(fresh) => fresh,
            Err(mistakes) => {
                self.shown.last_reload = Some(words::refused(now, trigger, &mistakes));
                let told = words::mistakes(trigger, &mistakes);
                return Taken { told, ..Taken::default() };
            }
        };
        let mut difference = self.in_force.difference(&fresh.loaded);
        let key = fresh.key.as_ref().map(privacy::print);
        if key != self.key && !difference.live.iter().any(words::is_key_file) {
            difference.live.push(words::other_key());
        }
        let reload = words::reload(now, trigger, &difference);
        let mut taken = self.apply(fresh, key, &difference);
        taken.told = words::tell(trigger, &difference);
        if !difference.live.is_empty() {
            self.shown.in_force_since = now;
        }
        self.shown.pending = difference.pending.iter().map(words::changed).collect();
        self.shown.last_reload = Some(reload);
        taken
    }

    /// Everything that may fail.
    async fn read(&self, text: Option<&Text>) -> Result<Fresh, Mistakes> {
        let loaded = Loaded::of(text, crate::config::variables())?;
        let privacy = loaded.config.privacy.clone();
        let reading = tokio::task::spawn_blocking(move || privacy.read_key());
        let problem = match timeout(PATIENCE, reading).await {
            Ok(Ok(Ok(key))) => return Ok(Fresh { loaded, key }),
            Ok(Ok(Err(error))) => words::whole(&error),
            Ok(Err(_)) | Err(_) => format!("cannot be read within {} s", PATIENCE.as_secs()),
        };
        let fix = "name a file with at least 16 bytes that this user may read";
        Err(loaded.mistake(&["privacy", "key_file"], problem, fix))
    }

    /// Nothing of this can fail: the configuration has no mistake.
    fn apply(
        &mut self,
        fresh: Fresh,
        key: Option<privacy::Print>,
        difference: &Difference,
    ) -> Taken {
        let concerns = |table: &str| {
            difference.live.iter().any(|change| change.key.split('.').next() == Some(table))
        };
        if concerns("log")
            && let Err(mistake) = self.knob.turn(&fresh.loaded.config.log)
        {
            tracing::error!("log.{} {}", mistake.key, mistake.problem);
        }
        self.in_force.adopt(&fresh.loaded);
        self.key = key;
        let config = &self.in_force.config;
        Taken {
            privacy: concerns("privacy").then(|| Privacy::new(&config.privacy, fresh.key)),
            choice: concerns("genesys").then(|| config.genesys.choice()),
            told: Vec::new(),
        }
    }
}
