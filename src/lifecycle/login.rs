//! One token for the client: bought before it is needed, replaced before it ends, never asked for too often.
//!
//! ```text
//!            due                    granted
//!  Resting ───────► Requesting ──────────────► Resting { until renewal }
//!     ▲                  │ refused, or no answer in time
//!     └──────────────────┘ { until the back-off ends }
//! ```

use super::backoff::{Backoff, jitter};
use super::budget::Budget;
use super::output::Output;
use super::{Answer, Command, Config, Reason, Refusal, SecretVersion, TokenId};
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;
use std::time::Duration;

/// The shell answers within its own time-outs; this bounds the wait should it not.
const DEADLINE: Duration = Duration::from_secs(60);

/// The bounds below are promised as the platform counts them, at arrival: seconds by which they are kept longer here, because one
/// request may be so much longer under way than the next.
const SLACK: u64 = 1;

/// While a secret is refused, it is tried at most this often: an attack would look no different.
const REFUSED_MOST: (usize, Duration) = (12, Duration::from_secs(300 + SLACK));

/// No client asks for more tokens than this.
const REQUESTS_MOST: (usize, Duration) = (10, Duration::from_secs(10 + SLACK));

/// The ceiling of the back-off between logins.
const BACKOFF_CAP: Duration = Duration::from_secs(60);

/// A token at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its handle.
    pub id: TokenId,
    /// The secret it was bought with.
    pub secret: SecretVersion,
    /// How long it lives.
    pub life: Duration,
    /// When it ends.
    pub expires_at: Time,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is asked before `due`; where waiting alone is not expected to help, something else may hurry it.
    Resting { due: Time, parked: bool },
    /// A request is under way.
    Requesting { deadline: Time },
}

impl State {
    const fn resting(due: Time) -> Self {
        Self::Resting { due, parked: false }
    }
}

/// The client's login.
#[derive(Clone, Debug)]
pub struct Login {
    state: State,
    /// The newest token; absent before the first and after it was found invalid.
    token: Option<Token>,
    /// The newest secret that the source has shown.
    newest: SecretVersion,
    /// The secret that Genesys refuses, if it does.
    refused: Option<SecretVersion>,
    /// Requests to Genesys.
    requests: Budget,
    /// Requests with the secret that is refused.
    refusals: Budget,
    backoff: Backoff,
    rotation_jitter: Duration,
    renew_before: Duration,
}

impl Login {
    /// A login that is due at once.
    pub fn new(config: &Config) -> Self {
        Self {
            state: State::resting(Time::START),
            token: None,
            newest: SecretVersion(0),
            refused: None,
            requests: Budget::new(REQUESTS_MOST.0, REQUESTS_MOST.1),
            refusals: Budget::new(REFUSED_MOST.0, REFUSED_MOST.1),
            backoff: Backoff::within(config.backoff_base, BACKOFF_CAP),
            rotation_jitter: config.rotation_jitter,
            renew_before: config.renew_before,
        }
    }

    /// The newest token, while it is valid.
    pub fn token(&self, now: Time) -> Option<Token> {
        self.token.filter(|token| now < token.expires_at)
    }

    /// The secret that Genesys refuses, if it does.
    pub const fn refused(&self) -> Option<SecretVersion> {
        self.refused
    }

    /// When something is due.
    pub const fn poll_timeout(&self) -> Time {
        match self.state {
            State::Resting { due, .. } => due,
            State::Requesting { deadline } => deadline,
        }
    }

    /// Asks for a token when one is due.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl Rng, output: &mut Output) {
        // What waits for a token is not due on the authority of one that has ended.
        self.token = self.token(now);
        match self.state {
            State::Resting { due, .. } if due <= now => {
                let mut allowed = self.requests.next(now);
                if self.refused.is_some_and(|refused| refused >= self.newest) {
                    allowed = allowed.max(self.refusals.next(now));
                }
                if allowed > now {
                    self.state = State::resting(allowed);
                    return;
                }
                self.requests.spend(now);
                self.refusals.spend(now);
                self.state = State::Requesting { deadline: now + DEADLINE };
                output.command(Command::RequestToken);
            }
            State::Requesting { deadline } if deadline <= now => {
                let detail = format!("no answer to a token request within {DEADLINE:?}");
                let refusal = Refusal { reason: Reason::Timeout, retry_after: None, detail };
                self.handle_refused(&refusal, None, now, rng, output);
            }
            State::Resting { .. } | State::Requesting { .. } => {}
        }
    }

    /// A token was granted.
    pub fn handle_granted(
        &mut self,
        token: Token,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) {
        let expires_in = token.life;
        output.observe(Observation::TokenGranted { expires_in, secret: token.secret.0 });
        if self.refused.take().is_some() {
            output.observe(Observation::CredentialsAccepted { secret: token.secret.0 });
        }
        self.token = Some(token);
        if token.secret < self.newest {
            // Bought with a secret that has been replaced meanwhile, or while the source could not show the newest one.
            self.state = State::resting(now + self.backoff.next(None, rng));
            return;
        }
        self.newest = token.secret;
        self.backoff.reset();
        // A token that lives shorter than the margin is still used for two thirds of its life.
        let renewal = now + expires_in.saturating_sub(self.renew_before).max(expires_in * 2 / 3);
        self.state = State::resting(renewal);
    }

    /// No token was granted.
    pub fn handle_refused(
        &mut self,
        refusal: &Refusal,
        secret: Option<SecretVersion>,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) {
        // A fresh secret was shown while the one before it was tried: what that one was answered says nothing of it.
        let is_outdated = secret.is_some_and(|tried| tried < self.newest);
        let parked = !is_outdated && refusal.reason.answer() == Answer::Park;
        let mut retry_in = if is_outdated {
            refusal.retry_after.unwrap_or_default() + jitter(self.rotation_jitter, rng)
        } else {
            self.backoff.next(refusal.retry_after, rng)
        };
        if parked {
            retry_in = retry_in.max(super::session::PARKED);
        }
        if let Some(asked) = refusal.retry_after {
            // Neither a fresh secret nor a token that fails shortens it.
            self.requests.close_until(now + asked);
        }
        self.state = State::Resting { due: now + retry_in, parked };
        if refusal.reason == Reason::CredentialsRejected && !is_outdated {
            if self.refused != secret {
                let secret = secret.unwrap_or_default().0;
                let detail = refusal.detail.clone();
                output.observe(Observation::CredentialsRejected { secret, detail });
            }
            self.refused = secret;
        }
        output.observe(Observation::TokenRefused {
            reason: refusal.reason.as_str(),
            detail: refusal.detail.clone(),
            retry_in,
        });
    }

    /// The source shows a fresh secret: it is taken up after a random delay, unless a login with it is due sooner.
    pub fn handle_secret(&mut self, secret: SecretVersion, now: Time, rng: &mut impl Rng) {
        if secret <= self.newest {
            return;
        }
        self.newest = secret;
        if self.refused == Some(secret) {
            // A login was faster than the source's word of it: nothing is fresh.
            return;
        }
        self.backoff.reset();
        self.refusals.clear();
        self.hurry(now + jitter(self.rotation_jitter, rng));
    }

    /// Looks again now at what waiting alone does not mend.
    pub fn wake(&mut self, now: Time) {
        if let State::Resting { parked: true, .. } = self.state {
            self.hurry(now);
        }
    }

    /// Asks at `due` at the latest, unless a request is under way.
    fn hurry(&mut self, at: Time) {
        if let State::Resting { due, parked } = self.state {
            self.state = State::Resting { due: due.min(at), parked };
        }
    }

    /// The platform does not accept this token: if it is the newest, another is bought.
    pub fn invalidate(&mut self, token: TokenId, now: Time, rng: &mut impl Rng) {
        if self.token.is_some_and(|held| held.id == token) {
            self.token = None;
            if let State::Resting { .. } = self.state {
                let retry = now + self.backoff.next(None, rng);
                self.hurry(retry);
            }
        }
    }
}
