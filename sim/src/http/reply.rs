//! Replies and the one shape of every error: `ErrorBody`.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};

use crate::platform::Budget;
use crate::switches::RetryAfter;

/// A reply before hyper sees it.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Problem {
    status: u16,
    code: Cow<'static, str>,
    message: String,
    details: Option<Box<Value>>,
    retry_after: Option<(u64, RetryAfter)>,
    budget: Option<Budget>,
    /// The token call has an error shape of its own.
    body: Option<Box<Value>>,
}

impl Reply {
    /// 200 with a JSON body.
    pub(crate) fn json(body: &impl Serialize) -> Self {
        // Every type that is answered here can be written as JSON.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { status: 200, headers: vec![("content-type", JSON.into())], body: body.into() }
    }

    /// A status without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds what the rate limit headers say.
    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.headers.push(("inin-ratelimit-count", budget.count.to_string()));
        self.headers.push(("inin-ratelimit-allowed", budget.allowed.to_string()));
        self.headers.push(("inin-ratelimit-reset", budget.reset.to_string()));
        self
    }

    /// The reply as hyper sends it.
    pub(crate) fn response(self, correlation_id: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
        if let Ok(value) = correlation_id.parse() {
            headers.insert("inin-correlation-id", value);
        }
        response
    }
}

const JSON: &str = "application/json; charset=utf-8";

impl Problem {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: None,
            retry_after: None,
            budget: None,
            body: None,
        }
    }

    /// An error in the shape of the token call.
    pub(crate) fn oauth(status: u16, error: &'static str, description: &str) -> Self {
        let body = json!({
            "error": error,
            "description": description,
            "error_description": description,
        });
        Self { body: Some(Box::new(body)), ..Self::new(status, error, description) }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "not.found", "The requested resource was not found.")
    }

    /// A handshake for a channel that is not there, in whatever words the switches ask for.
    pub(crate) fn no_channel(status: u16) -> Self {
        let code = match status {
            401 => "authentication.required",
            403 => "not.authorized",
            _ => "not.found",
        };
        Self::new(status, code, "The channel was not found.")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "method.not.allowed", "The method is not allowed for this resource.")
    }

    /// The error a throttle asks for, or an overdrawn budget.
    pub(crate) fn throttled(status: u16, retry_after: Option<u64>, dated: RetryAfter) -> Self {
        let (code, message) = match (status, retry_after) {
            (429, Some(seconds)) => (
                "too.many.requests.retry.after",
                format!(
                    "Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds"
                ),
            ),
            (429, None) => ("too.many.requests", "Rate limit exceeded the maximum.".to_owned()),
            (400, _) => ("bad.request", "The request could not be understood.".to_owned()),
            (401, _) => ("bad.credentials", "Invalid login credentials.".to_owned()),
            (403, _) => ("not.authorized", "You are not authorized.".to_owned()),
            (404, _) => ("not.found", "The requested resource was not found.".to_owned()),
            (408, _) => ("client.timeout", "The client did not produce a request.".to_owned()),
            (503, _) => ("service.unavailable", "Service Unavailable".to_owned()),
            (504, _) => ("authentication.request.timeout", "Gateway Timeout".to_owned()),
            (_, _) => ("internal.server.error", "The request could not be served.".to_owned()),
        };
        let retry_after = retry_after.map(|seconds| (seconds, dated));
        Self { retry_after, ..Self::new(status, code, message) }
    }

    /// Another code than the usual one of its status.
    pub(crate) fn coded(self, code: Option<String>) -> Self {
        Self { code: code.map_or(self.code, Cow::Owned), ..self }
    }

    /// Adds `details`, an array.
    pub(crate) fn details(self, details: Value) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    /// Adds what the rate limit headers say.
    pub(crate) fn budget(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The reply, with the request's id in it.
    pub(crate) fn reply(self, correlation_id: &str) -> Reply {
        let body = self.body.map(|body| *body).unwrap_or_else(|| {
            json!({
                "message": self.message,
                "code": self.code,
                "status": self.status,
                "contextId": correlation_id,
                "details": self.details.as_deref().unwrap_or(&json!([])),
                "errors": [],
            })
        });
        let mut reply = Reply { status: self.status, ..Reply::json(&body) };
        if let Some((seconds, dated)) = self.retry_after {
            let value = match dated {
                RetryAfter::Seconds => seconds.to_string(),
                RetryAfter::Date => {
                    // Dates have whole seconds: this one must not be too early.
                    let wait = Duration::from_secs(seconds + 1);
                    httpdate::fmt_http_date(SystemTime::now() + wait)
                }
            };
            reply.headers.push(("retry-after", value));
        }
        match self.budget {
            Some(budget) => reply.budget(budget),
            None => reply,
        }
    }
}
