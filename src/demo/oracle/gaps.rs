//! Each named gap against the faults that the simulator injected: whose it is, and whether it claims more than that.

use super::{BadTime, Books, Claim, Findings, GAP_ALLOWANCE, READ_LAG, between, moment};
use crate::time::Timestamp;
use serde::Serialize;
use std::time::Duration;
use tieline_sim::journal;

/// How long after its beginning a planned change may still be at work; only decides how a complaint is worded.
const CHANGE_MAX: Duration = Duration::from_secs(60);

/// A gap and its fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedGap {
    /// Its number, from 1.
    pub number: u64,
    /// Why, in the bridge's words.
    pub cause: String,
    /// The last frame before it.
    pub from: Timestamp,
    /// The first certain delivery after it; none when it did not end.
    pub to: Option<Timestamp>,
    /// How long it was; for a gap that did not end, 0.
    pub seconds: f64,
    /// The faults that made it, in the simulator's words, such as `close.rst + throttle.handshake.429`; none when nothing did.
    pub fault: Option<String>,
    /// How many emissions the sink lacks because of it.
    pub missed: u64,
}

impl NamedGap {
    /// Whether something that was sent at `at` may be missing because of this gap.
    pub(super) fn covers(&self, at: Timestamp) -> bool {
        self.from.before(READ_LAG) <= at && self.to.is_none_or(|to| at <= to)
    }
}

/// What a fault does to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Takes it away.
    Cut,
    /// Leaves it alone, but keeps a new one from coming.
    Hindrance,
    /// Announces a change that must cost nothing.
    Plan,
}

struct Fault<'a> {
    kind: &'a str,
    effect: Effect,
    from: Timestamp,
    to: Timestamp,
}

impl<'a> Fault<'a> {
    fn read(fault: &'a journal::Fault) -> Result<Self, BadTime> {
        let from = moment(&fault.from)?;
        Ok(Self {
            kind: &fault.kind,
            effect: match fault.kind.as_str() {
                "socket-closing" => Effect::Plan,
                // A rotation that also kills sockets names them.
                "rotate" if fault.channels.is_empty() => Effect::Plan,
                _ if fault.channels.is_empty() => Effect::Hindrance,
                _ => Effect::Cut,
            },
            from,
            to: match &fault.to {
                Some(to) => moment(to)?,
                None => from,
            },
        })
    }

    /// Whether it took the socket away within the gap.
    fn made(&self, from: Timestamp, to: Timestamp) -> bool {
        self.effect == Effect::Cut && from.before(READ_LAG) <= self.from && self.from <= to
    }

    /// Whether it kept the gap open.
    fn prolonged(&self, from: Timestamp, to: Timestamp) -> bool {
        self.effect == Effect::Hindrance && self.from <= to && from <= self.to
    }

    /// Whether the gap lies in the change that it announced.
    fn planned(&self, from: Timestamp, to: Timestamp) -> bool {
        let end = self.to.max(self.from.after(CHANGE_MAX));
        self.effect == Effect::Plan && self.from <= to && from <= end
    }
}

/// Finds the faults of every claim, and complains where there is none, or where the claim is wider than they bear out.
pub(super) fn explain(
    books: &Books<'_>,
    findings: &mut Findings,
) -> Result<Vec<NamedGap>, BadTime> {
    let faults: Result<Vec<Fault<'_>>, BadTime> =
        books.journal.faults.iter().map(Fault::read).collect();
    let faults = faults?;
    let explained = books.gaps.iter().map(|claim| {
        let (gap, complaint) = explain_one(claim, &faults);
        findings.complaints.extend(complaint);
        gap
    });
    Ok(explained.collect())
}

fn explain_one(claim: &Claim, faults: &[Fault<'_>]) -> (NamedGap, Option<String>) {
    let Claim { number, from, .. } = *claim;
    let to = claim.to.unwrap_or(from);
    let length = between(from, to);
    let cuts = faults.iter().filter(|fault| fault.made(from, to));
    let delays = faults.iter().filter(|fault| fault.prolonged(from, to));
    let is_cut = cuts.clone().next().is_some();
    let causes: Vec<&Fault<'_>> = cuts.chain(delays).collect();
    let kinds: Vec<&str> = causes.iter().map(|fault| fault.kind).collect();

    // What hindered long before the gap excuses nothing in it.
    let begin = causes.iter().map(|fault| fault.from.max(from)).min();
    let end = causes.iter().map(|fault| fault.to).max();
    let lasted = begin.zip(end).map_or(Duration::ZERO, |(begin, end)| between(begin, end));

    let plan = faults.iter().find(|fault| fault.planned(from, to));
    let complaint = if claim.to.is_none() {
        Some(format!("gap {number} ({}) did not end", claim.cause))
    } else if is_cut {
        (length > lasted + GAP_ALLOWANCE).then(|| {
            format!(
                "gap {number} ({}) claims {length:.1?}, but its fault ({}) lasted {lasted:.1?}",
                claim.cause,
                kinds.join(" + ")
            )
        })
    } else {
        Some(match plan {
            Some(plan) => format!(
                "gap {number} ({}) is claimed for a planned change ({}), which must cost nothing",
                claim.cause, plan.kind
            ),
            None => format!("gap {number} ({}) has no fault behind it", claim.cause),
        })
    };
    let gap = NamedGap {
        number,
        cause: claim.cause.clone(),
        from,
        to: claim.to,
        seconds: length.as_secs_f64(),
        fault: is_cut.then(|| kinds.join(" + ")),
        missed: 0,
    };
    (gap, complaint)
}
