//! Carries out the story: each act at its time, but never before the bridge has recovered from the one before.
//!
//! An act counts as recovered from when every socket that it found open has been replaced, as the simulator sees it, and the bridge
//! calls itself live without an open gap.

use super::board::{Board, Stage, State};
use super::{Act, TAIL, plot};
use crate::bridge::status::{Sink, Status};
use crate::clock::Clock;
use crate::demo::control::Control;
use crate::demo::folder::Folder;
use crate::time::Time;
use anyhow::bail;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the bridge may take to be ready; brokers take their time at their first start.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long it may take to recover from an act, and to deliver the last events.
const RECOVERY_MAX: Duration = Duration::from_secs(40);

/// How often it is asked whether it has.
const POLL: Duration = Duration::from_millis(100);

/// How long the refused handshake is told to wait, as a part of the story and in whole seconds; at least one.
const RETRY_AFTER: u32 = 20;

/// How much later than Genesys the secret's source knows a new secret, as with Vault.
const SOURCE_LAG: Duration = Duration::from_millis(500);

/// How long a socket lives on after its closing notice. The platform gives a minute; that would outlive a short story.
const NOTICE: Duration = Duration::from_secs(10);

/// Plays one story.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    pub(crate) control: &'a Control,
    pub(crate) folder: &'a Folder,
    pub(crate) clock: Clock,
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) board: watch::Sender<Board>,
    /// How long the story is.
    pub(crate) length: Duration,
    /// After so long without a frame the bridge gives a socket up.
    pub(crate) dead_after: Duration,
    /// Cancelled when the person wants the end now.
    pub(crate) early: CancellationToken,
}

impl Player<'_> {
    /// The board before the first act.
    pub(crate) fn board(length: Duration) -> Board {
        Board { stage: Stage::Settling, began: None, steps: plot(length) }
    }

    /// Waits until the bridge is ready, plays, stops the traffic, and waits until the last events are delivered.
    ///
    /// # Errors
    /// When the bridge does not become ready, or the simulator does not obey.
    pub(crate) async fn play(&mut self) -> anyhow::Result<()> {
        self.ready().await?;
        self.control.order("traffic", &json!({"state": "run"})).await?;
        let began = self.clock.now();
        self.board.send_modify(|board| {
            board.began = Some(began);
            board.stage = Stage::Playing;
        });
        let steps = self.board.borrow().steps.clone();
        for (index, step) in steps.iter().enumerate() {
            if !self.wait_until(began + step.at).await {
                break;
            }
            self.act(index, step.act, began).await?;
        }
        self.wait_until(began + self.length.saturating_sub(TAIL)).await;
        self.control.order("traffic", &json!({"state": "pause"})).await?;
        self.board.send_modify(|board| board.stage = Stage::Delivering);
        self.delivered().await;
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let clock = self.clock;
        let well = |status: &Arc<Status>| status.unready(clock.timestamp()).is_empty();
        if let Ok(seen) = tokio::time::timeout(READY_MAX, self.status.wait_for(well)).await {
            seen?;
            return Ok(());
        }
        let reasons = self.status.borrow().unready(clock.timestamp());
        bail!("the bridge is not ready after {READY_MAX:?}: {}", reasons.join("; "))
    }

    /// Waits, unless the person wants the end now; then it answers no.
    async fn wait_until(&self, moment: Time) -> bool {
        tokio::select! {
            biased;
            () = self.early.cancelled() => false,
            () = tokio::time::sleep_until(self.clock.instant_of(moment)) => true,
        }
    }

    async fn act(&mut self, index: usize, act: Act, began: Time) -> anyhow::Result<()> {
        let open = self.control.state().await?.open;
        let gaps = self.status.borrow().gaps.total;
        let acted = self.clock.now();
        self.board.send_modify(|board| {
            board.steps[index].at = acted.since(began);
            board.steps[index].state = State::Now;
        });
        self.perform(act).await?;
        let replaced = self.recovered(&open).await?;
        let took = replaced.map(|at| at.since(acted));
        let state = outcome(act, took, &self.status.borrow(), gaps);
        self.board.send_modify(|board| board.steps[index].state = state);
        Ok(())
    }

    async fn perform(&self, act: Act) -> anyhow::Result<()> {
        let control = self.control;
        let retry_after = (self.length / RETRY_AFTER).as_secs().clamp(1, 5);
        match act {
            Act::Reset => control.order("close", &json!({"mode": "rst"})).await,
            Act::Finish => control.order("close", &json!({"mode": "fin"})).await,
            Act::Throttle => {
                let refusal = json!({"what": "handshake", "retry_after_s": retry_after, "for_ms": retry_after * 1_000});
                control.order("throttle", &refusal).await?;
                control.order("close", &json!({"mode": "rst"})).await
            }
            Act::Notice => {
                let notice = json!({"after_ms": millis(NOTICE)});
                control.order("socket-closing", &notice).await
            }
            Act::Silence => {
                let silence = json!({"for_ms": millis(self.dead_after)});
                control.order("silence", &silence).await
            }
            Act::Rotate => {
                let secret = control.rotate().await?;
                tokio::time::sleep(SOURCE_LAG).await;
                self.folder.write_secret(&secret)
            }
        }
    }

    /// Waits until each of these sockets has been replaced and the bridge is well. Answers when they were; nothing when it takes
    /// too long.
    async fn recovered(&mut self, open: &BTreeSet<u64>) -> anyhow::Result<Option<Time>> {
        let deadline = self.clock.now() + RECOVERY_MAX;
        loop {
            let now = self.control.state().await?.open;
            if now.len() == open.len() && now.is_disjoint(open) {
                break;
            }
            if self.clock.now() > deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
        let replaced = self.clock.now();
        Ok(self.told(is_well).await.then_some(replaced))
    }

    /// Gives what is on its way time to arrive, and waits until the sink has acknowledged it. If it does not, the oracle will say
    /// what that cost.
    async fn delivered(&mut self) {
        tokio::time::sleep(TAIL / 2).await;
        let has_nothing = |sink: &Sink| sink.waiting_events == 0;
        self.told(|status| is_well(status) && status.sinks.iter().all(has_nothing)).await;
    }

    /// Waits until the bridge says so, and not as of a moment that is past. Answers no when that takes too long.
    async fn told(&mut self, what: impl Fn(&Status) -> bool) -> bool {
        let asked = self.clock.timestamp();
        let fresh = |status: &Arc<Status>| status.as_of >= asked && what(status);
        let told = tokio::time::timeout(RECOVERY_MAX, self.status.wait_for(fresh)).await;
        told.is_ok_and(|status| status.is_ok())
    }
}

/// Whether every session is live and no gap is open.
fn is_well(status: &Status) -> bool {
    let is_live = status.sessions.iter().all(|session| session.state == "live");
    is_live && !status.sessions.is_empty() && status.gaps.open.is_empty()
}

/// What came of an act after which there had been `before` gaps, in words.
fn outcome(act: Act, took: Option<Duration>, status: &Status, before: u64) -> State {
    let Some(took) = took else {
        return State::Ill(format!("not back after {} s", RECOVERY_MAX.as_secs()));
    };
    let gaps: Vec<_> = status.gaps.recent.iter().filter(|gap| gap.number > before).collect();
    let seconds: f64 = gaps.iter().filter_map(|gap| gap.seconds).sum();
    match (act.is_planned(), gaps.is_empty()) {
        (true, true) => State::Well(format!("replaced in {:.1} s, no gap", took.as_secs_f64())),
        (false, false) => State::Well(format!("back; named a gap of {seconds:.2} s")),
        (true, false) => State::Ill(format!("a gap of {seconds:.2} s")),
        (false, true) => State::Ill("back, but no gap was named".to_owned()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
