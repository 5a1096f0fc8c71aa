//! Budgets of requests: so many in a window of time, the windows fixed, not sliding.
//!
//! It does not refuse anything itself; HTTP turns an overdrawn budget into a 429.

use crate::clock::Millis;

/// The window of the request budget.
pub(crate) const MINUTE: Millis = 60_000;

/// The window of the limits that switches set.
pub(crate) const SECOND: Millis = 1_000;

/// What has been used of the current window.
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
    /// Counts one request at `now` in windows of this length.
    pub(crate) fn count(&mut self, now: Millis, allowed: u32, window: Millis) -> Budget {
        if self.count == 0 || now >= self.began + window {
            *self = Self { count: 0, began: now };
        }
        self.count = self.count.saturating_add(1);
        let reset = (self.began + window).saturating_sub(now).div_ceil(1000).max(1);
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
        assert!(!usage.count(1_000, 2, MINUTE).is_overdrawn());
        assert!(!usage.count(2_000, 2, MINUTE).is_overdrawn());
        let over = usage.count(31_000, 2, MINUTE);
        assert!(over.is_overdrawn());
        assert_eq!(over.reset, 30);
        assert_eq!(usage.count(61_000, 2, MINUTE).count, 1);
    }
}
