//! `POST /oauth/token`: the client credentials grant, by Basic header or by form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use super::{Answer, Call, Problem, Reply};
use crate::platform::{Denied, Platform};

/// Answers a token, or says in OAuth's words why not.
pub(super) fn token(platform: &Platform, call: &Call) -> Answer {
    if call.method != Method::POST {
        return Err(Problem::method_not_allowed());
    }
    let form = form(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    match field("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        Some(_) => {
            return Err(Problem::oauth(
                400,
                "unsupported_grant_type",
                "this simulator knows client_credentials only",
            ));
        }
        None => {
            return Err(Problem::oauth(400, "invalid_request", "grant_type is missing"));
        }
    }
    let (id, secret) = basic(call)
        .or_else(|| Some((field("client_id")?.clone(), field("client_secret")?.clone())))
        .ok_or_else(|| Problem::oauth(401, "invalid_client", "client credentials are missing"))?;
    let mut state = platform.state();
    let granted = state.grant(&id, &secret);
    let status = match granted {
        Ok(_) => 200,
        Err(Denied::UnknownClient) => 400,
        Err(Denied::WrongSecret) => 401,
    };
    state.log.login(id, status);
    match granted {
        Ok((token, seconds)) => Ok(Reply::json(&json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": seconds,
        }))),
        Err(Denied::UnknownClient) => {
            Err(Problem::oauth(400, "invalid_client", "client not found: no such client id"))
        }
        Err(Denied::WrongSecret) => {
            Err(Problem::oauth(401, "invalid_client", "authentication failed"))
        }
    }
}

fn basic(call: &Call) -> Option<(String, String)> {
    let header = call.header("authorization")?;
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// The pairs of a form or a query, decoded.
pub(super) fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match after.get(..2).and_then(hex_byte) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                None => bytes.push(first),
            },
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let pairs = form("a=1%202&b=x+y&c&d=%zz");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("a", "1 2"), pair("b", "x y"), pair("c", ""), pair("d", "%zz")]);
    }
}
