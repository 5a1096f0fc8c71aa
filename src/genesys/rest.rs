//! The platform's REST calls: buy a token, make a channel, give it topics, list queues.
//!
//! Each failure is a `Refusal` with its reason; when to try again is the lifecycle's to say.

use super::Error;
use super::config::Config;
use super::refusal::{LONGEST, answered_at, refusal};
use super::refusal::{retry_after, scrub, unanswered};
use super::snapshots::{self, Snapshot};
use super::tls::Trust;
use super::wire;
use crate::clock::Clock;
use crate::event::Topic;
use crate::lifecycle::{Call, Reason, Refusal, RejectedTopic};
use crate::proxy::Proxies;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// No answer that we can use is larger.
const BODY_MAX: usize = 4 << 20;

/// How many queues a page holds; the platform's default of 25 would cost four times the calls.
const PAGE_SIZE: &str = "100";

/// More pages than any organisation has queues for; a bound on a listing that never ends.
pub(super) const PAGES_MAX: u32 = 1_000;

/// What a channel lives when the platform does not say, or says it in a form we cannot read.
const CHANNEL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Where the platform is.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    http: Client,
    login: Url,
    api: Url,
    proxies: Proxies,
    clock: Clock,
    /// What the platform said last of its limit on calls, until it is taken.
    allowance: Arc<Mutex<Option<Allowance>>>,
}

/// How many calls are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) allowed: u32,
    pub(super) left: u32,
    pub(super) resets_in: Duration,
}

/// A channel as the platform lists it.
pub(super) struct Listed {
    /// Absent where another token made it.
    pub(super) channel: Option<Channel>,
    pub(super) expires_in: Duration,
}

/// A channel's credentials.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) id: SecretString,
    pub(super) connect_uri: SecretString,
}

/// A token with its life from now.
pub(super) struct Token {
    pub(super) token: SecretString,
    pub(super) expires_in: Duration,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Rest {
    pub(super) fn new(
        config: &Config,
        trust: &Trust,
        proxies: Proxies,
        clock: Clock,
    ) -> Result<Self, Error> {
        let (login, api) = config.urls()?;
        let secure = [&login, &api].iter().any(|url| url.scheme() == "https");
        let http = Client::builder()
            .user_agent(concat!("tieline/", env!("CARGO_PKG_VERSION")))
            .timeout(config.request_timeout)
            // A redirect would carry the client's secret to another address.
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!config.allow_insecure);
        let http = proxies.rule(trust.rest(http, secure)?);
        let http = http.build().map_err(|source| Error::Client { source })?;
        Ok(Self { http, login, api, proxies, clock, allowance: Arc::default() })
    }

    /// Buys a token with the client's id and secret.
    pub(super) async fn token(
        &self,
        client_id: &str,
        client_secret: &SecretString,
    ) -> Result<Token, Refusal> {
        const CALL: &str = "POST /oauth/token";
        let request = self
            .http
            .post(below(&self.login, &["oauth", "token"]))
            .basic_auth(client_id, Some(client_secret.expose_secret()))
            .form(&[("grant_type", "client_credentials")]);
        let answer = self.send(CALL, request).await?;
        if !answer.status.is_success() {
            return Err(self.login_refused(CALL, &answer, client_secret.expose_secret()));
        }
        let token: wire::Token = read(CALL, &answer)?;
        let expires_in = Duration::from_secs(token.expires_in).min(LONGEST);
        Ok(Token { token: token.access_token, expires_in })
    }

    /// Makes a channel.
    pub(super) async fn open_channel(
        &self,
        token: &SecretString,
    ) -> Result<(Channel, Duration), Refusal> {
        const CALL: &str = "POST /api/v2/notifications/channels";
        let url = below(&self.api, &["api", "v2", "notifications", "channels"]);
        // The platform's gateway wants a length even where there is no body.
        let request = self.http.post(url).body(Vec::new());
        let answer = self.call(CALL, request, token, &[], Call::Rest).await?;
        let channel: wire::Channel = read(CALL, &answer)?;
        let life = self.life(&answer, channel.expires.as_deref());
        let channel = Channel { id: channel.id, connect_uri: channel.connect_uri };
        Ok((channel, life))
    }

    /// Lists the client's channels.
    pub(super) async fn channels(&self, token: &SecretString) -> Result<Vec<Listed>, Refusal> {
        const CALL: &str = "GET /api/v2/notifications/channels";
        let mut url = below(&self.api, &["api", "v2", "notifications", "channels"]);
        url.query_pairs_mut().append_pair("includechannels", "oauthclient");
        let answer = self.call(CALL, self.http.get(url), token, &[], Call::Rest).await?;
        let list: wire::Channels = read(CALL, &answer)?;
        let listed = list.entities.into_iter().map(|entry| Listed {
            expires_in: self.life(&answer, entry.expires.as_deref()),
            channel: entry
                .id
                .zip(entry.connect_uri)
                .map(|(id, connect_uri)| Channel { id, connect_uri }),
        });
        Ok(listed.collect())
    }

    /// What the platform has said of its limit on calls since this was asked last.
    pub(super) fn take_allowance(&self) -> Option<Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Replaces the channel's topics. Topics that are refused do not keep the others from being subscribed to.
    pub(super) async fn replace_topics(
        &self,
        token: &SecretString,
        channel: &SecretString,
        topics: &[Box<str>],
    ) -> Result<Vec<RejectedTopic>, Refusal> {
        const CALL: &str = "PUT /api/v2/notifications/channels/{id}/subscriptions";
        self.subscribe(CALL, Method::PUT, token, channel, topics).await
    }

    /// Adds to the channel's topics. Topics that are refused do not keep the others from being subscribed to.
    pub(super) async fn add_topics(
        &self,
        token: &SecretString,
        channel: &SecretString,
        topics: &[Box<str>],
    ) -> Result<Vec<RejectedTopic>, Refusal> {
        const CALL: &str = "POST /api/v2/notifications/channels/{id}/subscriptions";
        self.subscribe(CALL, Method::POST, token, channel, topics).await
    }

    async fn subscribe(
        &self,
        call: &str,
        method: Method,
        token: &SecretString,
        channel: &SecretString,
        topics: &[Box<str>],
    ) -> Result<Vec<RejectedTopic>, Refusal> {
        let id = channel.expose_secret();
        let path = ["api", "v2", "notifications", "channels", id, "subscriptions"];
        let mut url = below(&self.api, &path);
        url.query_pairs_mut().append_pair("ignoreErrors", "true");
        let topics: Vec<_> = topics.iter().map(|id| wire::Subscription { id }).collect();
        let request = self.http.request(method, url).json(&topics);
        let answer = self.call(call, request, token, &[id], Call::Channel).await?;
        let answer: wire::Subscriptions = read(call, &answer)?;
        Ok(answer.entities.into_iter().filter_map(rejected).collect())
    }

    /// A page of the queues that the token may see.
    pub(super) async fn queues(
        &self,
        token: &SecretString,
        number: u32,
    ) -> Result<wire::QueuePage, Refusal> {
        const CALL: &str = "GET /api/v2/routing/queues";
        let mut url = below(&self.api, &["api", "v2", "routing", "queues"]);
        url.query_pairs_mut()
            .append_pair("pageSize", PAGE_SIZE)
            .append_pair("pageNumber", &number.to_string());
        let answer = self.call(CALL, self.http.get(url), token, &[], Call::Rest).await?;
        read(CALL, &answer)
    }

    /// How these queues' observations stand now.
    pub(super) async fn observations(
        &self,
        token: &SecretString,
        topics: &[Topic],
    ) -> Result<Vec<Snapshot>, Refusal> {
        const CALL: &str = "POST /api/v2/analytics/queues/observations/query";
        let path = ["api", "v2", "analytics", "queues", "observations", "query"];
        let request = self.http.post(below(&self.api, &path)).json(&snapshots::query(topics));
        let answer = self.call(CALL, request, token, &[], Call::Rest).await?;
        Ok(snapshots::observations(topics, &read(CALL, &answer)?))
    }

    /// A page of those who are members of the queue that is the topic's key, and whether it is the last.
    pub(super) async fn members(
        &self,
        token: &SecretString,
        topic: &Topic,
        number: u32,
    ) -> Result<(Vec<wire::Member>, bool), Refusal> {
        const CALL: &str = "GET /api/v2/routing/queues/{id}/members";
        let path = ["api", "v2", "routing", "queues", topic.key(), "members"];
        let mut url = below(&self.api, &path);
        url.query_pairs_mut()
            .append_pair("pageSize", PAGE_SIZE)
            .append_pair("pageNumber", &number.to_string());
        let answer = self.call(CALL, self.http.get(url), token, &[], Call::Channel).await?;
        let page: wire::MemberPage = read(CALL, &answer)?;
        let is_last = page.entities.is_empty() || page.next_uri.is_none();
        if number >= PAGES_MAX && !is_last {
            let detail = format!("{CALL}: more than {PAGES_MAX} pages");
            return Err(refusal(Reason::Unexpected, detail));
        }
        Ok((page.entities, is_last))
    }

    /// The catalogue of topics.
    pub(super) async fn catalogue(
        &self,
        token: &SecretString,
    ) -> Result<Vec<wire::Offered>, Refusal> {
        const CALL: &str = "GET /api/v2/notifications/availabletopics";
        let mut url = below(&self.api, &["api", "v2", "notifications", "availabletopics"]);
        url.query_pairs_mut().append_pair("expand", "description,transports,requiresPermissions");
        let answer = self.call(CALL, self.http.get(url), token, &[], Call::Rest).await?;
        read::<wire::Catalogue>(CALL, &answer).map(|catalogue| catalogue.entities)
    }

    /// A call on a token's authority; any status but success is refused. `hidden` is what the answer might repeat.
    async fn call(
        &self,
        call: &str,
        request: RequestBuilder,
        token: &SecretString,
        hidden: &[&str],
        kind: Call,
    ) -> Result<Answer, Refusal> {
        let token = token.expose_secret();
        let answer = self.send(call, request.bearer_auth(token)).await?;
        if let Some(said) = allowance(&answer) {
            *self.allowance.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        }
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body: wire::ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
        let context = body.context_id.as_deref().or(answer.header("inin-correlation-id"));
        let mut detail = format!("{call} answered {}", answer.status.as_u16());
        for (before, words) in [(" ", body.code.as_deref()), (": ", body.message.as_deref())] {
            if let Some(words) = words.filter(|words| !words.is_empty()) {
                detail.push_str(before);
                detail.push_str(words);
            }
        }
        if let Some(context) = context {
            detail.push_str(&format!(" (contextId {context})"));
        }
        let mut hidden = hidden.to_vec();
        hidden.push(token);
        Err(Refusal {
            reason: kind.refused_by(answer.status.as_u16()),
            retry_after: self.retry_after(&answer),
            detail: scrub(&detail, &hidden),
        })
    }

    async fn send(&self, call: &str, request: RequestBuilder) -> Result<Answer, Refusal> {
        let failed = |error| unanswered(call, error, &self.proxies);
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_MAX {
                let detail = format!("{call}: the answer is larger than {BODY_MAX} bytes");
                return Err(refusal(Reason::Unexpected, detail));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }

    fn login_refused(&self, call: &str, answer: &Answer, client_secret: &str) -> Refusal {
        let body: wire::OAuthError = serde_json::from_slice(&answer.body).unwrap_or_default();
        let status = answer.status.as_u16();
        let is_client = body.error.as_deref() == Some("invalid_client");
        let reason = match status {
            400 if is_client => Reason::CredentialsRejected,
            other => Call::Login.refused_by(other),
        };
        let code = body.error.unwrap_or_default();
        let words = body.description.or(body.error_description);
        let words = words.unwrap_or_default();
        let mut detail = format!("{call} answered {status} {code}: {words}");
        if let Some(context) = answer.header("inin-correlation-id") {
            detail.push_str(&format!(" (contextId {context})"));
        }
        Refusal {
            reason,
            retry_after: self.retry_after(answer),
            detail: scrub(&detail, &[client_secret]),
        }
    }

    fn retry_after(&self, answer: &Answer) -> Option<Duration> {
        let now = self.clock.timestamp();
        retry_after(answer.header(RETRY_AFTER), answer.header(DATE), now)
    }

    /// A channel's life from now, measured by the platform's own clock so that ours may be wrong.
    fn life(&self, answer: &Answer, expires: Option<&str>) -> Duration {
        let now = answered_at(answer.header(DATE), self.clock.timestamp());
        expires
            .and_then(|expires| humantime::parse_rfc3339(expires).ok())
            .and_then(|expires| {
                let now = now.duration_since(UNIX_EPOCH).ok()?;
                expires.duration_since(UNIX_EPOCH).ok()?.checked_sub(now)
            })
            .unwrap_or(CHANNEL_LIFE)
            .min(LONGEST)
    }
}

/// `base` with more segments; what is not fit for a path is escaped.
fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn read<T: DeserializeOwned>(call: &str, answer: &Answer) -> Result<T, Refusal> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let problem = wire::place(&error, "what was asked for");
        let status = answer.status.as_u16();
        let detail = format!("{call} answered {status}, but {problem}");
        refusal(Reason::Unexpected, detail)
    })
}

/// What an answer says of the limit on calls, where it says so.
fn allowance(answer: &Answer) -> Option<Allowance> {
    let number = |name: &str| answer.header(name)?.trim().parse::<u32>().ok();
    let allowed = number("inin-ratelimit-allowed")?;
    let count = number("inin-ratelimit-count")?;
    let resets_in = Duration::from_secs(number("inin-ratelimit-reset")?.into()).min(LONGEST);
    Some(Allowance { allowed, left: allowed.saturating_sub(count), resets_in })
}

/// A topic that is not permitted, with the platform's words.
fn rejected(topic: wire::SubscribedTopic) -> Option<RejectedTopic> {
    let state = topic.state.as_deref().unwrap_or("Permitted");
    if state.eq_ignore_ascii_case("Permitted") {
        return None;
    }
    let mut reason = match topic.rejection_reason {
        Some(reason) if !reason.is_empty() => reason,
        Some(_) | None => state.to_owned(),
    };
    if let Some(missing) = topic.missing_permissions.filter(|all| !all.is_empty()) {
        reason.push_str(&format!(" (missing permissions: {})", missing.join(", ")));
    }
    Some(RejectedTopic { topic: Topic::new(&topic.id), reason: scrub(&reason, &[]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    /// What an answer with these headers says of the limit.
    fn said(headers: &[(&'static str, &'static str)]) -> Option<Allowance> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        allowance(&Answer { status: StatusCode::OK, headers: headers.collect(), body: Vec::new() })
    }

    #[test]
    fn the_limit_on_calls_is_read_from_its_three_headers_and_from_no_less() {
        let [count, allowed, reset] =
            ["inin-ratelimit-count", "inin-ratelimit-allowed", "inin-ratelimit-reset"];
        let all = [(count, "171"), (allowed, " 180 "), (reset, "23")];
        let expected = Allowance { allowed: 180, left: 9, resets_in: Duration::from_secs(23) };
        assert_eq!(said(&all), Some(expected));
        for lacking in 0..all.len() {
            let mut fewer = all.to_vec();
            fewer.remove(lacking);
            assert_eq!(said(&fewer), None);
        }
        for nonsense in ["", "-1", "many", "1.5", "99999999999"] {
            assert_eq!(said(&[(count, nonsense), (allowed, "300"), (reset, "1")]), None);
        }
        // More were made than are allowed, and a reset that no window lasts.
        let late = said(&[(count, "412"), (allowed, "300"), (reset, "4294967295")]);
        assert_eq!(late, Some(Allowance { allowed: 300, left: 0, resets_in: LONGEST }));
    }
}
