//! How an answer looks: never kept by a cache, never taken for another type, never within another page, and loading nothing from
//! elsewhere.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What browsers are told of every answer. The page's own style, script and stream are all that it may load.
pub(super) const HEADERS: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
];

/// An answer of this type.
pub(super) fn answer(code: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    (code, [(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// A value as JSON.
pub(super) fn json<T: Serialize>(code: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => answer(code, "application/json", text),
        // Our own types always serialise; a door that cannot answer must still not take the others down.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A refusal, with what to do instead.
pub(super) fn refusal(code: StatusCode, error: impl Into<String>) -> Response {
    #[derive(Serialize)]
    struct Refusal {
        error: String,
    }
    json(code, &Refusal { error: error.into() })
}

/// Tells browsers what they are told of every answer.
pub(super) fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
