//! The table of reasons: what each failure asks for.

use super::Reason;

/// What a failure asks for before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Keep the channel and its topics; open a socket again.
    SameChannel,
    /// The channel is of no use any more: take another and subscribe.
    NewChannel,
    /// The token is of no use any more: buy another first.
    NewToken,
    /// Only another secret helps: watch the source, ask again with back-off.
    NewSecret,
    /// Waiting alone does not help: say why, look again every five minutes or when the secret changes.
    Park,
}

impl Answer {
    /// The answer's name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameChannel => "same channel",
            Self::NewChannel => "new channel",
            Self::NewToken => "new token",
            Self::NewSecret => "new secret",
            Self::Park => "park",
        }
    }
}

/// What was asked of the platform; a status means another thing in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A token.
    Login,
    /// A call that concerns no channel.
    Rest,
    /// A call on a channel.
    Channel,
    /// A socket.
    Handshake,
}

impl Call {
    /// All calls.
    pub const ALL: [Self; 4] = [Self::Login, Self::Rest, Self::Channel, Self::Handshake];

    /// What a status other than success means. A login's 400 is `CredentialsRejected` too where its body says `invalid_client`.
    pub const fn refused_by(self, status: u16) -> Reason {
        match (self, status) {
            // Nothing but the client can be unauthorized here.
            (Self::Login, 401) => Reason::CredentialsRejected,
            // The address is the credential: each way to refuse it says that it is spent.
            (Self::Handshake, 401 | 403 | 404 | 410) | (Self::Channel, 404 | 410) => {
                Reason::ChannelGone
            }
            (_, 401) => Reason::Unauthorized,
            (_, 403) => Reason::Forbidden,
            (_, 408) => Reason::Timeout,
            (_, 429) => Reason::Throttled,
            (_, 500..=599) => Reason::Unavailable,
            (_, _) => Reason::Unexpected,
        }
    }
}

impl Reason {
    /// Whether the channel is of no use any more.
    pub fn ends_channel(self) -> bool {
        self.answer() == Answer::NewChannel
    }

    /// Whether a request that ended so may have been carried out all the same: not where it was refused, nor where it never left.
    pub const fn may_have_been_done(self) -> bool {
        use Reason::{Dns, Forbidden, Proxy, Throttled, Tls, Unauthorized, Unreachable};
        !matches!(self, Unauthorized | Forbidden | Throttled | Unreachable | Dns | Proxy | Tls)
    }

    /// The table: each way in which a session ends or an attempt fails, and what is done next.
    pub const fn answer(self) -> Answer {
        self.row().1
    }

    /// What it was, for people.
    pub const fn meaning(self) -> &'static str {
        self.row().0
    }

    const fn row(self) -> (&'static str, Answer) {
        use Answer::{NewChannel, NewSecret, NewToken, Park, SameChannel};
        match self {
            Self::Closed => ("the peer closed the socket, whatever its close code", SameChannel),
            Self::Cut => ("reset, end of stream, I/O error", SameChannel),
            Self::Silent => ("the watchdog: nothing heard for `dead_after`", SameChannel),
            Self::ClosingNotice => {
                ("the announced close came before the successor had settled", SameChannel)
            }
            Self::Evicted => {
                ("`v2.system.no_longer_subscribed`: evicted, or another socket took it", NewChannel)
            }
            Self::TokenRevoked => ("`v2.system.token_revoked`", NewToken),
            Self::Protocol => ("a frame broke the protocol or the size limit", SameChannel),
            Self::Unreachable => ("the host cannot be reached", SameChannel),
            Self::Dns => ("the host's name is not found", SameChannel),
            Self::Proxy => ("the proxy is gone, or refuses (407, 502, …)", SameChannel),
            Self::Tls => ("certificate, name or version", SameChannel),
            Self::Timeout => ("no answer in time; 408", SameChannel),
            Self::Unauthorized => ("401 on REST: the token ended or is not accepted", NewToken),
            Self::CredentialsRejected => ("login: 401, or 400 `invalid_client`", NewSecret),
            Self::SecretUnavailable => ("the source has no secret to give", NewSecret),
            Self::Forbidden => ("403 on REST or login: a permission is missing", Park),
            Self::ChannelGone => {
                ("404 or 410 on a channel, which expired; handshake: also 401 and 403", NewChannel)
            }
            Self::Throttled => ("429; its `Retry-After` is waited for in full", SameChannel),
            Self::Unavailable => ("5xx", SameChannel),
            Self::Unexpected => ("another status, or an answer that cannot be read", Park),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/lifecycle.md");

    /// What the page must hold where the tables are; `UPDATE_DOCS=1` writes nothing here: copy it from the failure.
    fn tables() -> String {
        let mut text =
            String::from("| reason | what it was | what comes next |\n| --- | --- | --- |\n");
        for reason in Reason::ALL {
            let (meaning, answer) = (reason.meaning(), reason.answer().as_str());
            text.push_str(&format!("| `{reason}` | {meaning} | {answer} |\n"));
        }
        text.push_str("\n| status | login | REST | on a channel | handshake |\n| --- | --- | --- | --- | --- |\n");
        for (status, name) in [
            (400, "400"),
            (401, "401"),
            (403, "403"),
            (404, "404"),
            (408, "408"),
            (410, "410"),
            (429, "429"),
            (503, "5xx"),
            (409, "others"),
        ] {
            let cells = Call::ALL.map(|call| format!("`{}`", call.refused_by(status)));
            text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
        }
        text
    }

    #[test]
    fn the_page_on_the_lifecycle_has_these_tables() {
        let tables = tables();
        assert!(PAGE.contains(&tables), "docs/lifecycle.md must hold:\n{tables}");
    }

    #[test]
    fn only_a_request_that_may_have_reached_the_platform_leaves_a_doubt() {
        let doubtful: Vec<Reason> =
            Reason::ALL.into_iter().filter(|reason| reason.may_have_been_done()).collect();
        for never_left in [Reason::Unreachable, Reason::Dns, Reason::Proxy, Reason::Tls] {
            assert!(!doubtful.contains(&never_left), "{never_left}");
        }
        for left in [Reason::Timeout, Reason::Cut, Reason::Unavailable, Reason::Unexpected] {
            assert!(doubtful.contains(&left), "{left}");
        }
    }

    #[test]
    fn every_status_of_a_kind_means_the_same() {
        for call in Call::ALL {
            for status in 500..600 {
                assert_eq!(call.refused_by(status), Reason::Unavailable, "{call:?} {status}");
            }
            for status in [300, 301, 302, 307, 402, 405, 406, 409, 411, 413, 415, 422, 426] {
                assert_eq!(call.refused_by(status), Reason::Unexpected, "{call:?} {status}");
            }
        }
    }
}
