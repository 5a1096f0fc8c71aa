//! Live streams (server-sent events): the state for the page, and events as they go by for `tieline tap`.
//!
//! A stream carries what is newest, never a backlog: who reads slowly skips states and misses events, and is told how many. Who
//! does not read at all is dropped by the server's write limit.

use super::answer::refusal;
use super::pages::{House, View};
use super::server::Life;
use crate::bridge::tap::Tapped;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many may watch at once.
pub(super) const WATCHERS_MAX: usize = 16;

/// A state is sent at least this often, so that ages and words stay true.
const STATE_EVERY: Duration = Duration::from_secs(1);

/// And at most this often.
const STATE_WITHIN: Duration = Duration::from_millis(100);

/// The last hours are larger than the state and are sent at most this often.
const HISTORY_WITHIN: Duration = Duration::from_millis(500);

/// A comment is sent into a silence of this length, so that neither end nor anything between takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Who watches, and until when.
#[derive(Clone, Debug)]
pub(super) struct Watchers {
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Watchers {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(WATCHERS_MAX)), shutdown }
    }

    fn place(&self, life: &Arc<Life>) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        life.streams(true);
        Some(Place { _permit: permit, life: Arc::clone(life), shutdown: self.shutdown.clone() })
    }
}

/// What one watcher too many is told.
fn full() -> Response {
    let words = format!("{WATCHERS_MAX} watch already; close a page or a tap");
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, words);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// A watcher's place, given back when its stream ends.
struct Place {
    _permit: OwnedSemaphorePermit,
    life: Arc<Life>,
    shutdown: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.life.streams(false);
    }
}

fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(Ok::<Event, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

/// An event with a value as its JSON.
fn event<T: Serialize>(name: &str, value: &T) -> Event {
    // Our own types always serialise. A line break in JSON is white space: within text it is escaped.
    let text = serde_json::to_string(value).unwrap_or_default().replace(['\r', '\n'], " ");
    Event::default().event(name).data(text)
}

/// The state at each change, and the last hours when they have grown.
pub(super) async fn events(
    State(house): State<Arc<House>>,
    Extension(life): Extension<Arc<Life>>,
) -> Response {
    let Some(place) = house.watchers.place(&life) else {
        return full();
    };
    let watcher = Watcher { house, place, seen: None, state_at: None, history_at: None };
    sse(stream::unfold(watcher, |mut watcher| async {
        let events = watcher.next().await?;
        Some((stream::iter(events), watcher))
    })
    .flatten())
}

struct Watcher {
    house: Arc<House>,
    place: Place,
    /// The revision of the history that was sent.
    seen: Option<u64>,
    /// From when on the next ones may be sent.
    state_at: Option<Instant>,
    history_at: Option<Instant>,
}

impl Watcher {
    /// What is to be sent next; none when the process ends.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let mut status = self.house.doors.status.clone();
        if let Some(at) = self.state_at {
            let due = async {
                tokio::time::sleep_until(at).await;
                // A bridge that hangs changes nothing, and that must be seen too.
                let changed = tokio::time::timeout(STATE_EVERY, status.changed()).await;
                !matches!(changed, Ok(Err(_)))
            };
            let shutdown = self.place.shutdown.clone();
            if !shutdown.run_until_cancelled(due).await? {
                return None;
            }
        }
        let now = after(Duration::ZERO);
        self.state_at = Some(now + STATE_WITHIN);
        let status = status.borrow().clone();
        let mut events =
            vec![event("state", &View::of(&status, self.house.doors.clock.timestamp()))];
        let revision = status.history.revision;
        if self.seen != Some(revision) && self.history_at.is_none_or(|at| at <= now) {
            self.seen = Some(revision);
            self.history_at = Some(now + HISTORY_WITHIN);
            events.push(event("history", &*status.history));
        }
        Some(events)
    }
}

/// What a tap is asked for; all that is named must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// The key, whatever its case.
    key: Option<String>,
    /// A part of the topic's name.
    topic: Option<String>,
    /// A part of the event's type.
    family: Option<String>,
}

impl Filter {
    fn passes(&self, event: &Tapped) -> bool {
        let is_in = |part: &Option<String>, whole: &str| {
            let whole = whole.to_ascii_lowercase();
            part.as_ref().is_none_or(|part| whole.contains(&part.to_ascii_lowercase()))
        };
        self.key.as_ref().is_none_or(|key| event.topic.key().eq_ignore_ascii_case(key))
            && is_in(&self.topic, event.topic.name())
            && is_in(&self.family, event.name())
    }
}

/// An event as it is shown: named as in the contract with consumers, where it has the same there.
#[derive(Serialize)]
struct Shown<'a> {
    nth: Option<u64>,
    time: crate::time::Timestamp,
    #[serde(rename = "type")]
    kind: &'a str,
    subject: &'a str,
    topic: &'a str,
    late: bool,
    possibleduplicate: bool,
    bytes: usize,
    data: Option<&'a RawValue>,
}

fn shown(event: &Tapped) -> Event {
    let data = event.body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
    self::event(
        "event",
        &Shown {
            nth: event.nth,
            time: event.received,
            kind: event.name(),
            subject: event.topic.key(),
            topic: event.topic.name(),
            late: event.marks.late,
            possibleduplicate: event.marks.possible_duplicate,
            bytes: event.length,
            data,
        },
    )
}

/// Events as the journal takes them.
pub(super) async fn tap(
    State(house): State<Arc<House>>,
    Extension(life): Extension<Arc<Life>>,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Response {
    #[derive(Serialize)]
    struct Missed {
        missed: u64,
    }
    let Ok(Query(filter)) = filter else {
        let words = "a tap is asked for by key, topic and family alone";
        return refusal(StatusCode::BAD_REQUEST, words);
    };
    let Some(place) = house.watchers.place(&life) else {
        return full();
    };
    let watch = house.doors.tap.watch();
    let events = stream::unfold((watch, place, filter), |(mut watch, place, filter)| async {
        loop {
            let received = place.shutdown.run_until_cancelled(watch.recv()).await?;
            let event = match received {
                Ok(event) if filter.passes(&event) => shown(&event),
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => event("missed", &Missed { missed }),
                Err(RecvError::Closed) => return None,
            };
            return Some((event, (watch, place, filter)));
        }
    });
    // The first words, so that whoever watches knows that it does.
    let hello = Event::default().comment("watching");
    sse(stream::iter([hello]).chain(events))
}

/// A moment on tokio's own clock, which its timers go by.
#[expect(
    clippy::disallowed_methods,
    reason = "paces a stream on the clock of the timer that it waits for"
)]
fn after(duration: Duration) -> Instant {
    Instant::now() + duration
}
