//! A call, a handshake or a change of topics that the platform refused: what it says of the client's budgets, channels and token, before the
//! session decides how it goes on.

use super::login::Token;
use super::machine::{Lifecycle, find};
use super::state::State;
use super::{ChannelId, Refusal, SessionId};
use crate::time::Time;

impl Lifecycle {
    /// A call or a handshake of a session was refused. Returns the token when it is the token that is not accepted.
    pub(super) fn handle_call_refused(
        &mut self,
        session: SessionId,
        refusal: &Refusal,
        now: Time,
    ) -> Option<Token> {
        let newest = self.login.token(now).map(|token| token.id);
        let session = find(&mut self.shards, session).filter(|own| own.awaits_reply())?;
        if let Some(asked) = refusal.retry_after {
            let connecting = matches!(session.state, State::Connecting { .. });
            let budget = if connecting { &mut self.handshakes } else { &mut self.rest };
            budget.close_until(now + asked);
        }
        match (session.state, session.token, session.channel) {
            (State::Opening { .. }, Some(maker), _) if refusal.reason.may_have_been_done() => {
                self.census.doubt(maker, now);
            }
            (State::Subscribing { .. }, Some(token), Some(gone))
                if refusal.reason.ends_channel() =>
            {
                self.census.miss(gone.id, token, now);
            }
            _ => {}
        }
        // A handshake shows no token.
        let shown = matches!(session.state, State::Opening { .. } | State::Subscribing { .. });
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
