//! What goes wrong, and in which order: a schedule of faults that follows from a seed alone.
//!
//! Pure. It knows what each fault strikes, so that two at once never strike the same, and nothing of how one is done.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// What a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The socket, the channel or the credentials.
    Platform,
    /// The disk of `data_dir`.
    Disk,
    /// One broker or the other: never both nodes of Kafka at once.
    Kafka,
    Nats,
    /// tieline itself.
    Process,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cut,
    Evicted,
    Mute,
    ClosingNotice,
    SecretAtGenesysFirst,
    SecretInTheFileFirst,
    Dropped,
    DiskFull,
    ControllerKilled,
    ControllerPaused,
    BrokerKilled,
    BrokerPaused,
    NatsKilled,
    NatsPaused,
    Killed,
    Terminated,
    Stopped,
}

impl Kind {
    /// All of them, but for those that need two sessions.
    const ALL: [Self; 16] = [
        Self::Cut,
        Self::Evicted,
        Self::Mute,
        Self::ClosingNotice,
        Self::SecretAtGenesysFirst,
        Self::SecretInTheFileFirst,
        Self::DiskFull,
        Self::ControllerKilled,
        Self::ControllerPaused,
        Self::BrokerKilled,
        Self::BrokerPaused,
        Self::NatsKilled,
        Self::NatsPaused,
        Self::Killed,
        Self::Terminated,
        Self::Stopped,
    ];

    pub const fn victim(self) -> Victim {
        match self {
            Self::Cut
            | Self::Evicted
            | Self::Mute
            | Self::ClosingNotice
            | Self::SecretAtGenesysFirst
            | Self::SecretInTheFileFirst
            | Self::Dropped => Victim::Platform,
            Self::DiskFull => Victim::Disk,
            Self::ControllerKilled
            | Self::ControllerPaused
            | Self::BrokerKilled
            | Self::BrokerPaused => Victim::Kafka,
            Self::NatsKilled | Self::NatsPaused => Victim::Nats,
            Self::Killed | Self::Terminated | Self::Stopped => Victim::Process,
        }
    }

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut => "socket cut",
            Self::Evicted => "channel evicted",
            Self::Mute => "socket mute",
            Self::ClosingNotice => "closing notice",
            Self::SecretAtGenesysFirst => "secret rotated, Genesys first",
            Self::SecretInTheFileFirst => "secret rotated, file first",
            Self::Dropped => "frames dropped on one channel",
            Self::DiskFull => "disk full",
            Self::ControllerKilled => "Kafka, controller killed",
            Self::ControllerPaused => "Kafka, controller paused",
            Self::BrokerKilled => "Kafka, broker killed",
            Self::BrokerPaused => "Kafka, broker paused",
            Self::NatsKilled => "NATS killed",
            Self::NatsPaused => "NATS paused",
            Self::Killed => "tieline SIGKILL",
            Self::Terminated => "tieline SIGTERM",
            Self::Stopped => "tieline SIGSTOP",
        }
    }
}

/// A fault, and for how many notifications it lasts where it has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub lasts: u64,
}

/// One fault, or two at once; what is struck has recovered before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub first: Fault,
    /// Begins while the first lasts.
    pub second: Option<Fault>,
    /// Which of the two ends first.
    pub second_ends_first: bool,
    /// How many notifications come before the next step.
    pub calm: u64,
}

/// How long faults last and how long it is calm in between, in notifications.
const LASTS: std::ops::RangeInclusive<u64> = 5..=250;
const CALM: std::ops::RangeInclusive<u64> = 1..=60;

/// So many faults. Every kind comes once before any comes twice; a frame that is dropped where nobody can see it only with two
/// sessions, and alone: the loss of the other session would make it a loss without a name.
pub fn steps(seed: u64, faults: usize, redundant: bool) -> Vec<Step> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut kinds = Kind::ALL.to_vec();
    if redundant {
        kinds.push(Kind::Dropped);
    }
    let mut deck: Vec<Kind> = Vec::new();
    while deck.len() < faults {
        kinds.shuffle(&mut chance);
        deck.extend(&kinds);
    }
    deck.truncate(faults);
    let mut deck = deck.into_iter().peekable();
    let mut steps = Vec::new();
    while let Some(first) = deck.next() {
        let is_double = chance.random_ratio(1, 3);
        let second = deck.next_if(|second| is_double && go_together(first, *second));
        let mut fault = |kind| Fault { kind, lasts: chance.random_range(LASTS) };
        let (first, second) = (fault(first), second.map(&mut fault));
        let (second_ends_first, calm) = (chance.random(), chance.random_range(CALM));
        steps.push(Step { first, second, second_ends_first, calm });
    }
    steps
}

fn go_together(first: Kind, second: Kind) -> bool {
    first.victim() != second.victim() && ![first, second].contains(&Kind::Dropped)
}

mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn faults(steps: &[Step]) -> Vec<Fault> {
        steps.iter().flat_map(|step| [Some(step.first), step.second]).flatten().collect()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(steps(7, 50, true), steps(7, 50, true));
        assert_ne!(steps(7, 50, true), steps(8, 50, true));
        assert_eq!(faults(&steps(7, 50, true)).len(), 50);
    }

    #[test]
    fn every_kind_comes_as_often_as_any_other() {
        for (redundant, kinds) in [(false, 16), (true, 17)] {
            let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
            for fault in faults(&steps(1, kinds * 3, redundant)) {
                *counts.entry(fault.kind).or_default() += 1;
            }
            assert_eq!(counts.len(), kinds);
            assert!(counts.values().all(|count| *count == 3), "{counts:?}");
        }
    }

    #[test]
    fn two_at_once_strike_two_and_what_nobody_sees_comes_alone() {
        for seed in 0..100 {
            let steps = steps(seed, 60, true);
            assert!(steps.iter().any(|step| step.second.is_some()));
            for step in steps {
                let Some(second) = step.second else { continue };
                assert_ne!(step.first.kind.victim(), second.kind.victim());
                assert!(step.first.kind != Kind::Dropped && second.kind != Kind::Dropped);
            }
        }
    }
}
