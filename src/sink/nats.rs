//! NATS JetStream: ordered and pipelined, each message chained to its predecessor.
//!
//! The stream is tieline's alone. A message names its own place (`Nats-Msg-Id`) and its predecessor's
//! (`Nats-Expected-Last-Msg-Id`), so that neither a server's death nor a late resend nor a second writer can break the order.
//! The first message after opening expects the stream's last sequence number instead: that also holds in a stream without
//! messages, and where a restarted server has forgotten ids older than the duplicate window.
//!
//! A connection is used until it breaks and never mended: `open` makes another. Whatever the library still sends on the old
//! one is refused by the chain.

use super::cloudevents::{Encoder, Mode, STRUCTURED};
use super::template::{Part, Template};
use super::window::Window;
use super::{Error, Record, Resume, Sink, Verdict};
use crate::event::Epoch;
use crate::mistake::Mistake;
use crate::size::Size;
use async_nats::client::PublishErrorKind;
use async_nats::header::{
    HeaderMap, HeaderName, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE,
    NATS_MESSAGE_ID,
};
use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, Message, ServerAddr, StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// The `[sink.nats]` table; `config/default.toml` explains each key. `Debug` hides what `url` says of users.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Such as `nats://localhost:4222` or `tls://…`, comma-separated.
    pub url: String,
    /// The stream, tieline's alone.
    pub stream: String,
    /// The subject, `{family}` and `{key}` allowed.
    pub subject: String,
    /// The CloudEvents content mode.
    pub mode: Mode,
    /// Replicas of a created stream.
    pub replicas: usize,
    /// How long a created stream keeps messages.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How much a created stream keeps; 0 is without bound.
    pub max_bytes: Size,
    /// How many messages may be unacknowledged.
    pub window: usize,
    /// A NATS credentials file.
    pub creds_file: Option<PathBuf>,
    /// An authority to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// How long connecting, or one answer of the JetStream API, may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long nothing may be acknowledged while something is in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far back the server recognises a repeated id; the chain needs no more than its default.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// More in flight than this is worth nothing and costs memory.
const WINDOW_MAX: usize = 65_536;

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if let Err(problem) = self.servers() {
            let fix = "write addresses such as nats://localhost:4222 or tls://nats.example.com";
            mistakes.push(Mistake::new("url", problem, fix));
        }
        if let Err(problem) = self.template() {
            let fix = "write fixed tokens, then {family} and {key}, such as genesys.{family}.{key}";
            mistakes.push(Mistake::new("subject", problem, fix));
        }
        let dull = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.stream.is_empty() || !self.stream.chars().all(dull) {
            let problem = "is not the name of a stream";
            mistakes.push(Mistake::new("stream", problem, "use letters, digits, - and _"));
        }
        if !(1..=WINDOW_MAX).contains(&self.window) {
            let problem = format!("is not between 1 and {WINDOW_MAX}");
            mistakes.push(Mistake::new("window", problem, "256 suits most servers"));
        }
        if !(1..=5).contains(&self.replicas) {
            let fix = "1 for a single server, 3 for a cluster";
            mistakes.push(Mistake::new("replicas", "is not between 1 and 5", fix));
        }
        if i64::try_from(self.max_bytes.0).is_err() {
            let fix = "0B is without bound";
            mistakes.push(Mistake::new("max_bytes", "is more than a stream can keep", fix));
        }
        mistakes
    }

    /// The sink, not yet open. `source` is the address of the platform's API.
    pub fn build(self, source: &str) -> Box<dyn Sink> {
        Box::new(Nats {
            // A bad template is a mistake that `mistakes` names; such a sink is never opened.
            subject: self.template().ok(),
            encoder: Encoder::new(source),
            link: None,
            stored_in: None,
            config: self,
        })
    }

    /// The servers, each without what its address says of a user, and that user: name and password, percent-decoded.
    fn servers(&self) -> Result<(Vec<ServerAddr>, Option<(String, String)>), String> {
        let (mut servers, mut user) = (Vec::new(), None);
        for address in self.url.split(',') {
            let address: ServerAddr = address
                .trim()
                .parse()
                .map_err(|_| "is not an address of a NATS server")?;
            if address.host().is_empty() || !matches!(address.scheme(), "nats" | "tls") {
                return Err("is not an address such as nats://HOST or tls://HOST".into());
            }
            if let Some(name) = address.username() {
                let password = address.password().unwrap_or_default();
                user = Some((percent_decoded(name), percent_decoded(password)));
            }
            let mut url = address.into_inner();
            // Only addresses without a host cannot have users.
            let bare = url.set_username("").and_then(|()| url.set_password(None));
            bare.map_err(|()| "is not an address of a NATS server")?;
            let bare = ServerAddr::from_url(url).map_err(|error| error.to_string())?;
            servers.push(bare);
        }
        Ok((servers, user))
    }

    /// The addresses as an operator may see them: without users.
    fn addresses(&self) -> String {
        let (servers, _) = self.servers().unwrap_or_default();
        let bare: Vec<&str> = servers.iter().map(ServerAddr::as_url_str).collect();
        bare.join(", ")
    }

    fn template(&self) -> Result<Template, String> {
        let text = &self.subject;
        let template = Template::parse(text, &["family", "key"])?;
        if text.split('.').any(str::is_empty) {
            return Err("has an empty token".into());
        }
        if text.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '*' | '>')) {
            return Err("has a character that a subject cannot have".into());
        }
        let first = text.split('.').next().unwrap_or_default();
        if first.contains('{') || first.starts_with('$') {
            return Err("does not begin with a fixed token of your own".into());
        }
        Ok(template)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.addresses())
            .field("stream", &self.stream)
            .field("subject", &self.subject)
            .field("mode", &self.mode)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The subjects that a template can make, as a stream names them: `genesys.{family}.{key}` is `genesys.>`.
fn wildcard(template: &Template) -> String {
    let mut pattern = String::new();
    for part in template.parts() {
        match part {
            Part::Text(text) => pattern.push_str(text),
            Part::Key => pattern.push('*'),
            Part::Family => {
                // A family has several tokens, which only a closing > takes.
                pattern.truncate(pattern.rfind('.').map_or(0, |dot| dot + 1));
                pattern.push('>');
                break;
            }
        }
    }
    let tokens = pattern.split('.');
    let whole = tokens.map(|token| if token.contains('*') { "*" } else { token });
    whole.collect::<Vec<_>>().join(".")
}

/// Whether every subject of `narrow` is one of `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wide), Some(narrow)) if wide == narrow => {}
            _ => return false,
        }
    }
}

/// What a value may bring into a subject.
fn legal(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '*' | '>')
}

struct Nats {
    config: Config,
    subject: Option<Template>,
    encoder: Encoder,
    /// The connection; `None` before `open` and after an error.
    link: Option<Link>,
    /// The epoch in which we have stored a message: then the stream's end is ours, or somebody else writes.
    stored_in: Option<Epoch>,
}

#[async_trait]
impl Sink for Nats {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error> {
        self.link = None;
        let mut link = Link::connect(&self.config).await?;
        let stream = link.stream(&self.config, self.subject.as_ref()).await?;
        let place = link.last_place(&stream).await?;
        let (last_epoch, position) = place
            .as_deref()
            .and_then(|place| place.rsplit_once('-'))
            .unwrap_or_default();
        let ours = last_epoch == epoch.as_str();
        let position = position.parse().ok().filter(|_| ours);
        if let Some(stranger) = place.filter(|_| !ours && self.stored_in.as_ref() == Some(epoch)) {
            // A younger epoch has taken over, and we stay out. Anything else may have been an accident: said once.
            self.stored_in.take_if(|epoch| stranger.as_str() < epoch.as_str());
            return Err(Error::retry(
                format!("go on with stream {}", self.config.stream),
                format!("it must be tieline's alone, but another writer's message is its last: id {stranger:?}"),
            ));
        }
        link.epoch = Some(epoch.clone());
        self.link = Some(link);
        Ok(Resume { last_position: position })
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        let (Some(link), Some(subject)) = (&mut self.link, &self.subject) else {
            return Err(Error::retry("publish", "the sink is not open"));
        };
        let room = self.config.window.saturating_sub(link.window.len());
        if link.window.is_empty() {
            link.patience = Box::pin(sleep(PATIENCE));
        }
        for record in records.iter().take(room) {
            subject.render(&record.event.topic, legal, &mut link.rendered);
            let place = record.event.place();
            let headers = link.expectation.headers(&place);
            let (headers, body) = laid_out(&mut self.encoder, self.config.mode, record, headers);
            link.publish(place, headers, body).await?;
        }
        Ok(records.len().min(room))
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some(link) = &mut self.link else {
            return future::pending().await;
        };
        loop {
            let told = link.window.tell(verdicts);
            if told > 0 {
                link.patience = Box::pin(sleep(PATIENCE));
                if verdicts[verdicts.len() - told..].contains(&Verdict::Stored) {
                    self.stored_in.clone_from(&link.epoch);
                }
                return Ok(());
            }
            if let Some(reason) = link.failure.take() {
                let operation = format!("publish to stream {} at {}", self.config.stream, link.addresses);
                return Err(Error::retry(operation, reason));
            }
            if link.window.is_empty() {
                return future::pending().await;
            }
            link.listen().await;
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.link = None;
        Ok(())
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The headers and the body of a message. `headers` holds what the chain needs.
fn laid_out(
    encoder: &mut Encoder,
    mode: Mode,
    record: &Record,
    mut headers: HeaderMap,
) -> (HeaderMap, Bytes) {
    match mode {
        Mode::Binary => {
            encoder.attributes(record, |name, value| {
                let value = percent_encoded(value.as_str());
                headers.insert(HeaderName::from_static(name.nats), &*value);
            });
            (headers, record.event.body.clone())
        }
        Mode::Structured => {
            let mut document = Vec::with_capacity(record.event.body.len() + 1024);
            encoder.structured(record, &mut document);
            headers.insert(HeaderName::from_static("content-type"), STRUCTURED);
            (headers, document.into())
        }
    }
}

/// What the next message expects of the stream's end.
enum Expectation {
    /// The sequence number of its last message, as `open` read it.
    Sequence(u64),
    /// The id of the message that we sent before.
    Id(String),
}

impl Expectation {
    fn headers(&self, place: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, place);
        match self {
            Self::Sequence(number) => {
                headers.insert(NATS_EXPECTED_LAST_SEQUENCE, number.to_string());
            }
            Self::Id(id) => headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, id.as_str()),
        }
        headers
    }
}

/// One connection, from `open` to the first error.
struct Link {
    /// The epoch for which it was opened; `None` while it is being opened.
    epoch: Option<Epoch>,
    addresses: String,
    client: Client,
    /// What the connection itself complains of; the first complaint ends its use.
    trouble: watch::Receiver<Option<String>>,
    /// Where acknowledgements arrive: `{inbox}.{ticket}`.
    inbox: String,
    acks: Subscriber,
    window: Window,
    expectation: Expectation,
    /// The largest message, headers included, that server and stream take.
    most: usize,
    patience: Pin<Box<Sleep>>,
    failure: Option<String>,
    /// The subject of the message at hand.
    rendered: String,
}

impl Link {
    async fn connect(config: &Config) -> Result<Self, Error> {
        let addresses = config.addresses();
        let operation = || format!("connect to {addresses}");
        let (servers, user) = config
            .servers()
            .map_err(|problem| Error::misconfigured("read url", problem))?;
        let (complain, mut trouble) = watch::channel(None);
        let mut options = ConnectOptions::new()
            .name("tieline")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .ping_interval(ANSWER)
            // Room for a whole window, so that publishing never waits; and each server is tried once per connection.
            .client_capacity(config.window + 64)
            .subscription_capacity(config.window + 64)
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                if let Some(complaint) = complaint(event) {
                    complain.send_if_modified(|first| {
                        let new = first.is_none();
                        first.get_or_insert(complaint);
                        new
                    });
                }
                future::ready(())
            });
        if let Some((name, password)) = user {
            options = options.user_and_password(name, password);
        }
        if let Some(path) = &config.creds_file {
            let read = options.credentials_file(path).await;
            options = read.map_err(|error| {
                Error::retry(format!("read credentials from {}", path.display()), error)
            })?;
        }
        if let Some(path) = &config.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        let client = options
            .connect(servers)
            .await
            .map_err(|error| Error::retry(operation(), error))?;
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*"));
        let acks = answered(&mut trouble, acks)
            .await
            .map_err(|reason| Error::retry(operation(), reason))?;
        Ok(Self {
            epoch: None,
            most: client.max_payload(),
            addresses,
            client,
            trouble,
            inbox,
            acks,
            window: Window::default(),
            expectation: Expectation::Sequence(0),
            patience: Box::pin(sleep(PATIENCE)),
            failure: None,
            rendered: String::new(),
        })
    }

    /// Finds the stream and checks it, or creates it.
    async fn stream(&mut self, config: &Config, subject: Option<&Template>) -> Result<Stream, Error> {
        let name = &config.stream;
        let subjects = subject.map(wildcard).unwrap_or_default();
        let context: Context = ContextBuilder::new()
            .timeout(ANSWER)
            .build(self.client.clone());
        let looked_up = answered(&mut self.trouble, async {
            match context.get_stream(name).await {
                Ok(stream) => Ok(Some(stream)),
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(said)
                        if said.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(None)
                    }
                    _ => Err(error),
                },
            }
        });
        let operation = |verb| format!("{verb} stream {name} at {}", self.addresses);
        let found = looked_up
            .await
            .map_err(|reason| Error::retry(operation("look up"), reason))?;
        let stream = match found {
            Some(stream) => stream,
            None => answered(&mut self.trouble, context.create_stream(wanted(config, &subjects)))
                .await
                .map_err(|reason| Error::retry(operation("create"), reason))?,
        };
        let existing = &stream.cached_info().config;
        if let Some(problem) = unfit(existing, &subjects) {
            return Err(Error::misconfigured(operation("use"), problem));
        }
        if let Ok(most @ 1..) = usize::try_from(existing.max_message_size) {
            self.most = self.most.min(most);
        }
        Ok(stream)
    }

    /// The id of the stream's last message, empty when that has none; remembers what the next message has to expect.
    async fn last_place(&mut self, stream: &Stream) -> Result<Option<String>, Error> {
        let state = &stream.cached_info().state;
        self.expectation = Expectation::Sequence(state.last_sequence);
        if state.messages == 0 {
            return Ok(None);
        }
        let read = answered(&mut self.trouble, async {
            match stream.get_raw_message(state.last_sequence).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let message = read.await.map_err(|reason| {
            let name = &stream.cached_info().config.name;
            Error::retry(format!("read the last message of stream {name}"), reason)
        })?;
        Ok(message.map(|message| {
            let id = message.headers.get(NATS_MESSAGE_ID);
            id.map(|id| id.as_str().to_owned()).unwrap_or_default()
        }))
    }

    /// Publishes under `rendered`; what can never be taken is refused in its turn and leaves the chain as it was.
    async fn publish(&mut self, place: String, headers: HeaderMap, body: Bytes) -> Result<(), Error> {
        let size = wire_length(&headers) + body.len();
        if size > self.most {
            let most = self.most;
            self.window.refuse(format!("{size} bytes are more than the {most} that the server takes"));
            return Ok(());
        }
        let trouble = self.trouble.borrow().clone();
        if let Some(reason) = trouble {
            return Err(Error::retry(format!("publish to {}", self.addresses), reason));
        }
        let ticket = self.window.admit();
        let (subject, reply) = (self.rendered.clone(), format!("{}.{ticket}", self.inbox));
        let published = self
            .client
            .publish_with_reply_and_headers(subject, reply, headers, body);
        match published.await {
            Ok(()) => {
                self.expectation = Expectation::Id(place);
                Ok(())
            }
            Err(error) if error.kind() == PublishErrorKind::InvalidSubject => {
                self.window.retract();
                self.window.refuse(format!("{:?} is not a subject", self.rendered));
                Ok(())
            }
            Err(error) => Err(Error::retry(format!("publish to {}", self.addresses), error)),
        }
    }

    /// Waits for the next acknowledgement or failure, and takes whatever else has arrived.
    async fn listen(&mut self) {
        tokio::select! {
            biased;
            ack = self.acks.next() => self.hear(ack),
            complaint = complained(&mut self.trouble) => self.failure = Some(complaint),
            () = &mut self.patience => {
                self.failure = Some(format!("nothing was acknowledged for {} s", PATIENCE.as_secs()));
            }
        }
        while let Some(ack) = self.acks.next().now_or_never() {
            self.hear(ack);
            if self.failure.is_some() {
                break;
            }
        }
    }

    fn hear(&mut self, message: Option<Message>) {
        let Some(message) = message else {
            self.failure = Some("the connection is closed".into());
            return;
        };
        let ticket = message
            .subject
            .rsplit_once('.')
            .and_then(|(_, ticket)| ticket.parse().ok());
        let Some(ticket) = ticket else {
            return; // Not an answer to us.
        };
        match outcome(&message) {
            Ok(verdict) => self.window.decide(ticket, verdict),
            // What follows a failure in the chain fails too; only the first says why.
            Err(reason) => self.failure = self.failure.take().or(Some(reason)),
        }
    }
}

/// The stream that we create.
fn wanted(config: &Config, subjects: &str) -> stream::Config {
    stream::Config {
        name: config.stream.clone(),
        description: Some("Genesys Cloud events, written by tieline alone".into()),
        subjects: vec![subjects.to_owned()],
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_age: config.max_age,
        max_bytes: match i64::try_from(config.max_bytes.0) {
            Ok(bytes @ 1..) => bytes,
            _ => -1,
        },
        duplicate_window: match config.max_age {
            Duration::ZERO => DUPLICATE_WINDOW,
            age => DUPLICATE_WINDOW.min(age),
        },
        allow_direct: true,
        ..stream::Config::default()
    }
}

/// Why a stream that exists cannot be ours.
fn unfit(existing: &stream::Config, subjects: &str) -> Option<String> {
    if !existing.subjects.iter().any(|wide| covers(wide, subjects)) {
        let takes = existing.subjects.join(", ");
        return Some(format!("it takes {takes:?}, not {subjects}: add that subject, or name another stream"));
    }
    let faults = [
        (existing.no_ack, "it acknowledges nothing (no_ack)"),
        (existing.sealed, "it is sealed"),
        (existing.mirror.is_some(), "it is a mirror"),
    ];
    let (_, fault) = faults.into_iter().find(|(fault, _)| *fault)?;
    Some(fault.to_owned())
}

/// An answer of JetStream to a published message.
#[derive(Deserialize)]
struct Ack {
    error: Option<Failure>,
}

/// What JetStream says when it does not store a message.
#[derive(Deserialize)]
struct Failure {
    err_code: u64,
    description: String,
}

/// What became of a message, or why the connection cannot go on.
fn outcome(message: &Message) -> Result<Verdict, String> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err("no stream takes the subject, or JetStream is not up yet".into());
    }
    let ack: Ack = serde_json::from_slice(&message.payload)
        .map_err(|error| format!("an acknowledgement cannot be read: {error}"))?;
    let Some(failure) = ack.error else {
        return Ok(Verdict::Stored);
    };
    let Failure { err_code, description } = failure;
    match ErrorCode(err_code) {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Ok(Verdict::Refused { reason: description })
        }
        ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Err(format!(
            "the stream does not end where we left it: {description} ({err_code})"
        )),
        _ => Err(format!("{description} ({err_code})")),
    }
}

/// What an event of the connection means for its use, if it ends it.
fn complaint(event: Event) -> Option<String> {
    match event {
        Event::Disconnected | Event::Closed => Some("the connection is lost".into()),
        Event::ServerError(error) => Some(error.to_string()),
        Event::Connected
        | Event::LameDuckMode
        | Event::Draining
        | Event::SlowConsumer(_)
        | Event::ClientError(_) => None,
    }
}

/// Waits for the first complaint.
async fn complained(trouble: &mut watch::Receiver<Option<String>>) -> String {
    let seen = trouble.wait_for(Option::is_some).await;
    let said = seen.ok().and_then(|said| said.clone());
    said.unwrap_or_else(|| "the connection is closed".into())
}

/// The answer to a request, or the complaint that explains why none comes: a missing permission, a lost connection.
async fn answered<T, E: std::error::Error>(
    trouble: &mut watch::Receiver<Option<String>>,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    tokio::select! {
        answer = request => answer.map_err(|error| error.to_string()),
        complaint = complained(trouble) => Err(complaint),
    }
}

/// How many bytes headers take on the wire, which count against the server's limit.
fn wire_length(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| name.len() + value.as_str().len() + ": \r\n".len())
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// A header's value as the CloudEvents binding wants it: printable ASCII without space, `"` and `%`.
fn percent_encoded(value: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%');
    if value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    value.bytes().fold(String::new(), |mut text, byte| {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes whatever is written to it");
        }
        text
    }).into()
}

/// The reverse, for names and passwords in an address.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = &tail[if code.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
