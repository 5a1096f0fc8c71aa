//! The `[genesys]` table: which organisation, which client, which queues and topics.

use super::{Error, queues};
use crate::mistake::Mistake;
use crate::size::Size;
use reqwest::Url;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Where the platform is and what is wanted of it; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The region's domain.
    pub region: Option<String>,
    /// The login host's address, instead of a region.
    pub login_url: Option<String>,
    /// The API host's address, instead of a region.
    pub api_url: Option<String>,
    /// The OAuth client's id, unless the secret's source holds it.
    pub client_id: Option<String>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Ids, names, or `["all"]`.
    pub queues: Vec<String>,
    /// Topics in the platform's spelling, with `{id}` for each queue.
    pub topics: Vec<String>,
    /// Whether plain http and ws are allowed.
    pub allow_insecure: bool,
    /// How long a REST call or a handshake may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The largest frame taken from the socket.
    pub frame_max: Size,
}

/// What is subscribed to; the one part of the table that may change while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// As `Config::queues`.
    pub queues: Vec<String>,
    /// As `Config::topics`.
    pub topics: Vec<String>,
}

/// The longest topic that the platform takes, in characters.
const TOPIC_LENGTH_MAX: usize = 200;

/// A conversation with a few participants is larger than a few kilobytes.
const FRAME_MAX_MIN: Size = Size(64 << 10);

/// An id's length is all that counts where a topic is measured.
const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

impl Config {
    /// What is subscribed to.
    pub fn choice(&self) -> Choice {
        Choice { queues: self.queues.clone(), topics: self.topics.clone() }
    }

    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if let Err(wrong) = self.addresses() {
            mistakes.extend(wrong);
        }
        if self.client_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            mistakes.push(Mistake::new(
                "client_id",
                "is empty",
                "write the OAuth client's id, or leave the key out where the secret's source holds it",
            ));
        }
        if self.request_timeout.is_zero() {
            mistakes.push(Mistake::new(
                "request_timeout",
                "is zero, so that no call could be answered",
                "write \"15s\"",
            ));
        }
        if self.frame_max < FRAME_MAX_MIN {
            mistakes.push(Mistake::new(
                "frame_max",
                "is so small that ordinary conversations would end the session",
                "write \"8MiB\", and never less than \"64KiB\"",
            ));
        }
        mistakes.extend(self.queue_mistakes());
        if self.topics.is_empty() {
            mistakes.push(Mistake::new(
                "topics",
                "is empty, so that nothing would be heard",
                "name topics such as \"v2.routing.queues.{id}.conversations\"",
            ));
        }
        mistakes.extend(self.topics.iter().filter_map(|topic| topic_mistake(topic)));
        mistakes
    }

    /// The API host's address without a slash at its end: the `source` of every event.
    pub fn api_url(&self) -> String {
        let url = self.urls().map(|(_, api)| api.to_string()).unwrap_or_default();
        url.trim_end_matches('/').to_owned()
    }

    /// The login host's and the API host's addresses.
    pub(super) fn urls(&self) -> Result<(Url, Url), Error> {
        self.addresses().map_err(|wrong| {
            let first = wrong.into_iter().next();
            let first = first.unwrap_or_else(|| Mistake::new("region", "is missing", ""));
            Error::Config { key: first.key, problem: first.problem }
        })
    }

    fn addresses(&self) -> Result<(Url, Url), Vec<Mistake>> {
        match (&self.region, &self.login_url, &self.api_url) {
            (None, None, None) => Err(vec![Mistake::new(
                "region",
                "is missing, so that the platform cannot be found",
                "write the region's domain, such as \"mypurecloud.ie\", or login_url and api_url",
            )]),
            (Some(region), None, None) => region_urls(region).map_err(|mistake| vec![mistake]),
            (Some(_), _, _) => Err(vec![Mistake::new(
                "region",
                "stands beside login_url or api_url, and they may name different places",
                "keep either region, or both login_url and api_url",
            )]),
            (None, Some(_), None) => Err(vec![both("api_url")]),
            (None, None, Some(_)) => Err(vec![both("login_url")]),
            (None, Some(login), Some(api)) => {
                match (self.address("login_url", login), self.address("api_url", api)) {
                    (Ok(login), Ok(api)) => Ok((login, api)),
                    (login, api) => Err(login.err().into_iter().chain(api.err()).collect()),
                }
            }
        }
    }

    fn address(&self, key: &'static str, text: &str) -> Result<Url, Mistake> {
        const FIX: &str = "write an address such as \"https://api.mypurecloud.com\"";
        let url = Url::parse(text).map_err(|_| Mistake::new(key, "is not a URL", FIX))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Mistake::new(key, "is not an http or https URL", FIX));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Mistake::new(key, "holds a user or password", FIX));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Mistake::new(key, "has a query or fragment", FIX));
        }
        if url.scheme() == "http" && !self.allow_insecure {
            return Err(Mistake::new(
                key,
                "is plain http, over which the client secret could be read",
                "use https; for the simulator on loopback set allow_insecure = true",
            ));
        }
        Ok(url)
    }

    fn queue_mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.queues.iter().any(|queue| queue.trim().is_empty()) {
            mistakes.push(Mistake::new(
                "queues",
                "holds an empty name",
                "write ids or names of queues, or [\"all\"]",
            ));
        }
        let is_for_queues = |topic: &String| topic.contains(queues::PLACEHOLDER);
        if self.queues.is_empty() && self.topics.iter().any(is_for_queues) {
            mistakes.push(Mistake::new(
                "queues",
                "is empty, but topics with {id} are asked for, each of which is for a queue",
                "write ids or names of queues, or [\"all\"]",
            ));
        }
        if self.queues.len() > 1 && self.queues.iter().any(|queue| queue == queues::ALL) {
            mistakes.push(Mistake::new(
                "queues",
                "names single queues beside \"all\"",
                "write [\"all\"] alone, or leave it out",
            ));
        }
        mistakes
    }
}

fn region_urls(region: &str) -> Result<(Url, Url), Mistake> {
    let mistake = || {
        Mistake::new(
            "region",
            "is not a domain",
            "write it as \"mypurecloud.ie\" or \"usw2.pure.cloud\", without scheme and without \"api.\"",
        )
    };
    let is_domain = region.contains('.')
        && region.split('.').all(|label| !label.is_empty())
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let has_host = ["api.", "login.", "apps.", "www."].iter().any(|host| region.starts_with(host));
    if !is_domain || has_host {
        return Err(mistake());
    }
    let url = |host| Url::parse(&format!("https://{host}.{region}")).map_err(|_| mistake());
    Ok((url("login")?, url("api")?))
}

fn both(key: &'static str) -> Mistake {
    Mistake::new(
        key,
        "is missing, although the other address is given",
        "give both login_url and api_url, or region alone",
    )
}

/// What is wrong with one topic.
fn topic_mistake(topic: &str) -> Option<Mistake> {
    let mistake = |problem: String, fix: &str| Some(Mistake::new("topics", problem, fix));
    if topic.starts_with('/') || topic.contains("://") {
        return mistake(
            format!(
                "holds {topic:?}, which is a path of the REST API and not a topic: nothing is pushed there"
            ),
            "the events of queues come on these: topics = [\"v2.routing.queues.{id}.conversations\", \
             \"v2.routing.queues.{id}.users\", \"v2.analytics.queues.{id}.observations\"]; where a sink is to have them alone, whatever \
             else is subscribed: filter = 'event.type.contains(\".queues.\")'",
        );
    }
    if !topic.to_ascii_lowercase().starts_with("v2.") || topic.contains(char::is_whitespace) {
        return mistake(
            format!("holds {topic:?}, which is not the name of a topic"),
            "write it as the platform does, such as \"v2.routing.queues.{id}.users\"",
        );
    }
    let expanded = topic.replace(queues::PLACEHOLDER, NO_ID);
    if expanded.contains(['{', '}']) {
        return mistake(
            format!("holds {topic:?}, in which something other than {{id}} is in braces"),
            "write {id} where the queue's id belongs; other ids are written out",
        );
    }
    if expanded.len() > TOPIC_LENGTH_MAX {
        return mistake(
            format!(
                "holds a topic of {} characters with its id, and the platform takes {TOPIC_LENGTH_MAX}: {topic:?}",
                expanded.len()
            ),
            "split the combined topic (prefix?a&b) in two",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            region: Some("mypurecloud.ie".into()),
            login_url: None,
            api_url: None,
            client_id: Some("client".into()),
            ca_file: None,
            queues: vec!["all".into()],
            topics: vec!["v2.routing.queues.{id}.conversations".into()],
            allow_insecure: false,
            request_timeout: Duration::from_secs(15),
            frame_max: Size(8 << 20),
        }
    }

    fn urls(login: Option<&str>, api: Option<&str>) -> Config {
        Config {
            region: None,
            login_url: login.map(str::to_owned),
            api_url: api.map(str::to_owned),
            ..config()
        }
    }

    fn keys(config: &Config) -> Vec<&'static str> {
        config.mistakes().iter().map(|mistake| mistake.key).collect()
    }

    #[test]
    fn a_region_names_both_hosts() {
        let (login, api) = config().urls().expect("addresses");
        assert_eq!(login.as_str(), "https://login.mypurecloud.ie/");
        assert_eq!(api.as_str(), "https://api.mypurecloud.ie/");
        assert!(config().mistakes().is_empty());
        for region in ["https://mypurecloud.ie", "api.mypurecloud.ie", "ireland", "a..b", ""] {
            let config = Config { region: Some(region.into()), ..config() };
            assert_eq!(keys(&config), ["region"], "{region}");
        }
    }

    #[test]
    fn a_region_or_both_addresses_are_wanted() {
        assert_eq!(keys(&urls(None, None)), ["region"]);
        assert_eq!(keys(&urls(Some("https://a"), None)), ["api_url"]);
        assert_eq!(keys(&urls(None, Some("https://a"))), ["login_url"]);
        assert!(keys(&urls(Some("https://a"), Some("https://b/base"))).is_empty());
        let all = Config { region: Some("mypurecloud.ie".into()), ..urls(Some("https://a"), None) };
        assert_eq!(keys(&all), ["region"]);
    }

    #[test]
    fn plain_http_must_be_allowed() {
        let mut config = urls(Some("http://127.0.0.1:1"), Some("http://127.0.0.1:1"));
        assert_eq!(keys(&config), ["login_url", "api_url"]);
        let refused = config.urls().expect_err("plain http");
        assert!(refused.to_string().contains("login_url is plain http"));
        config.allow_insecure = true;
        assert!(keys(&config).is_empty());
    }

    #[test]
    fn a_topic_is_not_a_path_and_not_too_long() {
        for (topic, problem) in [
            ("/api/v2/analytics/events", "path of the REST API"),
            ("https://api.x/v2.y", "path of the REST API"),
            ("routing.queues", "not the name of a topic"),
            ("v2.a b", "not the name of a topic"),
            ("v2.users.{userId}.presence", "other than {id}"),
        ] {
            let mistake = topic_mistake(topic).expect(topic);
            assert!(mistake.problem.contains(problem), "{}", mistake.problem);
        }
        let long = format!("v2.{{id}}.{}", "x".repeat(160));
        assert_eq!(topic_mistake(&long), None);
        assert!(topic_mistake(&format!("{long}x")).is_some());
    }

    #[test]
    fn topics_for_queues_need_queues() {
        let none = Config { queues: Vec::new(), ..config() };
        assert_eq!(keys(&none), ["queues"]);
        let plain = Config {
            topics: vec!["v2.analytics.conversations.details.jobs.availability".into()],
            ..none.clone()
        };
        assert!(keys(&plain).is_empty());
        let silent = Config { topics: Vec::new(), ..none };
        assert_eq!(keys(&silent), ["topics"]);
        let mixed = Config { queues: vec!["all".into(), "Sales".into()], ..config() };
        assert_eq!(keys(&mixed), ["queues"]);
    }
}
