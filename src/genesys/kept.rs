//! The client's channels in a file of mode 0600, so that a restart takes them up instead of making more: nobody can delete one, and the
//! twenty-first silently evicts a live one.
//!
//! The driver hands over the latest state and never waits; a task replaces the file whole. A file that is torn, another version's or of
//! another platform is as none, and that is said. Which of its channels still live, their first use shows.

use super::Incoming;
use super::perform::Platform;
use super::rest::Channel;
use crate::clock::Clock;
use crate::lifecycle::{ChannelId, KeptChannel, TokenId};
use crate::observation::Observation;
use crate::time::{Time, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

/// The file's name in `data_dir`.
const FILE: &str = "channels.json";

/// The file's form. Another one is not read.
const VERSION: u32 = 1;

/// Far more than twenty channels take.
const BYTES_MAX: u64 = 256 << 10;

/// How long after a write that failed the next is tried, at the next change.
const AGAIN: Duration = Duration::from_secs(1);

/// The file. Never printed: an address is a credential.
#[derive(Deserialize, Serialize)]
struct Book<C> {
    version: u32,
    /// Where the client logs in.
    login_url: String,
    channels: Vec<C>,
}

/// A channel as it is read. Times are in microseconds since 1970, lives in milliseconds.
#[derive(Deserialize)]
struct Stored {
    id: SecretString,
    connect_uri: SecretString,
    client_id: String,
    made_at: u64,
    expires_at: u64,
    life_ms: u64,
    maker_expires_at: u64,
    maker_margin_ms: u64,
    in_use: bool,
    /// Earlier versions did not say; a list of theirs counts as long over.
    #[serde(default)]
    busy_until: u64,
}

/// A channel as it is written.
#[derive(Serialize)]
struct Writing<'a> {
    id: &'a str,
    connect_uri: &'a str,
    client_id: &'a str,
    made_at: u64,
    expires_at: u64,
    life_ms: u64,
    maker_expires_at: u64,
    maker_margin_ms: u64,
    in_use: bool,
    busy_until: u64,
}

/// A state that is to be written, and its number.
type Writ = Option<(u64, SecretString)>;

/// What is known of the channels beside what the lifecycle knows.
pub(super) struct Keeper {
    login_url: String,
    /// What an earlier process has left and nobody has asked for yet.
    found: Vec<(Arc<str>, KeptChannel)>,
    /// When each was first noted.
    made_at: HashMap<ChannelId, u64>,
    last: Vec<KeptChannel>,
    /// How many states were handed over to be written, and the last of them that was.
    handed: u64,
    done: Arc<AtomicU64>,
    write: watch::Sender<Writ>,
    incoming: mpsc::Sender<Incoming>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("found", &self.found.len()).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Reads the folder's file. Answers the keeper, and what writes for it until it is dropped.
    pub(super) fn open(
        folder: &Path,
        platform: &Platform,
        incoming: mpsc::Sender<Incoming>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let login_url = platform.login_url();
        let path = folder.join(FILE);
        let (write, written) = watch::channel(None);
        let done = Arc::<AtomicU64>::default();
        let mut keeper = Self {
            login_url,
            found: Vec::new(),
            made_at: HashMap::new(),
            last: Vec::new(),
            handed: 0,
            done: Arc::clone(&done),
            write,
            incoming: incoming.clone(),
        };
        match read(&path, &keeper.login_url) {
            Ok(stored) => keeper.take(stored, platform),
            Err(problem) => keeper.tell(Observation::ChannelsUnkept { detail: problem }),
        }
        (keeper, write_down(path, written, done, incoming))
    }

    fn take(&mut self, stored: Vec<Stored>, platform: &Platform) {
        for stored in stored {
            let Stored { id, connect_uri, client_id, .. } = stored;
            let channel = platform.handles.add_channel(Channel { id, connect_uri });
            self.made_at.insert(channel, stored.made_at);
            let clock = &platform.clock;
            let kept = KeptChannel {
                channel,
                life: Duration::from_millis(stored.life_ms),
                expires_at: moment(stored.expires_at, clock),
                maker_expires_at: moment(stored.maker_expires_at, clock),
                maker_margin: Duration::from_millis(stored.maker_margin_ms),
                in_use: stored.in_use,
                busy_until: moment(stored.busy_until, clock),
            };
            self.found.push((client_id.into(), kept));
        }
    }

    /// Those of the client that bought the token; the handles of all others are forgotten.
    pub(super) fn recall(&mut self, token: TokenId, platform: &Platform) -> Vec<KeptChannel> {
        let Some(buyer) = platform.clients.buyer(token).filter(|_| !self.found.is_empty()) else {
            return Vec::new();
        };
        let (own, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.found).into_iter().partition(|(client, _)| *client == buyer);
        for (_, kept) in &others {
            platform.handles.forget(kept.channel);
        }
        if !others.is_empty() {
            let detail = format!("{} channel(s) in it belong to another client", others.len());
            self.tell(Observation::ChannelsUnkept { detail });
        }
        if !own.is_empty() {
            self.tell(Observation::ChannelsFound { channels: own.len() });
        }
        for (_, kept) in &own {
            platform.clients.made(kept.channel, token);
        }
        own.into_iter().map(|(_, kept)| kept).collect()
    }

    /// Has these written down, if they are others than before.
    pub(super) fn note(&mut self, channels: Vec<KeptChannel>, platform: &Platform) {
        // Until a token tells whose they are, what was found is worth more than nothing.
        if channels == self.last || !self.found.is_empty() {
            return;
        }
        let now = platform.clock.timestamp().as_micros();
        self.made_at.retain(|known, _| channels.iter().any(|kept| kept.channel == *known));
        let named = channels.iter().filter_map(|kept| {
            Some((
                kept,
                platform.handles.channel(kept.channel)?,
                platform.clients.owner(kept.channel)?,
            ))
        });
        let named: Vec<_> = named.collect();
        let writing = named.iter().map(|(kept, channel, client)| {
            let at = |moment| platform.clock.timestamp_of(moment).as_micros();
            Writing {
                id: channel.id.expose_secret(),
                connect_uri: channel.connect_uri.expose_secret(),
                client_id: client,
                made_at: *self.made_at.entry(kept.channel).or_insert(now),
                expires_at: at(kept.expires_at),
                life_ms: millis(kept.life),
                maker_expires_at: at(kept.maker_expires_at),
                maker_margin_ms: millis(kept.maker_margin),
                in_use: kept.in_use,
                busy_until: at(kept.busy_until),
            }
        });
        let channels_written = writing.collect();
        let login_url = self.login_url.clone();
        let book = Book { version: VERSION, login_url, channels: channels_written };
        // Strings and numbers are always JSON.
        let text = serde_json::to_string_pretty(&book).unwrap_or_default();
        self.handed += 1;
        self.write.send_replace(Some((self.handed, text.into())));
        self.last = channels;
    }

    /// Whether all that was noted is in the file.
    pub(super) fn is_written(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.handed
    }

    fn tell(&self, observation: Observation) {
        // Where the driver is that far behind, the log has worse to say.
        self.incoming.try_send(Incoming::Observation(observation)).ok();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A calendar time of another process on this one's clock.
fn moment(micros: u64, clock: &Clock) -> Time {
    let (now, then) = (clock.now(), Timestamp::from_micros(micros));
    let ahead = then.as_micros().checked_sub(clock.timestamp().as_micros());
    ahead.map_or(Time::START, |ahead| now + Duration::from_micros(ahead))
}

/// What the file holds; nothing where there is none.
fn read(path: &Path, login_url: &str) -> Result<Vec<Stored>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut text = Vec::new();
    file.take(BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    // What serde says of a text may repeat it, and here that would be a credential.
    let broken = |error: serde_json::Error| {
        format!("{} is no file of ours, at line {}", path.display(), error.line())
    };
    let about: Book<serde::de::IgnoredAny> = serde_json::from_slice(&text).map_err(broken)?;
    if about.version != VERSION {
        return Err(format!("{} has the form of another version", path.display()));
    }
    if about.login_url != login_url {
        return Err(format!("{} is of another platform", path.display()));
    }
    let book: Book<Stored> = serde_json::from_slice(&text).map_err(broken)?;
    Ok(book.channels)
}

/// Writes each state that comes, the last one too. A write that fails is told once, until one succeeds.
async fn write_down(
    path: PathBuf,
    mut written: watch::Receiver<Writ>,
    written_last: Arc<AtomicU64>,
    incoming: mpsc::Sender<Incoming>,
) {
    let mut told = false;
    while written.changed().await.is_ok() {
        let Some((number, text)) = written.borrow_and_update().clone() else { continue };
        let to = path.clone();
        let done = spawn_blocking(move || replace(&to, &text)).await;
        match done.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => {
                told = false;
                written_last.store(number, Ordering::Release);
            }
            Err(error) => {
                let detail = format!("{}: {error}", path.display());
                if !std::mem::replace(&mut told, true) {
                    let unkept = Observation::ChannelsUnkept { detail };
                    incoming.try_send(Incoming::Observation(unkept)).ok();
                }
                written.mark_changed();
                if written.has_changed().is_err() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Beside, synced, renamed, so that whoever reads finds one state or the other.
fn replace(path: &Path, text: &SecretString) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PLATFORM: &str = "https://login.example/";

    fn book(login_url: &str, version: u32) -> String {
        format!(
            r#"{{"version":{version},"login_url":"{login_url}","channels":[{{"id":"streaming-1","connect_uri":"wss://x/hunter2",
            "client_id":"me","made_at":1,"expires_at":2,"life_ms":3,"maker_expires_at":4,"maker_margin_ms":5,"in_use":true}}]}}"#
        )
    }

    #[test]
    fn the_file_is_the_owners_alone_and_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(path.with_extension("new"), "left by a process that was killed").unwrap();
        for _ in 0..2 {
            replace(&path, &book(PLATFORM, 1).into()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let stored = read(&path, PLATFORM).unwrap();
        assert_eq!((stored.len(), stored[0].client_id.as_str()), (1, "me"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_torn_or_foreign_is_refused_without_a_word_of_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert!(read(&path, PLATFORM).unwrap().is_empty());
        let whole = book(PLATFORM, 1);
        let torn = &whole[..whole.len() - 9];
        let twisted = whole.replace("\"id\":\"streaming-1\"", "\"id\":[\"hunter2\"]");
        let foreign = book("https://elsewhere/", 1);
        for text in [torn, &twisted, &foreign, &book(PLATFORM, 2), "", "\0\0\0"] {
            fs::write(&path, text).unwrap();
            let Err(problem) = read(&path, PLATFORM) else { panic!("{text} was read") };
            assert!(problem.contains(FILE) && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_calendar_time_is_found_again_on_another_clock() {
        let clock = Clock::start();
        let later = clock.timestamp().as_micros() + 60_000_000;
        let found = moment(later, &clock).since(clock.now());
        assert!(found > Duration::from_secs(55) && found <= Duration::from_secs(60), "{found:?}");
        assert_eq!(moment(1, &clock), Time::START);
    }
}
