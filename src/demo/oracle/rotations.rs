//! Every planned change against the simulator's list of sockets: a successor came before its predecessor left.

use super::{BadTime, Books, Findings, moment};
use crate::time::Timestamp;
use tieline_sim::journal::{Fault, Session};

/// What the simulator writes about a socket that the client closed.
const CLOSED_BY_CLIENT: &str = "closed by the client";

/// Counts the planned changes that came about, and complains about each that did not.
pub(super) fn confirm(books: &Books<'_>, findings: &mut Findings) -> Result<(), BadTime> {
    let sockets: Result<Vec<Socket<'_>>, BadTime> =
        books.journal.sessions.iter().map(Socket::read).collect();
    let sockets = sockets?;
    for fault in &books.journal.faults {
        let Some(from) = planned(fault)? else {
            continue;
        };
        let mut concerned = sockets
            .iter()
            .filter(|socket| socket.was_open(from) && socket.is_meant_by(fault))
            .peekable();
        let is_heard = concerned.peek().is_some();
        if is_heard && concerned.all(|socket| socket.was_succeeded(from, &sockets)) {
            findings.rotations += 1;
        } else {
            findings.complaints.push(format!(
                "after {} at {}, no successor was opened before its predecessor left",
                fault.kind, fault.from
            ));
        }
    }
    Ok(())
}

/// When the change was announced, if the fault is one.
fn planned(fault: &Fault) -> Result<Option<Timestamp>, BadTime> {
    let is_rotation = fault.kind == "rotate" && fault.channels.is_empty();
    (is_rotation || fault.kind == "socket-closing").then(|| moment(&fault.from)).transpose()
}

struct Socket<'a> {
    session: &'a Session,
    opened: Timestamp,
    closed: Option<Timestamp>,
}

impl<'a> Socket<'a> {
    fn read(session: &'a Session) -> Result<Self, BadTime> {
        Ok(Self {
            session,
            opened: moment(&session.opened)?,
            closed: session.closed.as_deref().map(moment).transpose()?,
        })
    }

    fn was_open(&self, at: Timestamp) -> bool {
        self.opened <= at && self.closed.is_none_or(|closed| closed > at)
    }

    /// A new secret concerns every socket, a closing notice those that heard it.
    fn is_meant_by(&self, fault: &Fault) -> bool {
        fault.channels.is_empty() || fault.channels.contains(&self.session.channel)
    }

    /// Whether it left by itself after another, on another channel, had come.
    fn was_succeeded(&self, since: Timestamp, sockets: &[Self]) -> bool {
        let Some(closed) = self.closed else {
            return false;
        };
        self.session.reason.as_deref() == Some(CLOSED_BY_CLIENT)
            && sockets.iter().any(|other| {
                other.session.channel != self.session.channel
                    && since <= other.opened
                    && other.was_open(closed)
            })
    }
}
