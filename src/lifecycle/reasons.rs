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

impl Reason {
    /// Whether the channel is of no use any more.
    pub fn ends_channel(self) -> bool {
        self.answer() == Answer::NewChannel
    }

    /// Whether a request that ended so may have been carried out all the same.
    pub const fn may_have_been_done(self) -> bool {
        !matches!(self, Self::Unauthorized | Self::Forbidden | Self::Throttled)
    }

    /// The table.
    pub const fn answer(self) -> Answer {
        match self {
            Self::Closed
            | Self::Cut
            | Self::Silent
            | Self::ClosingNotice
            | Self::Protocol
            | Self::Unreachable
            | Self::Tls
            | Self::Timeout
            | Self::Throttled
            | Self::Unavailable => Answer::SameChannel,
            Self::Evicted | Self::ChannelGone => Answer::NewChannel,
            Self::TokenRevoked | Self::Unauthorized => Answer::NewToken,
            Self::CredentialsRejected | Self::SecretUnavailable => Answer::NewSecret,
            Self::Forbidden | Self::Unexpected => Answer::Park,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_the_lifecycle_has_this_table() {
        let page = include_str!("../../docs/lifecycle.md");
        for reason in Reason::ALL {
            let begins = format!("| `{reason}` |");
            let ends = format!("| {} |", reason.answer().as_str());
            let row = page.lines().find(|line| line.starts_with(&begins));
            assert!(row.is_some_and(|row| row.ends_with(&ends)), "{begins} … {ends}: {row:?}");
        }
    }
}
