//! How the parts of a new process come about that takes over from one that runs: they are made first, and the journal is opened when the
//! other process has let go of it.

use super::workshop::{Parts, Workshop};
use crate::admin::{self, Entrance};
use crate::bridge::{Declined, Door, Giving, Heir, Link, Successor, Taking};
use crate::handover::{Giver, Outcome, Refusal, Taker};
use crate::journal::{self, Found, Journal, Reader};
use crate::observation::{Handover, Observation};
use anyhow::Context;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long the system may take to let go of the lock of a process that is gone.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);

/// The same of its port, which it gives up before the lock.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// The same of a process that has handed over: nobody else would go on, and a busy disk may hold it up on its last way.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(60);

/// How soon the lock is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// The parts of a process that has joined another, and what it goes on with.
pub(super) struct Joined {
    pub(super) parts: Parts,
    pub(super) heir: Heir,
}

/// What lets another process take over.
pub(super) struct Offer {
    pub(super) giving: Giving,
    pub(super) door: Option<Door>,
    /// Which process goes on, once one does.
    pub(super) handed: watch::Receiver<Option<Successor>>,
}

impl Workshop {
    /// Takes over from the process that runs in the same folder, up to the moment at which that is gone; `None` where there is none.
    pub(super) async fn join(
        &mut self,
        sinks: &[&'static str],
        fail_fast: bool,
    ) -> anyhow::Result<Option<Joined>> {
        // What would keep the doors shut is better known while the other process goes on.
        match admin::open(&self.config.admin).await {
            Err(error) if !error.is_taken() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        let frame_max = self.frame_max();
        let link = Link::open(&self.config.data_dir, frame_max).await;
        let Some(link) = link.context("data_dir: the socket of the process that runs")? else {
            self.telemetry.record(&Observation::Handover(Handover::Alone));
            return Ok(None);
        };
        let status = self.first_status("", sinks);
        let Parts { taking, observe } = self.parts(status, fail_fast)?;
        let (login_url, hold) = (taking.genesys.login_url(), self.config.arbitration.hold);
        let now = self.clock.now();
        let taker = Taker::new(login_url, env!("CARGO_PKG_VERSION"), hold, now);
        let (taking, heir) = taking.run(taker, link).await?;
        Ok(Some(Joined { parts: Parts { taking, observe }, heir }))
    }

    /// The journal, as soon as a process that is gone has let go of it.
    pub(super) async fn claim_journal(
        &mut self,
        sinks: &[&'static str],
        joined: Option<&Joined>,
    ) -> anyhow::Result<(Journal, Vec<Reader>, Found)> {
        let is_handed = joined.is_some_and(|joined| joined.heir.outcome == Outcome::TakeOver);
        let within = if is_handed { HANDED_OVER_WITHIN } else { RELEASED_WITHIN };
        let until = self.clock.now() + within;
        loop {
            let held = match self.open_journal(sinks) {
                Err(held @ journal::Error::Held { .. }) => held,
                opened => return Ok(opened?),
            };
            let Some(Joined { heir, .. }) = joined else { return Err(held.into()) };
            if self.clock.now() < until {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            // The link has ended, and the process has not.
            let reason = match heir.outcome {
                Outcome::TakeOver => "the process that ran has handed over and does not end",
                Outcome::Restart | Outcome::GiveUp(_) => "the process that runs has ended it",
            };
            let refusal = Refusal { reason: reason.to_owned(), permanent: false };
            return Err(Declined(refusal).into());
        }
    }

    /// The doors of a process that others may rely on by now. A port that another program has must not end it: then they are elsewhere.
    pub(super) async fn claim_doors(&self) -> anyhow::Result<Entrance> {
        let until = self.clock.now() + CLOSED_WITHIN;
        loop {
            match admin::open(&self.config.admin).await {
                Err(error) if error.is_taken() && self.clock.now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) if error.is_taken() => {
                    let mut elsewhere = self.config.admin.clone();
                    elsewhere.listen.set_port(0);
                    tracing::error!("{error}; until then the doors are at another port");
                    return Ok(admin::open(&elsewhere).await?);
                }
                opened => return Ok(opened?),
            }
        }
    }

    fn frame_max(&self) -> usize {
        usize::try_from(self.config.genesys.frame_max.0).unwrap_or(usize::MAX)
    }

    /// Lets other processes take over from this one. Called by the owner of the folder's lock alone.
    pub(super) fn giving(&self, taking: &Taking) -> Offer {
        let frame_max = self.frame_max();
        let (door, words) = match Door::open(&self.config.data_dir, frame_max) {
            Ok((door, words)) => (Some(door), words),
            Err(error) => {
                let detail = error.to_string();
                self.telemetry.record(&Observation::Handover(Handover::Unavailable { detail }));
                (None, mpsc::channel(1).1)
            }
        };
        let giver = Giver::new(taking.genesys.login_url(), self.config.arbitration.hold);
        let (hand, handed) = watch::channel(None);
        let giving = Giving::new(giver, words, self.config.process.drain_timeout, hand);
        Offer { giving, door, handed }
    }
}
