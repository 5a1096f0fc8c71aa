//! The lines of a handover.

use super::line::{Level, Told};
use crate::observation::Handover;

pub(super) fn tell(handover: &Handover) -> Told {
    match handover {
        Handover::Unavailable { detail } => warn!(
            event = "handover_unavailable",
            detail,
            "nobody can take over from this process: {detail}; a redeploy will be a restart, with its gap"
        ),
        Handover::Asked => info!(
            event = "handover_asked",
            "another process asks to take over; planned changes wait until it has, or has failed"
        ),
        Handover::Silent => info!(
            event = "handover_silent",
            "the new process has settled and alone is heard from now on; it goes on as soon as what is still under way has come"
        ),
        Handover::Failed { detail, ends: false } => warn!(
            event = "handover_failed",
            detail,
            ends = false,
            "no handover: {detail}; this process goes on"
        ),
        Handover::Failed { detail, ends: true } => error!(
            event = "handover_failed",
            detail,
            ends = true,
            "no handover: {detail}; this process has stopped, and the next one names a gap"
        ),
        Handover::HandedOver { relayed } => info!(
            event = "handed_over",
            relayed,
            "handed over: another process goes on behind what is in the journal; this one delivers what it sent and ends"
        ),
        Handover::Alone => info!(
            event = "handover_alone",
            "there is no process to take over from; this is an ordinary start"
        ),
        Handover::Joined { version, epoch } => info!(
            event = "handover_joined",
            version,
            epoch,
            "the process that runs (tieline {version}, epoch {epoch}) lets this one take over; it goes on until this one has settled"
        ),
        Handover::TookOver { waited } => info!(
            event = "took_over",
            waited,
            "took over: the epoch goes on, and nothing was missed; notifications that had waited for this process: {waited}"
        ),
        Handover::Orphaned => warn!(
            event = "handover_orphaned",
            "the process that ran ended before it had handed over; this is a restart, with its gap"
        ),
    }
}
