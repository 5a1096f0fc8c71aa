//! What an event tells: what Genesys pushed, or something of our own that a consumer must meet in the same order.
//!
//! Names only; what the bodies hold is said by the schemas in `docs/contract/`.

/// What an event tells. Closed: a consumer can know them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What Genesys pushed, byte for byte.
    #[default]
    Notification,
    /// A queue's observations, read over REST after a gap.
    ObservationsSnapshot,
    /// A queue's members, read over REST after a gap.
    MembersSnapshot,
    /// Events of this topic may be missing here; after this one they are complete again.
    Gap,
    /// A gap began. For the whole sink.
    GapOpened,
    /// A gap ended, and what was done about it. For the whole sink.
    GapClosed,
    /// What came of re-basing after a gap. For the whole sink.
    GapRebased,
    /// An epoch began, and what is known of the last one. For the whole sink.
    Epoch,
    /// An event that this sink can never take was parked; this stands in its place, with its number.
    Parked,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Notification,
        Self::ObservationsSnapshot,
        Self::MembersSnapshot,
        Self::Gap,
        Self::GapOpened,
        Self::GapClosed,
        Self::GapRebased,
        Self::Epoch,
        Self::Parked,
    ];

    /// A name that never changes. It is the CloudEvents `type` of all but notifications, whose topic gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::ObservationsSnapshot => "tieline.snapshot.queue.observations.v1",
            Self::MembersSnapshot => "tieline.snapshot.queue.members.v1",
            Self::Gap => "tieline.gap.v1",
            Self::GapOpened => "tieline.gap.opened.v1",
            Self::GapClosed => "tieline.gap.closed.v1",
            Self::GapRebased => "tieline.gap.rebased.v1",
            Self::Epoch => "tieline.epoch.v1",
            Self::Parked => "tieline.parked.v1",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it goes to the control topic or subject, apart from every key; else it stands in the order of its key.
    pub const fn is_control(self) -> bool {
        match self {
            Self::GapOpened | Self::GapClosed | Self::GapRebased | Self::Epoch => true,
            Self::Notification
            | Self::ObservationsSnapshot
            | Self::MembersSnapshot
            | Self::Gap
            | Self::Parked => false,
        }
    }

    /// Whether it was read over REST, not pushed.
    pub const fn is_snapshot(self) -> bool {
        match self {
            Self::ObservationsSnapshot | Self::MembersSnapshot => true,
            Self::Notification
            | Self::Gap
            | Self::GapOpened
            | Self::GapClosed
            | Self::GapRebased
            | Self::Epoch
            | Self::Parked => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
        assert_eq!(Kind::parse("tieline.gap.v2"), None);
    }
}
