//! Credentials, tokens and budgets: which secret is in use, until when, and how much more may be asked of the platform.

use super::labels::BUDGETS;
use super::shelf::{Shelf, whole};
use crate::time::Timestamp;
use prometheus::{Counter, Gauge, IntCounter, IntGauge};
use std::time::Duration;

/// Metrics of the login.
#[derive(Clone, Debug)]
pub struct Login {
    rejected: IntGauge,
    source_up: IntGauge,
    secret: IntGauge,
    newest_secret: IntGauge,
    secret_seen: Gauge,
    secret_in_use_seen: Gauge,
    token_expiry: Gauge,
    throttled: IntCounter,
    throttled_wait: Counter,
    /// How much is left of each of `BUDGETS`, and how much there is at most.
    budgets: [(IntGauge, IntGauge); BUDGETS.len()],
}

/// The login as of one moment; none of it is a secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Whether Genesys refuses the newest secret.
    pub rejected: bool,
    /// Whether the secret's source can be read.
    pub source_up: bool,
    /// Which secret the token in use was bought with, from 1.
    pub secret: Option<u64>,
    /// The newest that the source has shown, from 1.
    pub newest_secret: Option<u64>,
    /// When the source first showed it.
    pub newest_secret_seen: Option<Timestamp>,
    /// When the source first showed the one in use.
    pub secret_seen: Option<Timestamp>,
    /// When the token in use expires.
    pub token_expires: Option<Timestamp>,
}

impl Login {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let left = shelf.gauges(
            "tieline_budget_left",
            "How often more something may be asked of the platform now, by our own bounds and its word.",
            &["budget"],
        );
        let most = shelf.gauges(
            "tieline_budget_max",
            "How often something may be asked of the platform: calls in a minute, handshakes in a second.",
            &["budget"],
        );
        Self {
            rejected: shelf.gauge(
                "tieline_credentials_rejected",
                "1 while Genesys refuses the newest secret that we know.",
            ),
            source_up: shelf.gauge(
                "tieline_secret_source_up",
                "1 while the secret can be read from where it is kept.",
            ),
            secret: shelf.gauge(
                "tieline_secret_version",
                "Which secret the token in use was bought with, counted from 1; 0 before the first.",
            ),
            newest_secret: shelf.gauge(
                "tieline_secret_newest_version",
                "The newest secret that the source has shown, counted from 1; 0 before the first.",
            ),
            secret_seen: shelf.seconds(
                "tieline_secret_seen_timestamp_seconds",
                "When the source first showed its newest secret, in seconds since 1970; 0 before.",
            ),
            secret_in_use_seen: shelf.seconds(
                "tieline_secret_in_use_timestamp_seconds",
                "When the source first showed the secret in use, in seconds since 1970; 0 before the first token.",
            ),
            token_expiry: shelf.seconds(
                "tieline_token_expiry_timestamp_seconds",
                "When the token in use expires, in seconds since 1970; 0 without a token.",
            ),
            throttled: shelf.counter(
                "tieline_throttled_total",
                "Requests and handshakes that the platform answered with 429.",
            ),
            throttled_wait: shelf.fraction(
                "tieline_throttled_wait_seconds_total",
                "How long was waited because the platform answered with 429.",
            ),
            budgets: BUDGETS.map(|budget| {
                (left.with_label_values(&[budget]), most.with_label_values(&[budget]))
            }),
        }
    }

    /// The platform answered 429.
    pub fn throttled(&self) {
        self.throttled.inc();
    }

    /// So long is waited because of it.
    pub fn throttled_for(&self, wait: Duration) {
        self.throttled_wait.inc_by(wait.as_secs_f64());
    }

    /// Shows the present state.
    pub fn show(&self, shown: Shown) {
        self.rejected.set(i64::from(shown.rejected));
        self.source_up.set(i64::from(shown.source_up));
        self.secret.set(whole(shown.secret.unwrap_or(0)));
        self.newest_secret.set(whole(shown.newest_secret.unwrap_or(0)));
        self.secret_seen.set(shown.newest_secret_seen.unwrap_or_default().as_seconds());
        self.secret_in_use_seen.set(shown.secret_seen.unwrap_or_default().as_seconds());
        self.token_expiry.set(shown.token_expires.unwrap_or_default().as_seconds());
    }

    /// Shows how often each of `BUDGETS` was used, and how often it may be.
    pub fn show_budgets(&self, budgets: impl IntoIterator<Item = (u64, u64)>) {
        for ((left, most), (used, may)) in self.budgets.iter().zip(budgets) {
            left.set(whole(may.saturating_sub(used)));
            most.set(whole(may));
        }
    }
}
