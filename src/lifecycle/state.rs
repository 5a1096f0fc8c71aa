//! Where a session can be, and the arrows between.
//!
//! ```text
//!                                  ┌──────────── same channel ─────────────┐
//!  Waiting ─► Authenticating ─► Opening ─► Subscribing ─► Connecting ─► Settling ─► Live ─► Draining ─► (gone)
//!     ▲   └────────┴───────────────┴───────────┴──────────────┘            │          │
//!     └───────────────────── refused · lost · silent too long ─────────────┴──────────┘
//! ```
//!
//! A session that drains returns to Live should its successor be lost.

use crate::time::Time;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is under way before `until`.
    Waiting {
        /// When the next step is taken.
        until: Time,
        /// Whether waiting alone is not expected to help.
        parked: bool,
    },
    /// There is no token; the login is at work.
    Authenticating,
    /// A channel is being made.
    Opening {
        /// When the answer is given up.
        deadline: Time,
    },
    /// The channel is being given its topics.
    Subscribing {
        /// When the answer is given up.
        deadline: Time,
    },
    /// The socket is being opened.
    Connecting {
        /// When the answer is given up.
        deadline: Time,
    },
    /// The socket is open, the feed not yet certain.
    Settling {
        /// Since when the socket is open.
        since: Time,
        /// Whether our probe was answered.
        ponged: bool,
    },
    /// The session delivers.
    Live {
        /// Since when the socket is open.
        since: Time,
    },
    /// A successor delivers; this one says what it still has to say.
    Draining {
        /// Since when the socket is open.
        since: Time,
        /// When it is closed.
        until: Time,
    },
}

impl State {
    /// The state's name, also a label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Authenticating => "authenticating",
            Self::Opening { .. } => "opening",
            Self::Subscribing { .. } => "subscribing",
            Self::Connecting { .. } => "connecting",
            Self::Settling { .. } => "settling",
            Self::Live { .. } => "live",
            Self::Draining { .. } => "draining",
        }
    }

    /// Whether the picture has an arrow from here to there.
    pub const fn may_become(self, next: Self) -> bool {
        use State::{
            Authenticating, Connecting, Draining, Live, Opening, Settling, Subscribing, Waiting,
        };
        match self {
            Waiting { .. } | Authenticating => matches!(
                next,
                Waiting { .. }
                    | Authenticating
                    | Opening { .. }
                    | Subscribing { .. }
                    | Connecting { .. }
            ),
            Opening { .. } => matches!(next, Waiting { .. } | Subscribing { .. }),
            Subscribing { .. } => matches!(next, Waiting { .. } | Connecting { .. }),
            Connecting { .. } => matches!(next, Waiting { .. } | Settling { .. }),
            Settling { .. } => matches!(next, Waiting { .. } | Live { .. } | Settling { .. }),
            Live { .. } => matches!(next, Waiting { .. } | Draining { .. }),
            // The successor was lost: the predecessor is kept as long as it delivers.
            Draining { .. } => matches!(next, Live { .. }),
        }
    }
}
