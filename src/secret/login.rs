//! When to log in to Vault, when to renew the token, and when to do neither: decisions without IO.
//!
//! A refused AppRole secret id is not shown twice, because five refusals lock the role for a quarter of an hour.

use super::config::Method;
use crate::time::Time;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// After a 403 at login (a locked role), and before a token whose policy was blamed is replaced.
pub(super) const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How long a pod that was turned away waits before it shows the same token again: no attempt locks anything, but each costs a
/// review by Kubernetes, and the role may be mended on the other side.
const TURNED_AWAY: Duration = Duration::from_secs(60);

/// What to do before the entry is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The token at hand is good.
    Use,
    /// Two thirds of its life have passed.
    Renew,
    /// There is no token, or it is at its end.
    LogIn,
    /// No token, and none may be asked for: why.
    Hold(&'static str),
}

/// What a 403 on the entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The token may be gone: log in once and ask again.
    LogInAgain,
    /// The policy does not let this role read the entry.
    Policy,
}

/// A token's life, as far as decisions need it. The token itself is the client's.
#[derive(Debug)]
struct Lease {
    /// What it was bought with.
    credential: SecretString,
    since: Time,
    /// How long the login granted; zero is without end.
    term: Duration,
    renewable: bool,
    /// Two thirds of what is granted now.
    due: Option<Time>,
    /// A 403 came although the token was fresh.
    blamed: bool,
}

/// What Vault refused.
#[derive(Debug)]
enum Refused {
    /// 400: not shown again until it differs.
    Credential(SecretString),
    /// 403: the role may be locked until then.
    Locked(Time),
    /// A pod's token: not shown again until it differs, or until then.
    Away(SecretString, Time),
}

/// The state of our login.
#[derive(Debug)]
pub(super) struct Login {
    method: Method,
    lease: Option<Lease>,
    refused: Option<Refused>,
}

impl Login {
    pub(super) fn new(method: Method) -> Self {
        Self { method, lease: None, refused: None }
    }

    /// What to do now; `credential` is what the file holds, when it can be read.
    pub(super) fn next(&self, now: Time, credential: Option<&SecretString>) -> Step {
        let allowed = self.may_log_in(now, credential);
        let Some(lease) = &self.lease else {
            return allowed.map_or_else(Step::Hold, |()| Step::LogIn);
        };
        let replaced = self.method == Method::Token
            && credential.is_some_and(|credential| !same(credential, &lease.credential));
        if replaced {
            return Step::LogIn;
        }
        match lease.due.is_some_and(|due| now >= due) {
            true if lease.renewable => Step::Renew,
            // While no login is allowed the old token may still serve.
            true if allowed.is_ok() => Step::LogIn,
            true | false => Step::Use,
        }
    }

    fn may_log_in(&self, now: Time, credential: Option<&SecretString>) -> Result<(), &'static str> {
        let Some(credential) = credential else {
            return Err("the file with vault's credential cannot be read");
        };
        match &self.refused {
            Some(Refused::Credential(refused)) if same(credential, refused) => {
                Err("vault refused the secret id; it is tried again when its file changes")
            }
            Some(Refused::Locked(until)) if now < *until => Err(
                "vault refused the login; the role may be locked, and it is tried again within 16 minutes",
            ),
            Some(Refused::Away(refused, until)) if now < *until && same(credential, refused) => {
                Err(
                    "vault refused the pod's token; it is tried again within a minute or when its file changes",
                )
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A login succeeded; a `term` of zero is without end.
    pub(super) fn granted(
        &mut self,
        now: Time,
        credential: SecretString,
        term: Duration,
        renewable: bool,
    ) {
        self.refused = None;
        self.lease = Some(Lease {
            credential,
            since: now,
            term,
            renewable,
            due: due(now, term),
            blamed: false,
        });
    }

    /// A renewal succeeded. One that grants less than was first granted is near its end, and the next step is a login.
    pub(super) fn renewed(&mut self, now: Time, term: Duration) {
        if let Some(lease) = &mut self.lease {
            lease.renewable = term * 10 >= lease.term * 9;
            lease.due = due(now, term);
        }
    }

    /// Whether there is a token that may still serve.
    pub(super) fn is_live(&self) -> bool {
        self.lease.is_some()
    }

    /// The token is gone, or not worth keeping.
    pub(super) fn lost(&mut self) {
        self.lease = None;
    }

    /// A login was refused with 400: this credential is spent or wrong.
    pub(super) fn spent(&mut self, credential: SecretString) {
        self.refused = Some(Refused::Credential(credential));
    }

    /// A login was refused with 403; `jitter` spreads those who were locked out together.
    pub(super) fn locked(&mut self, now: Time, jitter: Duration) {
        self.refused = Some(Refused::Locked(now + PATIENCE + jitter));
    }

    /// A pod's login was refused: its role, its bindings, or its token are not what Vault wants.
    pub(super) fn turned_away(&mut self, now: Time, credential: SecretString) {
        self.refused = Some(Refused::Away(credential, now + TURNED_AWAY));
    }

    /// A renewal was refused. The token may still serve; a login comes next, where one is allowed.
    pub(super) fn cannot_renew(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.renewable = false;
        }
    }

    /// The entry was refused with 403.
    pub(super) fn forbidden(&self, now: Time) -> Verdict {
        match &self.lease {
            Some(lease) if lease.since == now => Verdict::Policy,
            Some(lease) if lease.blamed && now < lease.since + PATIENCE => Verdict::Policy,
            Some(_) | None => Verdict::LogInAgain,
        }
    }

    /// The 403 came on a fresh token, so that another login would not help.
    pub(super) fn blame_policy(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.blamed = true;
        }
    }

    /// The entry could be read.
    pub(super) fn served(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.blamed = false;
        }
    }
}

fn due(now: Time, term: Duration) -> Option<Time> {
    (!term.is_zero()).then(|| now + term * 2 / 3)
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::START + Duration::from_secs(seconds)
    }

    fn hour() -> Duration {
        Duration::from_secs(3600)
    }

    fn id(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn approle() -> Login {
        let mut login = Login::new(Method::Approle);
        login.granted(at(0), id("a"), hour(), true);
        login
    }

    #[test]
    fn a_token_is_renewed_at_two_thirds_and_replaced_before_its_last_day() {
        let mut login = approle();
        assert_eq!(login.next(at(2399), Some(&id("a"))), Step::Use);
        assert_eq!(login.next(at(2400), Some(&id("a"))), Step::Renew);
        login.renewed(at(2400), hour());
        assert_eq!(login.next(at(4799), None), Step::Use);
        assert_eq!(login.next(at(4800), None), Step::Renew);
        login.renewed(at(4800), Duration::from_secs(600));
        assert_eq!(login.next(at(5199), Some(&id("a"))), Step::Use);
        assert_eq!(login.next(at(5200), Some(&id("a"))), Step::LogIn);
        assert_eq!(login.next(at(5200), None), Step::Use, "it may still serve");
    }

    #[test]
    fn a_refused_secret_id_waits_for_its_file_to_change() {
        let mut login = Login::new(Method::Approle);
        assert_eq!(login.next(at(0), Some(&id("a"))), Step::LogIn);
        login.spent(id("a"));
        assert!(matches!(login.next(at(9999), Some(&id("a"))), Step::Hold(_)));
        assert_eq!(login.next(at(9999), Some(&id("b"))), Step::LogIn);
    }

    #[test]
    fn a_locked_role_waits_a_quarter_of_an_hour_whatever_the_file_says() {
        let mut login = Login::new(Method::Approle);
        login.locked(at(0), Duration::from_secs(30));
        assert!(matches!(login.next(at(929), Some(&id("b"))), Step::Hold(_)));
        assert_eq!(login.next(at(930), Some(&id("b"))), Step::LogIn);
    }

    #[test]
    fn a_pod_that_was_turned_away_waits_a_minute_or_for_a_new_token() {
        let mut login = Login::new(Method::Kubernetes);
        login.turned_away(at(0), id("a"));
        assert!(matches!(login.next(at(59), Some(&id("a"))), Step::Hold(_)));
        assert_eq!(login.next(at(59), Some(&id("b"))), Step::LogIn);
        assert_eq!(login.next(at(60), Some(&id("a"))), Step::LogIn);
    }

    #[test]
    fn a_refused_renewal_brings_a_login_and_costs_no_token_that_still_serves() {
        let mut login = approle();
        login.cannot_renew();
        assert_eq!(login.next(at(2400), Some(&id("a"))), Step::LogIn);
        login.spent(id("a"));
        assert_eq!(login.next(at(2400), Some(&id("a"))), Step::Use);
    }

    #[test]
    fn a_403_brings_one_login_and_then_the_policy_is_blamed() {
        let mut login = approle();
        assert_eq!(login.forbidden(at(10)), Verdict::LogInAgain);
        login.granted(at(10), id("a"), hour(), true);
        assert_eq!(login.forbidden(at(10)), Verdict::Policy);
        login.blame_policy();
        assert_eq!(login.forbidden(at(20)), Verdict::Policy, "no login storm");
        assert_eq!(login.forbidden(at(910)), Verdict::LogInAgain);
        login.served();
        assert_eq!(login.forbidden(at(20)), Verdict::LogInAgain);
    }

    #[test]
    fn a_token_file_that_changes_is_taken_up_at_once() {
        let mut login = Login::new(Method::Token);
        login.granted(at(0), id("t1"), Duration::ZERO, false);
        assert_eq!(login.next(at(1), Some(&id("t1"))), Step::Use);
        assert_eq!(login.next(at(1), Some(&id("t2"))), Step::LogIn);
        assert_eq!(login.next(at(1), None), Step::Use);
    }
}
