//! Wall time as the simulator writes it: milliseconds since the epoch, and RFC 3339 text of them.
//!
//! It knows nothing of the traffic's own schedule, which is virtual and lives in `traffic`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) type Millis = u64;

/// The wall clock now.
pub(crate) fn now() -> Millis {
    millis(SystemTime::now())
}

/// A point of time in milliseconds; a time before the epoch counts as the epoch.
pub(crate) fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The last moment that RFC 3339 can write: the end of the year 9999.
const LAST: Millis = 253_402_300_799_999;

/// RFC 3339 with exactly three digits of a second: official clients misread any other number.
pub(crate) fn rfc3339(time: Millis) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(time.min(LAST));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_of_a_second() {
        assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(rfc3339(Millis::MAX), "9999-12-31T23:59:59.999Z");
    }
}
