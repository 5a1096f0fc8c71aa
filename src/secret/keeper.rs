//! The task that looks at the source, and the ledger of what it has shown.
//!
//! The ledger decides without IO what is fresh and what is told; the task only waits, looks and answers.

use super::source::{Failure, Found, Kind, Look, Source};
use super::{Credentials, Error};
use crate::clock::Clock;
use crate::observation::Observation;
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// A request for the newest credentials.
pub(super) type Ask = oneshot::Sender<Result<Credentials, Error>>;

/// How often the source is looked at after Genesys has refused the newest secret, and for how long.
const HURRY_INTERVAL: Duration = Duration::from_secs(1);
const HURRY_FOR: Duration = Duration::from_secs(60);

/// Owns the source.
pub(super) struct Keeper {
    pub(super) source: Source,
    pub(super) interval: Duration,
    pub(super) clock: Clock,
    pub(super) observations: mpsc::Sender<Observation>,
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) hurry: Arc<Notify>,
    pub(super) show: watch::Sender<Option<Credentials>>,
    pub(super) count: watch::Sender<u64>,
}

impl Keeper {
    /// Looks until `cancel`, or until nobody holds the handle.
    pub(super) async fn run(self, cancel: CancellationToken) {
        // A look may hang in Vault; dropping it half-way is harmless when the process ends.
        cancel.run_until_cancelled_owned(self.keep()).await;
    }

    async fn keep(mut self) {
        let mut ledger = Ledger::new(self.source.name());
        let mut pace = Pace::new(self.interval);
        let mut waiting = Vec::new();
        loop {
            let (told, failure) = self.look(&mut ledger, pace.interval()).await;
            pace.looked(self.clock.now());
            answer(&mut waiting, &ledger, failure.as_ref());
            for observation in told {
                // Nobody listening is no reason to stop keeping secrets.
                drop(self.observations.send(observation).await);
            }
            tokio::select! {
                ask = self.asked.recv() => match ask {
                    Some(ask) => waiting.push(ask),
                    None => return,
                },
                () = self.hurry.notified() => pace.hurry(self.clock.now()),
                () = tokio::time::sleep_until(self.clock.instant_of(pace.next())) => {}
            }
            while let Ok(ask) = self.asked.try_recv() {
                waiting.push(ask);
            }
        }
    }

    /// Looks once and shows what is fresh.
    async fn look(
        &mut self,
        ledger: &mut Ledger,
        retry_in: Duration,
    ) -> (Vec<Observation>, Option<Failure>) {
        let (mut told, failure) = match self.source.look().await {
            Ok(look) => (ledger.looked(look), None),
            Err(failure) => (ledger.failed(&failure, retry_in), Some(failure)),
        };
        if failure.is_none() {
            told.extend(ledger.at_risk(self.source.risk()));
        }
        let version = ledger.version();
        if *self.count.borrow() != version {
            self.show.send_replace(ledger.latest.clone());
            self.count.send_replace(version);
        }
        (told, failure)
    }
}

fn answer(waiting: &mut Vec<Ask>, ledger: &Ledger, failure: Option<&Failure>) {
    for ask in waiting.drain(..) {
        let answer = ledger.latest.clone().ok_or_else(|| Error::Unavailable {
            place: ledger.source,
            detail: failure.map_or_else(String::new, |failure| failure.detail.clone()),
        });
        // Who asked may have stopped waiting.
        drop(ask.send(answer));
    }
}

/// When the next look is due.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    looked: Time,
    hurry_until: Time,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { interval, looked: Time::START, hurry_until: Time::START }
    }

    fn looked(&mut self, now: Time) {
        self.looked = now;
    }

    fn hurry(&mut self, now: Time) {
        self.hurry_until = now + HURRY_FOR;
    }

    fn next(&self) -> Time {
        self.looked + self.interval()
    }

    fn interval(&self) -> Duration {
        match self.looked < self.hurry_until {
            true => self.interval.min(HURRY_INTERVAL),
            false => self.interval,
        }
    }
}

/// What the source has shown, and what has been told of its failures.
#[derive(Debug)]
struct Ledger {
    source: &'static str,
    latest: Option<Credentials>,
    /// Kinds of failure told in this outage; empty while the source can be read.
    told: Vec<Kind>,
    /// Whether it was told that the source will not be readable for long.
    told_risk: bool,
}

impl Ledger {
    fn new(source: &'static str) -> Self {
        Self { source, latest: None, told: Vec::new(), told_risk: false }
    }

    fn version(&self) -> u64 {
        self.latest.as_ref().map_or(0, |latest| latest.version)
    }

    /// The source answered.
    fn looked(&mut self, look: Look) -> Vec<Observation> {
        let mut told = Vec::new();
        if !std::mem::take(&mut self.told).is_empty() {
            told.push(Observation::SecretSourceRecovered { source: self.source });
        }
        let found = match look {
            Look::Found(found) if !self.knows(&found) => found,
            Look::Found(_) | Look::Same => return told,
        };
        let version = self.version() + 1;
        self.latest = Some(Credentials {
            client_id: found.client_id,
            client_secret: found.client_secret,
            version,
        });
        told.push(Observation::SecretSeen { source: self.source, version });
        told
    }

    /// The source did not answer, or not with credentials. Told once for each kind in one outage.
    fn failed(&mut self, failure: &Failure, retry_in: Duration) -> Vec<Observation> {
        if self.told.contains(&failure.kind) {
            return Vec::new();
        }
        self.told.push(failure.kind);
        vec![Observation::SecretSourceFailed {
            source: self.source,
            detail: failure.detail.clone(),
            holding: self.latest.is_some(),
            retry_in,
        }]
    }

    /// The source answered, but may not for long. Told once until the risk is over.
    fn at_risk(&mut self, risk: Option<&Failure>) -> Option<Observation> {
        let told = std::mem::replace(&mut self.told_risk, risk.is_some());
        let risk = risk.filter(|_| !told)?;
        let detail = risk.detail.clone();
        Some(Observation::SecretSourceAtRisk { source: self.source, detail })
    }

    fn knows(&self, found: &Found) -> bool {
        self.latest.as_ref().is_some_and(|latest| {
            found.is(&Found {
                client_id: latest.client_id.clone(),
                client_secret: latest.client_secret.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn found(id: Option<&str>, secret: &str) -> Look {
        Look::Found(Found {
            client_id: id.map(str::to_owned),
            client_secret: SecretString::from(secret),
        })
    }

    #[test]
    fn only_other_credentials_are_fresh() {
        let mut ledger = Ledger::new("file");
        assert_eq!(ledger.looked(found(None, "a")).len(), 1);
        assert!(ledger.looked(found(None, "a")).is_empty());
        assert!(ledger.looked(Look::Same).is_empty());
        ledger.looked(found(None, "b"));
        assert_eq!(ledger.version(), 2);
        ledger.looked(found(Some("id"), "b"));
        assert_eq!(ledger.version(), 3, "a changed client id is fresh too");
        ledger.looked(found(None, "a"));
        assert_eq!(ledger.version(), 4, "a secret that is rolled back is fresh");
    }

    const RETRY: Duration = Duration::from_secs(10);

    #[test]
    fn a_risk_is_told_once_until_it_is_over() {
        let mut ledger = Ledger::new("vault");
        let spent = Failure::new(Kind::LoginRefused, "spent");
        assert!(ledger.at_risk(None).is_none());
        assert!(ledger.at_risk(Some(&spent)).is_some());
        assert!(ledger.at_risk(Some(&spent)).is_none());
        assert!(ledger.at_risk(None).is_none());
        assert!(ledger.at_risk(Some(&spent)).is_some());
    }

    #[test]
    fn an_outage_is_told_once_for_each_kind_and_its_end_once() {
        let mut ledger = Ledger::new("vault");
        ledger.looked(found(None, "a"));
        let down = Failure::new(Kind::Unreachable, "down");
        let sealed = Failure::new(Kind::Sealed, "sealed");
        assert_eq!(ledger.failed(&down, RETRY).len(), 1);
        assert!(ledger.failed(&down, RETRY).is_empty());
        assert_eq!(ledger.failed(&sealed, RETRY).len(), 1);
        assert!(ledger.failed(&down, RETRY).is_empty());
        let recovered = Observation::SecretSourceRecovered { source: "vault" };
        assert_eq!(ledger.looked(Look::Same), [recovered]);
        assert!(ledger.looked(Look::Same).is_empty());
        assert_eq!(ledger.version(), 1, "the last good secret was held");
    }

    #[test]
    fn after_a_refusal_the_pace_is_a_second_for_a_minute() {
        let seconds = |seconds| Time::START + Duration::from_secs(seconds);
        let mut pace = Pace::new(Duration::from_secs(10));
        pace.looked(seconds(100));
        assert_eq!(pace.next(), seconds(110));
        pace.hurry(seconds(105));
        pace.looked(seconds(105));
        assert_eq!(pace.next(), seconds(106));
        pace.looked(seconds(164));
        assert_eq!(pace.next(), seconds(165));
        pace.looked(seconds(165));
        assert_eq!(pace.next(), seconds(175));
    }
}
