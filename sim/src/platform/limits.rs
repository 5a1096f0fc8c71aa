//! The request budget of one token: so many a minute, counted in fixed windows.
//!
//! It does not refuse anything itself; HTTP turns an overdrawn budget into a 429.

use crate::clock::Millis;

const WINDOW: Millis = 60_000;

/// What one token has used of the current minute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    count: u32,
    began: Millis,
}

/// What the `inin-ratelimit-*` headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) count: u32,
    pub(crate) allowed: u32,
    /// Seconds until the window begins anew, at least 1.
    pub(crate) reset: u64,
}

impl Usage {
    /// Counts one request at `now`.
    pub(crate) fn count(&mut self, now: Millis, allowed: u32) -> Budget {
        if self.count == 0 || now >= self.began + WINDOW {
            *self = Self { count: 0, began: now };
        }
        self.count = self.count.saturating_add(1);
        let reset = (self.began + WINDOW).saturating_sub(now).div_ceil(1000).max(1);
        Budget { count: self.count, allowed, reset }
    }
}

impl Budget {
    /// Whether this request was one too many.
    pub(crate) fn is_overdrawn(self) -> bool {
        self.count > self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_after_the_last_allowed_is_too_many_until_the_window_ends() {
        let mut usage = Usage::default();
        assert!(!usage.count(1_000, 2).is_overdrawn());
        assert!(!usage.count(2_000, 2).is_overdrawn());
        let over = usage.count(31_000, 2);
        assert!(over.is_overdrawn());
        assert_eq!(over.reset, 30);
        assert_eq!(usage.count(61_000, 2).count, 1);
    }
}
