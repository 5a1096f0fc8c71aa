//! What a failed call to Vault means, in words that hold no secret.
//!
//! Decides nothing.

use super::super::source::{Failure, Kind};
use vaultrs::error::ClientError;

/// The HTTP status of a refusal, whichever way vaultrs wraps it.
pub(super) fn status(error: &ClientError) -> Option<u16> {
    if let ClientError::APIError { code, .. } = error {
        return Some(*code);
    }
    if let ClientError::RestClientError {
        source: rustify::errors::ClientError::ServerResponseError { code, .. },
    } = error
    {
        return Some(*code);
    }
    None
}

/// What a failed call means; `asked` says what was asked for, and neither it nor the result holds a secret.
pub(super) fn failure(asked: &str, error: &ClientError) -> Failure {
    let Some(status) = status(error) else {
        // An answer that could not be read might be quoted by the reason why, so that reason is left out.
        let unreadable = matches!(
            error,
            ClientError::RestClientError {
                source: rustify::errors::ClientError::ResponseParseError { .. }
                    | rustify::errors::ClientError::ResponseConversionError { .. },
            } | ClientError::ResponseDataEmptyError
                | ClientError::ResponseEmptyError
                | ClientError::JsonParseError { .. }
        );
        return match unreadable {
            true => Failure::new(Kind::Unreadable, format!("{asked}: the answer is not vault's")),
            false => Failure::new(Kind::Unreachable, format!("{asked}: {}", chain(error))),
        };
    };
    let kind = match status {
        403 => Kind::Forbidden,
        404 => Kind::Missing,
        503 => Kind::Sealed,
        400 => Kind::Unreadable,
        _ => Kind::Unreachable,
    };
    let mut said = String::new();
    if let ClientError::APIError { errors, .. } = error {
        said = errors.join("; ");
    }
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().take(SAID_MAX).collect();
    let detail = match said.is_empty() {
        true => format!("{asked} answered {status}"),
        false => format!("{asked} answered {status}: {said}"),
    };
    Failure::new(kind, detail)
}

/// How much of vault's own words is told.
const SAID_MAX: usize = 200;

/// An error with its sources, once each.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        next = error.source();
    }
    words
}
