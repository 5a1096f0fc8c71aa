//! Exit codes, in the one place where they are numbers.

use std::process::ExitCode;

/// How the process ends. The numbers above 2 are those of `sysexits.h`, which service managers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or drained.
    Success,
    /// 1: `demo` found an event lost, doubled or out of order.
    PromiseBroken,
    /// 64: the command line makes no sense.
    Usage,
    /// 69: something needed cannot be reached, and it was asked not to wait (`--fail-fast`); or a handover came to nothing.
    Unreachable,
    /// 70: a bug.
    Bug,
    /// 78: the configuration cannot work.
    Configuration,
}

impl Exit {
    /// The end that has that number, if one has.
    pub fn of(code: u8) -> Option<Self> {
        let all = [
            Self::Success,
            Self::PromiseBroken,
            Self::Usage,
            Self::Unreachable,
            Self::Bug,
            Self::Configuration,
        ];
        all.into_iter().find(|exit| exit.code() == code)
    }

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::PromiseBroken => 1,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Bug => 70,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
