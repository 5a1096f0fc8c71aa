//! HTTP: login, API, the socket's handshake and the control calls, all on one port.
//!
//! This file finds the handler and applies what holds for all calls: throttles, tokens, budgets,
//! the correlation id. Handlers know nothing of hyper.

mod channels;
mod control;
mod handshake;
mod oauth;
mod queues;
mod reply;
mod subscriptions;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::clock;
use crate::platform::{Platform, Target};

pub(crate) use self::control::perform;
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
        return match handshake::answer(&platform, &id, &mut request) {
            Ok(response) => response,
            Err(problem) => problem.reply(&correlation_id).response(&correlation_id),
        };
    }
    let answer = match read(request).await {
        Ok(call) => route(&platform, &call).await,
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(|problem| problem.reply(&correlation_id)).response(&correlation_id)
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
            refuse_throttled(platform, Target::Token)?;
            oauth::token(platform, call)
        }
        ["api", "v2", rest @ ..] => {
            refuse_throttled(platform, Target::Rest)?;
            api(platform, call, rest)
        }
        _ => Err(Problem::not_found()),
    }
}

fn api(platform: &Arc<Platform>, call: &Call, path: &[&str]) -> Answer {
    let (caller, budget) = authenticate(platform, call)?;
    if budget.is_overdrawn() {
        return Err(Problem::too_many(budget.reset).budget(budget));
    }
    let answer = match path {
        ["notifications", "channels"] => channels::collection(platform, call, &caller),
        ["notifications", "channels", id] => channels::one(platform, call, &caller, id),
        ["notifications", "channels", id, "subscriptions"] => {
            subscriptions::answer(platform, call, &caller, id)
        }
        ["routing", "queues"] => queues::list(platform, call),
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
    let budget = grant.usage.count(now, platform.options.rate_limit);
    let client_id = grant.client_id.clone();
    Ok((Caller { token: token.unwrap_or_default().to_owned(), client_id }, budget))
}

/// Answers the error that a throttle asks for, if one is in force.
fn refuse_throttled(platform: &Platform, target: Target) -> Result<(), Problem> {
    match platform.state().throttled(target, clock::now()) {
        None => Ok(()),
        Some(throttle) => Err(Problem::throttled(throttle.status, throttle.retry_after)),
    }
}
