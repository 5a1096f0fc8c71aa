//! What each door answers. Only GET and HEAD; a request's body is never read.

use super::{Doors, scrape};
use crate::bridge::status::{self, Gaps, Status};
use crate::sequence::Gap;
use crate::telemetry::metrics;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use std::sync::Arc;

/// The page at `/`: nothing to load, nothing to run.
const INDEX: &str = include_str!("index.html");

/// How many gaps one page of them may hold.
const GAPS_MAX: usize = 1_000;

/// All doors, and JSON for whoever knocks elsewhere.
pub(super) fn router(doors: Doors) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(scraped))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/api/v1/state", get(state))
        .route("/api/v1/gaps", get(gaps))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(Arc::new(doors))
}

async fn index() -> Response {
    answer(StatusCode::OK, "text/html; charset=utf-8", INDEX)
}

async fn scraped(State(doors): State<Arc<Doors>>) -> Response {
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

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

impl Readiness {
    fn of(doors: &Doors, status: &Status) -> Self {
        let reasons = status.unready(doors.clock.timestamp());
        Self { ready: reasons.is_empty(), reasons }
    }
}

async fn readiness(State(doors): State<Arc<Doors>>) -> Response {
    let status = doors.status.borrow().clone();
    let readiness = Readiness::of(&doors, &status);
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(code, &readiness)
}

async fn state(State(doors): State<Arc<Doors>>) -> Response {
    #[derive(Serialize)]
    struct View<'a> {
        #[serde(flatten)]
        readiness: Readiness,
        #[serde(flatten)]
        status: &'a Status,
    }
    let mut status = Status::clone(&doors.status.borrow());
    status.gaps.recent.truncate(status::GAPS_MAX);
    let view = View { readiness: Readiness::of(&doors, &status), status: &status };
    json(StatusCode::OK, &view)
}

/// All gaps that are kept, open ones first, the others page by page: `?limit=` of them, `?before=` that number.
async fn gaps(State(doors): State<Arc<Doors>>, RawQuery(query): RawQuery) -> Response {
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
    let status = doors.status.borrow().clone();
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

fn refusal(code: StatusCode, error: String) -> Response {
    #[derive(Serialize)]
    struct Refusal {
        error: String,
    }
    json(code, &Refusal { error })
}

fn json<T: Serialize>(code: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => answer(code, "application/json", text),
        // Our own types always serialise; a door that cannot answer must still not take the others down.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers that are never kept by a cache nor taken for another type; the page may load nothing at all.
fn answer(code: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ];
    (code, headers, body.into()).into_response()
}
