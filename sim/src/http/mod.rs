//! HTTP: login, API, the socket's handshake and the control calls, all on one port.
//!
//! This file finds the handler and applies what holds for all calls: throttles, tokens, budgets,
//! the correlation id. Handlers know nothing of hyper.

mod analytics;
mod available;
mod channels;
mod control;
mod handshake;
mod identity;
mod oauth;
mod queues;
mod reply;
pub(crate) mod said;
mod subscriptions;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::clock;
use crate::platform::{MINUTE, Platform, Target};

pub(crate) use self::control::{Asked, CALLS};
pub(crate) use self::reply::{Problem, Reply};

/// The largest body the platform takes, in bytes.
const BODY_MAX: usize = 512_000;

/// One request, read whole.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

/// Who calls: a token that is good, and the client it was issued for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) token: String,
    pub(crate) client_id: String,
}

/// What a handler answers.
pub(crate) type Answer = Result<Reply, Problem>;

impl Call {
    /// The first value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::new(400, "bad.request", format!("invalid JSON: {error}")))
    }

    /// A number in the query, or a default.
    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, Problem> {
        match self.query(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|&number| number > 0).ok_or_else(|| {
                Problem::new(400, "invalid.value", format!("{name} must be a positive number"))
            }),
        }
    }
}

/// Answers one request.
pub(crate) async fn handle(
    platform: Arc<Platform>,
    mut request: http::Request<Incoming>,
) -> http::Response<Full<Bytes>> {
    let correlation_id = platform.state().uuid();
    if let Some(id) = request.uri().path().strip_prefix("/channels/") {
        let id = id.to_owned();
        let answer = match hold(&platform, Target::Handshake).await {
            Ok(()) => handshake::answer(&platform, &id, &correlation_id, &mut request),
            Err(problem) => Err(problem),
        };
        return match answer {
            Ok(response) => response,
            Err(problem) => problem.reply(&correlation_id).response(&correlation_id),
        };
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = match read(request).await {
        Ok(call) => route(&platform, &call).await,
        Err(problem) => Err(problem),
    };
    let response =
        answer.unwrap_or_else(|problem| problem.reply(&correlation_id)).response(&correlation_id);
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

async fn read(request: http::Request<Incoming>) -> Result<Call, Problem> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(|_| Problem::new(413, "payload.too.large", "the body is too large"))?
        .to_bytes();
    Ok(Call {
        method: head.method,
        path: head.uri.path().trim_end_matches('/').to_owned(),
        query: oauth::form(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body,
    })
}

async fn route(platform: &Arc<Platform>, call: &Call) -> Answer {
    let path: Vec<&str> = call.path.split('/').skip(1).collect();
    match path.as_slice() {
        ["sim", name] => control::answer(platform, call, name),
        ["oauth", "token"] => {
            hold(platform, Target::Token).await?;
            oauth::token(platform, call)
        }
        ["api", "v2", rest @ ..] => {
            hold(platform, Target::Rest).await?;
            api(platform, call, rest)
        }
        _ => Err(Problem::not_found()),
    }
}

fn api(platform: &Arc<Platform>, call: &Call, path: &[&str]) -> Answer {
    let (caller, budget) = authenticate(platform, call)?;
    if budget.is_overdrawn() {
        let dated = platform.state().switches.retry_after;
        return Err(Problem::throttled(429, Some(budget.reset), dated).budget(budget));
    }
    let answer = match path {
        ["notifications", "channels"] => channels::collection(platform, call, &caller),
        ["notifications", "channels", id] => channels::one(platform, call, &caller, id),
        ["notifications", "channels", id, "subscriptions"] => {
            subscriptions::answer(platform, call, &caller, id)
        }
        ["notifications", "availabletopics"] => available::list(call),
        ["routing", "queues"] => queues::list(platform, call),
        ["routing", "queues", id] => queues::one(platform, call, id),
        ["routing", "queues", id, "members" | "users"] => queues::members(platform, call, id),
        ["analytics", "queues", "observations", "query"] => analytics::observations(platform, call),
        ["analytics", "conversations", "details", "query"] => analytics::details(platform, call),
        ["tokens", "me"] => identity::me(platform, call, &caller),
        ["organizations", "me"] => identity::my_organization(platform, call),
        ["oauth", "clients", id] => identity::client(platform, call, id),
        ["oauth", "clients", id, "secret"] => identity::regenerate(platform, call, id),
        _ => Err(Problem::not_found()),
    };
    match answer {
        Ok(reply) => Ok(reply.budget(budget)),
        Err(problem) => Err(problem.budget(budget)),
    }
}

fn authenticate(
    platform: &Platform,
    call: &Call,
) -> Result<(Caller, crate::platform::Budget), Problem> {
    let Some(header) = call.header("authorization") else {
        return Err(Problem::new(
            401,
            "authentication.required",
            "No authentication bearer token specified in authorization header.",
        ));
    };
    let token = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "));
    let now = clock::now();
    let mut state = platform.state();
    let grant = token
        .and_then(|token| state.tokens.get_mut(token))
        .filter(|grant| grant.expires > now)
        .ok_or_else(|| Problem::new(401, "bad.credentials", "Invalid login credentials."))?;
    let budget = grant.usage.count(now, platform.options.rate_limit, MINUTE);
    let client_id = grant.client_id.clone();
    Ok((Caller { token: token.unwrap_or_default().to_owned(), client_id }, budget))
}

/// Keeps a request waiting as a throttle asks, and answers the error it asks for.
async fn hold(platform: &Platform, target: Target) -> Result<(), Problem> {
    let (effect, dated) = {
        let mut state = platform.state();
        (state.throttled(target, clock::now()), state.switches.retry_after)
    };
    if effect.hangs {
        // Whoever hangs up first ends it: the client, or the simulator's own end.
        platform.stopped.cancelled().await;
    }
    if !effect.delay.is_zero() {
        tokio::time::sleep(effect.delay).await;
    }
    match effect.status {
        None => Ok(()),
        Some(status) => {
            Err(Problem::throttled(status, effect.retry_after, dated).coded(effect.code))
        }
    }
}
