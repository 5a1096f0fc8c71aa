//! The `[sink.nats]` table: what it says, and what in it cannot work.

use crate::mistake::Mistake;
use crate::sink::cloudevents::Mode;
use crate::sink::guarantee::Level;
use crate::sink::template::Template;
use crate::size::Size;
use async_nats::ServerAddr;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The subject of control events, `{prefix}` allowed.
    pub control_subject: String,
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
    /// A file with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// A file with a token.
    pub token_file: Option<PathBuf>,
    /// A user, whose password is in `password_file`.
    pub user: Option<String>,
    /// The file with the password of `user`.
    pub password_file: Option<PathBuf>,
    /// An authority to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A client certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file` (PEM).
    pub key_file: Option<PathBuf>,
    /// The JetStream domain.
    pub domain: Option<String>,
    /// What the subjects of answers begin with.
    pub inbox_prefix: Option<String>,
    /// The server's monitoring address.
    pub monitor: Option<String>,
    /// Which events the sink takes; all without it.
    pub filter: Option<String>,
    /// The least that the broker must give.
    pub required: Option<Level>,
}

/// More in flight than this is worth nothing and costs memory.
const WINDOW_MAX: usize = 65_536;

/// A name and a password.
pub(super) type User = (String, String);

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
        if self.template().is_ok()
            && let Err(problem) = self.control()
        {
            let fix = "write fixed tokens; {prefix} is the text with which subject begins";
            mistakes.push(Mistake::new("control_subject", problem, fix));
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
        mistakes.extend(self.access_mistakes());
        let is_http = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if self.monitor.as_ref().is_some_and(|url| !is_http(url) || url.contains('@')) {
            let fix = "write an address such as http://localhost:8222";
            mistakes.push(Mistake::new("monitor", "is not an http address", fix));
        }
        mistakes
    }

    /// What is wrong with how the server is told who comes.
    fn access_mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let in_url = matches!(self.servers(), Ok((_, Some(_))));
        let ways = [
            ("creds_file", self.creds_file.is_some()),
            ("nkey_file", self.nkey_file.is_some()),
            ("token_file", self.token_file.is_some()),
            ("user", self.user.is_some()),
            ("url", in_url),
        ];
        let mut given = ways.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let problem = format!("says who comes, as {second} does");
            mistakes.push(Mistake::new(first, problem, "keep one of them"));
        }
        let halves = [
            ("password_file", "user", self.user.is_some(), self.password_file.is_some()),
            ("key_file", "cert_file", self.cert_file.is_some(), self.key_file.is_some()),
        ];
        for (second, first, has_first, has_second) in halves {
            if has_first != has_second {
                let problem = format!("goes with {first}, and one of the two is missing");
                mistakes.push(Mistake::new(
                    second,
                    problem,
                    format!("name both {first} and {second}"),
                ));
            }
        }
        let names = [("domain", &self.domain, false), ("inbox_prefix", &self.inbox_prefix, true)];
        for (key, name, may_have_dots) in names {
            let is_plain = |name: &str| {
                let tokens: Vec<&str> = name.split('.').collect();
                let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '*' | '>' | '$');
                (may_have_dots || tokens.len() == 1)
                    && tokens.iter().all(|token| !token.is_empty() && token.chars().all(legal))
            };
            if name.as_deref().is_some_and(|name| !is_plain(name)) {
                let fix = "use letters, digits, - and _";
                mistakes.push(Mistake::new(key, "has a character that a subject cannot have", fix));
            }
        }
        mistakes
    }

    /// The servers, each without what its address says of a user, and that user: name and password, percent-decoded.
    pub(super) fn servers(&self) -> Result<(Vec<ServerAddr>, Option<User>), String> {
        let (mut servers, mut user) = (Vec::new(), None);
        for address in self.url.split(',') {
            let address: ServerAddr =
                address.trim().parse().map_err(|_| "is not an address of a NATS server")?;
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
    pub(super) fn addresses(&self) -> String {
        let (servers, _) = self.servers().unwrap_or_default();
        let bare: Vec<&str> = servers.iter().map(ServerAddr::as_url_str).collect();
        bare.join(", ")
    }

    /// Where control events go.
    pub(super) fn control(&self) -> Result<String, String> {
        let subject = self.template()?.control(&self.control_subject)?;
        if subject.split('.').any(str::is_empty) || subject.starts_with('$') {
            return Err("is not a subject".into());
        }
        if subject.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '*' | '>')) {
            return Err("has a character that a subject cannot have".into());
        }
        Ok(subject)
    }

    pub(super) fn template(&self) -> Result<Template, String> {
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

/// A name or a password as it stands in an address, decoded.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_table_has_no_mistakes() {
        assert_eq!(config().mistakes(), []);
        let mut several = config();
        several.url = "tls://a.example.com, nats://b.example.com:4333,c".into();
        several.subject = "events".into();
        assert_eq!(several.mistakes(), []);
        assert_eq!(several.addresses(), "tls://a.example.com, nats://b.example.com:4333, nats://c");
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let config = Config {
            url: "http://localhost".into(),
            stream: "A.B".into(),
            subject: "{key}.{queue}".into(),
            replicas: 0,
            window: 0,
            max_bytes: Size(u64::MAX),
            ..config()
        };
        insta::assert_snapshot!(told(&config), @r"
        url: is not an address of a NATS server; write addresses such as nats://localhost:4222 or tls://nats.example.com
        subject: has the unknown placeholder {queue}; write fixed tokens, then {family} and {key}, such as genesys.{family}.{key}
        stream: is not the name of a stream; use letters, digits, - and _
        window: is not between 1 and 65536; 256 suits most servers
        replicas: is not between 1 and 5; 1 for a single server, 3 for a cluster
        max_bytes: is more than a stream can keep; 0B is without bound
        ");
    }

    #[test]
    fn a_subject_stays_where_the_operator_put_it() {
        let problem = |subject: &str| {
            let subject = subject.into();
            Config { subject, ..config() }.template().err()
        };
        for subject in ["", ".a", "a..{key}", "a.", "a.*", "a.>", "a b", "{family}", "$JS.{key}"] {
            assert!(problem(subject).is_some(), "{subject}");
        }
        assert_eq!(problem("a.q-{key}.{family}"), None);
    }

    #[test]
    fn a_password_in_the_address_is_used_and_never_shown() {
        let mut config = config();
        config.url = "nats://us%40er:hu%3Ash@localhost:4222".into();
        assert_eq!(config.mistakes(), []);
        let (servers, user) = config.servers().expect("good addresses");
        assert_eq!(user, Some(("us@er".into(), "hu:sh".into())));
        assert_eq!(servers[0].as_url_str(), "nats://localhost:4222");
        let shown = format!("{config:?} {:?}", config.clone().build("https://api.example.com"));
        assert!(!shown.contains("hu"), "{shown}");
    }

    #[test]
    fn who_comes_is_said_once_and_whole() {
        let config = Config {
            creds_file: Some("creds".into()),
            token_file: Some("token".into()),
            password_file: Some("password".into()),
            cert_file: Some("cert".into()),
            domain: Some("a.b".into()),
            inbox_prefix: Some("_INBOX.>".into()),
            ..config()
        };
        insta::assert_snapshot!(told(&config), @r"
        creds_file: says who comes, as token_file does; keep one of them
        password_file: goes with user, and one of the two is missing; name both user and password_file
        key_file: goes with cert_file, and one of the two is missing; name both cert_file and key_file
        domain: has a character that a subject cannot have; use letters, digits, - and _
        inbox_prefix: has a character that a subject cannot have; use letters, digits, - and _
        ");
    }

    fn told(config: &Config) -> String {
        let lines = config.mistakes().into_iter();
        let lines =
            lines.map(|mistake| format!("{}: {}; {}\n", mistake.key, mistake.problem, mistake.fix));
        lines.collect()
    }

    fn config() -> Config {
        Config {
            url: "nats://localhost:4222".into(),
            stream: "GENESYS".into(),
            subject: "genesys.{family}.{key}".into(),
            control_subject: "{prefix}.control".into(),
            mode: Mode::Binary,
            replicas: 1,
            max_age: Duration::from_secs(600),
            max_bytes: Size(0),
            window: 256,
            creds_file: None,
            nkey_file: None,
            token_file: None,
            user: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            domain: None,
            inbox_prefix: None,
            monitor: None,
            filter: None,
            required: None,
        }
    }
}
