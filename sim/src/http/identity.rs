//! Tokens and OAuth clients over REST: is my token good, end it, give my client a new secret.

use http::Method;
use serde_json::{Value, json};

use super::control::rotated;
use super::{Answer, Call, Caller, Problem, Reply};
use crate::platform::{Client, Ending, Platform};

/// `/api/v2/tokens/me`: `HEAD` to ask, `GET` to see, `DELETE` to revoke.
pub(super) fn me(platform: &Platform, call: &Call, caller: &Caller) -> Answer {
    match call.method {
        Method::HEAD => Ok(Reply::empty(200)),
        Method::GET => {
            let organization = organization(platform);
            Ok(Reply::json(&json!({
                "organization": organization,
                "homeOrganization": organization,
                "authorizedScope": [],
                "OAuthClient": {
                    "id": caller.client_id,
                    "name": "tieline",
                    "organization": organization,
                },
            })))
        }
        Method::DELETE => {
            platform.state().end_token(&caller.token, Ending::TokenRevoked);
            Ok(Reply::empty(200))
        }
        _ => Err(Problem::method_not_allowed()),
    }
}

/// `GET /api/v2/organizations/me`.
pub(super) fn my_organization(platform: &Platform, call: &Call) -> Answer {
    match call.method {
        Method::GET => Ok(Reply::json(&organization(platform))),
        _ => Err(Problem::method_not_allowed()),
    }
}

/// `GET /api/v2/oauth/clients/{id}`: the client without its secret, which is shown only when made.
pub(super) fn client(platform: &Platform, call: &Call, id: &str) -> Answer {
    if call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let state = platform.state();
    let found = state.clients.iter().find(|client| client.id == id);
    let found = found.ok_or_else(Problem::not_found)?;
    Ok(Reply::json(&body(platform, found, None)))
}

/// `POST /api/v2/oauth/clients/{id}/secret`: a new secret, answered with the client. The old one is
/// wrong from now on; there is no time in which both are good.
pub(super) fn regenerate(platform: &Platform, call: &Call, id: &str) -> Answer {
    if call.method != Method::POST {
        return Err(Problem::method_not_allowed());
    }
    let mut state = platform.state();
    if !state.clients.iter().any(|client| client.id == id) {
        return Err(Problem::not_found());
    }
    let client = state.rotate(Some(id), None);
    let kill_tokens = state.switches.rotation_kills_tokens;
    let kill_sockets = state.switches.rotation_kills_sockets;
    rotated(&mut state, &client, kill_tokens, kill_sockets);
    Ok(Reply::json(&body(platform, &client, Some(&client.secret))))
}

fn body(platform: &Platform, client: &Client, secret: Option<&str>) -> Value {
    let mut body = json!({
        "id": client.id,
        "name": "tieline",
        "accessTokenValiditySeconds": platform.options.token_ttl.as_secs(),
        "authorizedGrantType": "CLIENT-CREDENTIALS",
        "roleDivisions": [],
        "state": "active",
        "selfUri": format!("/api/v2/oauth/clients/{}", client.id),
    });
    if let Some(secret) = secret {
        body["secret"] = secret.into();
    }
    body
}

fn organization(platform: &Platform) -> Value {
    json!({"id": platform.traffic.organization(), "name": "Simulated"})
}
