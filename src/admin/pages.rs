//! What each door answers. Only GET and HEAD; a request's body is never read.

use super::answer::{answer, json, refusal};
use super::guard::{self, Admitted, Guard};
use super::watch::{self, Watchers};
use super::{Doors, scrape};
use crate::bridge::status::{self, Gaps, Status};
use crate::bridge::verdict::Verdict;
use crate::sequence::Gap;
use crate::telemetry::metrics;
use crate::time::Timestamp;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router, middleware};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// The page at `/`; its style, script and icon are files of their own, so that nothing need be allowed inline.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const ICON: &str = include_str!("page/icon.svg");

/// What every door can see.
#[derive(Clone, Debug)]
pub(super) struct House {
    pub(super) doors: Doors,
    pub(super) watchers: Watchers,
}

/// How many gaps one page of them may hold.
const GAPS_MAX: usize = 1_000;

/// All doors, and JSON for whoever knocks elsewhere.
pub(super) fn router(doors: Doors, watchers: Watchers, guard: Guard) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { answer(StatusCode::OK, kind, text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", PAGE))
        .route("/page.css", file("text/css; charset=utf-8", STYLE))
        .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/icon.svg", file("image/svg+xml", ICON))
        .route("/metrics", get(scraped))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/api/v1/state", get(state))
        .route("/api/v1/gaps", get(gaps))
        .route("/api/v1/history", get(history))
        .route("/api/v1/events", get(watch::events))
        .route("/api/v1/tap", get(watch::tap))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(guard, guard::stand))
        .with_state(Arc::new(House { doors, watchers }))
}

async fn scraped(State(house): State<Arc<House>>) -> Response {
    let doors = &house.doors;
    let status = doors.status.borrow().clone();
    scrape::show(&doors.metrics, &status, doors.clock.timestamp());
    match doors.metrics.encode() {
        Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics cannot be written: {error}"),
        ),
    }
}

/// Only that the process answers: what it depends on must not get it restarted.
async fn health() -> Response {
    #[derive(Serialize)]
    struct Health {
        alive: bool,
    }
    json(StatusCode::OK, &Health { alive: true })
}

/// Readiness as a machine reads it.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<String>>,
}

async fn readiness(State(house): State<Arc<House>>, admitted: Extension<Admitted>) -> Response {
    let doors = &house.doors;
    let reasons = doors.status.borrow().unready(doors.clock.timestamp());
    let ready = reasons.is_empty();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Reasons name brokers and addresses: nothing for whoever comes by.
    json(code, &Readiness { ready, reasons: admitted.0.0.then_some(reasons) })
}

/// The state as `/api/v1/state` and the page's stream show it.
#[derive(Serialize)]
pub(super) struct View<'a> {
    /// The present, by the process's calendar.
    now: Timestamp,
    #[serde(flatten)]
    readiness: Readiness,
    verdict: Verdict,
    #[serde(flatten)]
    status: Cow<'a, Status>,
}

impl<'a> View<'a> {
    pub(super) fn of(status: &'a Status, now: Timestamp) -> Self {
        let reasons = status.unready(now);
        let readiness = Readiness { ready: reasons.is_empty(), reasons: Some(reasons) };
        let verdict = Verdict::of(status, now);
        // All that are kept are at /api/v1/gaps, page by page.
        let status = if status.gaps.recent.len() > status::GAPS_MAX {
            let mut short = status.clone();
            short.gaps.recent.truncate(status::GAPS_MAX);
            Cow::Owned(short)
        } else {
            Cow::Borrowed(status)
        };
        Self { now, readiness, verdict, status }
    }
}

async fn state(State(house): State<Arc<House>>) -> Response {
    let status = house.doors.status.borrow().clone();
    json(StatusCode::OK, &View::of(&status, house.doors.clock.timestamp()))
}

/// All gaps that are kept, open ones first, the others page by page: `?limit=` of them, `?before=` that number.
async fn gaps(State(house): State<Arc<House>>, RawQuery(query): RawQuery) -> Response {
    #[derive(Serialize)]
    struct Page<'a> {
        total: u64,
        open: &'a [Gap],
        recent: &'a [Gap],
        /// What `before` must be to go on; none at the end.
        next: Option<u64>,
    }
    let (limit, before) = match paging(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(parameter) => {
            let error = format!("{parameter} is not one of limit=1…{GAPS_MAX}, before=NUMBER");
            return refusal(StatusCode::BAD_REQUEST, error);
        }
    };
    let status = house.doors.status.borrow().clone();
    let Gaps { total, open, recent } = &status.gaps;
    // The newest come first.
    let start = recent.partition_point(|gap| before.is_some_and(|before| gap.number >= before));
    let rest = &recent[start..];
    let page = &rest[..rest.len().min(limit)];
    let next = page.last().map(|gap| gap.number).filter(|_| page.len() < rest.len());
    json(StatusCode::OK, &Page { total: *total, open, recent: page, next })
}

/// How many gaps a page holds, and before which number it begins. The error is what is not understood.
fn paging(query: &str) -> Result<(usize, Option<u64>), String> {
    let (mut limit, mut before) = (100, None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let wrong = || parameter.to_owned();
        match parameter.split_once('=').ok_or_else(wrong)? {
            ("limit", text) => limit = text.parse().map_err(|_| wrong())?,
            ("before", text) => before = Some(text.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
        if !(1..=GAPS_MAX).contains(&limit) {
            return Err(wrong());
        }
    }
    Ok((limit, before))
}

async fn history(State(house): State<Arc<House>>) -> Response {
    let history = house.doors.status.borrow().history.clone();
    json(StatusCode::OK, &*history)
}

async fn not_found(uri: Uri) -> Response {
    refusal(StatusCode::NOT_FOUND, format!("there is no door at {}; / names them all", uri.path()))
}

async fn not_allowed(method: Method) -> Response {
    let mut response = refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not answered here: the doors only show"),
    );
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
