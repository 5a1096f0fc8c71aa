//! Turns failures of REST, the proxy and the socket into the lifecycle's reasons, with words that hold no credential.

use crate::lifecycle::{Reason, Refusal};
use crate::proxy::Proxies;
use crate::time::Timestamp;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much of somebody else's words is told.
const WORDS_MAX: usize = 300;

/// The longest span that the platform's words are taken for: beyond it nothing differs, and arithmetic and calendar stay sound.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A refusal that names no time to wait.
pub(super) fn refusal(reason: Reason, detail: impl Into<String>) -> Refusal {
    Refusal { reason, retry_after: None, detail: detail.into() }
}

/// Somebody else's words on one line, not too many, and without the credentials that they might repeat.
pub(super) fn scrub(words: &str, hidden: &[&str]) -> String {
    let mut words = words.to_owned();
    for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
        words = words.replace(secret, "[hidden]");
    }
    let words: String = words
        .chars()
        .map(|letter| match letter.is_control() {
            true => ' ',
            false => letter,
        })
        .collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// An error and its sources on one line, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    for cause in causes(error).skip(1) {
        let more = cause.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
    }
    words
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        // An I/O error that wraps another does not name it as its source.
        match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// Whether TLS is at the bottom of it: certificate, name or version.
pub(super) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<rustls::Error>())
}

/// A request that brought no answer.
pub(super) fn unanswered(call: &str, error: reqwest::Error, proxies: &Proxies) -> Refusal {
    let reason = match &error {
        error if is_tls(error) => Reason::Tls,
        error if error.is_timeout() => Reason::Timeout,
        error if error.is_connect() => unconnected(error),
        error if error.is_builder() => Reason::Unexpected,
        _ => Reason::Cut,
    };
    // Where it went is told as far as the port: the path of a channel's address is a credential.
    let origin = error.url().map(|url| url.origin().ascii_serialization());
    let mut at = origin.map(|origin| format!(" at {origin}")).unwrap_or_default();
    if let Some(proxy) = error.url().and_then(|url| proxies.on_the_way_to_url(url)) {
        at.push_str(&format!(" through {proxy}"));
    }
    let words = chain(&error.without_url());
    refusal(reason, format!("{call}{at}: {}", scrub(&words, &[])))
}

/// Reads a `Retry-After`: seconds, or a date, which counts from the answer's own `Date` where it has one.
pub(super) fn retry_after(
    value: Option<&str>,
    date: Option<&str>,
    now: Timestamp,
) -> Option<Duration> {
    let value = value?.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else if let Ok(seconds) = value.parse::<f64>() {
        // A fraction is not in the standard; rounding it up never shortens it.
        Duration::try_from_secs_f64(seconds.ceil()).ok()?
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        until.duration_since(answered_at(date, now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

/// Why there is no connection. The HTTP client says it in words alone.
fn unconnected(error: &(dyn Error + 'static)) -> Reason {
    let says = |words: &str| causes(error).any(|cause| cause.to_string().contains(words));
    if says("dns error") {
        Reason::Dns
    } else if says("tunnel error") || says("proxy") {
        Reason::Proxy
    } else {
        Reason::Unreachable
    }
}

/// When an answer was given: by the platform's clock, which its dates are of, or else by ours.
pub(super) fn answered_at(date: Option<&str>, now: Timestamp) -> SystemTime {
    date.and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(UNIX_EPOCH + Duration::from_micros(now.as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_read_in_each_of_its_forms_and_never_shortened() {
        let now = Timestamp::from_micros(1_700_000_000_000_000); // Tue, 14 Nov 2023 22:13:20 GMT
        let read = |value, date| retry_after(Some(value), date, now);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(read("3", None), seconds(3));
        assert_eq!(read(" 86400 ", None), seconds(86_400));
        assert_eq!(read("1.2", None), seconds(2));
        assert_eq!(read("Tue, 14 Nov 2023 22:14:20 GMT", None), seconds(60));
        let date = Some("Tue, 14 Nov 2023 22:14:00 GMT");
        assert_eq!(read("Tue, 14 Nov 2023 22:14:20 GMT", date), seconds(20));
        assert_eq!(read("Tue, 14 Nov 2023 22:00:00 GMT", None), seconds(0));
        for endless in ["18446744073709551615", "1e19", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(read(endless, None), Some(LONGEST), "{endless}");
        }
        for nonsense in ["soon", "", "-1", "NaN"] {
            assert_eq!(read(nonsense, None), None, "{nonsense}");
        }
    }

    #[test]
    fn words_lose_credentials_line_breaks_and_length() {
        let words = scrub("no channel streaming-1-abc\r\n\x1b[31m here", &["streaming-1-abc"]);
        assert_eq!(words, "no channel [hidden] [31m here");
        assert!(scrub(&"ä".repeat(900), &[]).chars().count() <= WORDS_MAX + 1);
    }
}
