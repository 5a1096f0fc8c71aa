//! `GET /channels/{id}`: the WebSocket handshake. The address is the credential.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Problem;
use crate::platform::{Platform, Refused};
use crate::socket::{self, Socket, Wire};

/// Switches the connection to WebSocket, or refuses to.
pub(super) fn answer(
    platform: &Arc<Platform>,
    id: &str,
    correlation_id: &str,
    request: &mut Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| is_upgrade(request))
        .ok_or_else(|| Problem::new(400, "bad.request", "not a WebSocket handshake"))?
        .clone();
    let (handle, ends) = Socket::new();
    let serial = platform.state().open(id, handle).map_err(|refused| match refused {
        Refused::NoSuchChannel(status) => Problem::no_channel(status),
    })?;
    let upgrade = hyper::upgrade::on(request);
    platform.tasks.spawn(take_over(Arc::clone(platform), id.to_owned(), serial, ends, upgrade));
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Ok(id) = correlation_id.parse() {
        headers.insert("inin-correlation-id", id);
    }
    Ok(response)
}

async fn take_over(
    platform: Arc<Platform>,
    id: String,
    serial: u64,
    ends: socket::Ends,
    upgrade: OnUpgrade,
) {
    let Ok(upgraded) = upgrade.await else {
        platform.state().close(&id, serial, "handshake broken off");
        return;
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Wire>>() else {
        platform.state().close(&id, serial, "handshake broken off");
        return;
    };
    let early = parts.read_buf.to_vec();
    socket::serve(platform, id, serial, parts.io.into_inner(), early, ends).await;
}

fn is_upgrade(request: &Request<Incoming>) -> bool {
    let named = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    named && request.method() == Method::GET
}
