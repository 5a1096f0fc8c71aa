//! A call, a handshake or a change of topics that the platform refused: what it says of the client's budgets, channels and token, before the
//! session decides how it goes on.

use super::login::Token;
use super::machine::{Lifecycle, find};
use super::{Call, ChannelId, Refusal, SessionId};
use crate::time::Time;

impl Lifecycle {
    /// A call or a handshake of a session was refused. Returns the token when it is the token that is not accepted.
    pub(super) fn handle_call_refused(
        &mut self,
        session: SessionId,
        call: Call,
        refusal: &Refusal,
        now: Time,
    ) -> Option<Token> {
        let handshake = call == Call::Handshake;
        if let Some(asked) = refusal.retry_after {
            // Whoever asked, and whether he still waits for the answer: it holds for the whole client.
            let budget = if handshake { &mut self.handshakes } else { &mut self.rest };
            budget.close_until(now + asked);
        }
        let newest = self.login.token(now).map(|token| token.id);
        // What nobody waits for any more was in doubt since then, if it may have made a channel.
        let session = find(&mut self.shards, session).filter(|own| own.awaits(call))?;
        match (call, session.token, session.channel) {
            (Call::Rest, Some(maker), _) if refusal.reason.may_have_been_done() => {
                self.census.doubt(maker, now);
            }
            (Call::Channel, Some(token), Some(gone)) if refusal.reason.ends_channel() => {
                self.census.miss(gone.id, token, now);
            }
            _ => {}
        }
        // A handshake shows no token.
        let shown = !handshake;
        let tried = session.token.map(|token| token.id);
        let refused = session.handle_refused(refusal, now, &mut self.rng, &mut self.output);
        // A fresh token came while the one before it was tried.
        if shown && newest.is_some() && tried != newest {
            session.wake(now);
        }
        refused
    }

    pub(super) fn handle_amend_refused(
        &mut self,
        session: SessionId,
        channel: ChannelId,
        refusal: &Refusal,
        now: Time,
    ) {
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        let (rng, output) = (&mut self.rng, &mut self.output);
        let session = find(&mut self.shards, session).filter(|own| own.holds(channel));
        let refused = session.and_then(|own| own.handle_amend_refused(refusal, now, rng, output));
        self.refuse_token(refused, now);
    }

    pub(super) fn refuse_token(&mut self, token: Option<Token>, now: Time) {
        if let Some(token) = token {
            self.login.invalidate(token.id, now, &mut self.rng);
        }
    }
}
