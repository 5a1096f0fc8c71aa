//! Credentials and tokens: which secret is in use, until when, and whether Genesys takes it.

use super::shelf::{Shelf, whole};
use crate::time::Timestamp;
use prometheus::{Gauge, IntCounter, IntGauge};

/// Metrics of the login.
#[derive(Clone, Debug)]
pub struct Login {
    rejected: IntGauge,
    secret: IntGauge,
    token_expiry: Gauge,
    throttled: IntCounter,
}

impl Login {
    pub(super) fn new(shelf: &Shelf) -> Self {
        Self {
            rejected: shelf.gauge(
                "tieline_credentials_rejected",
                "1 while Genesys refuses the newest secret that we know.",
            ),
            secret: shelf.gauge(
                "tieline_secret_version",
                "Which secret the token in use was bought with, counted from 1; 0 before the first.",
            ),
            token_expiry: shelf.seconds(
                "tieline_token_expiry_timestamp_seconds",
                "When the token in use expires, in seconds since 1970; 0 without a token.",
            ),
            throttled: shelf.counter(
                "tieline_throttled_total",
                "Requests and handshakes that the platform answered with 429.",
            ),
        }
    }

    /// The platform answered 429.
    pub fn throttled(&self) {
        self.throttled.inc();
    }

    /// Shows the present state; `None` before the first token.
    pub fn show(&self, rejected: bool, secret: Option<u64>, token_expires: Option<Timestamp>) {
        self.rejected.set(i64::from(rejected));
        self.secret.set(whole(secret.unwrap_or(0)));
        self.token_expiry.set(seconds(token_expires.unwrap_or_default()));
    }
}

/// Whole microseconds are exact in a double until the year 2255.
fn seconds(at: Timestamp) -> f64 {
    std::time::Duration::from_micros(at.as_micros()).as_secs_f64()
}
