//! Opens a channel's socket: connection, proxy, TLS and WebSocket handshake within one deadline.
//!
//! The address is a credential: no refusal repeats it.

use super::Error;
use super::config::Config;
use super::proxy::{Way, Ways};
use super::refusal::{chain, is_tls, refusal, retry_after, scrub};
use super::rest::Channel;
use super::tls::Trust;
use crate::clock::Clock;
use crate::lifecycle::{Call, Reason, Refusal};
use crate::proxy::Proxies;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{DATE, RETRY_AFTER};
use tokio_tungstenite::tungstenite::http::{HeaderName, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

/// An open socket.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<Way>>;

/// A frame's body is a slice of this buffer and keeps it alive, so that it is not larger than a few frames.
const READ_BUFFER: usize = 32 << 10;

/// We send probes, pongs and close frames. More than this unsent means that the peer has stopped to read.
const WRITE_BUFFER_MAX: usize = 64 << 10;

/// Opens sockets.
#[derive(Debug)]
pub(super) struct Opener {
    tls: Arc<rustls::ClientConfig>,
    ways: Ways,
    timeout: Duration,
    frame_max: usize,
    allow_insecure: bool,
    clock: Clock,
}

impl Opener {
    pub(super) fn new(
        config: &Config,
        trust: &Trust,
        proxies: Proxies,
        clock: Clock,
    ) -> Result<Self, Error> {
        let tls = trust.socket()?;
        Ok(Self {
            ways: Ways::new(proxies, tls.clone()),
            tls,
            timeout: config.request_timeout,
            frame_max: usize::try_from(config.frame_max.0).unwrap_or(usize::MAX),
            allow_insecure: config.allow_insecure,
            clock,
        })
    }

    /// Opens the channel's socket.
    pub(super) async fn open(&self, channel: &Channel) -> Result<Socket, Refusal> {
        match tokio::time::timeout(self.timeout, self.handshake(channel)).await {
            Ok(opened) => opened,
            Err(_) => {
                let detail = format!("the handshake took longer than {:?}", self.timeout);
                Err(refusal(Reason::Timeout, detail))
            }
        }
    }

    async fn handshake(&self, channel: &Channel) -> Result<Socket, Refusal> {
        // Whatever is wrong with the address, the words for it may quote it.
        let request = channel.connect_uri.expose_secret().into_client_request().map_err(|_| {
            refusal(
                Reason::Unexpected,
                "the platform gave an address for the socket that is not a URL",
            )
        })?;
        match request.uri().scheme_str() {
            Some("wss") => {}
            Some("ws") if self.allow_insecure => {}
            Some("ws") => {
                return Err(refusal(
                    Reason::Unexpected,
                    "the platform gave a ws address, and genesys.allow_insecure is false",
                ));
            }
            Some(_) | None => {
                return Err(refusal(
                    Reason::Unexpected,
                    "the platform gave an address for the socket that is neither wss nor ws",
                ));
            }
        }
        let stream = self.ways.connect(request.uri()).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX)
            .max_message_size(Some(self.frame_max))
            .max_frame_size(Some(self.frame_max));
        let connector = Connector::Rustls(self.tls.clone());
        let opened = tokio_tungstenite::client_async_tls_with_config(
            request,
            stream,
            Some(config),
            Some(connector),
        );
        match opened.await {
            Ok((socket, _)) => Ok(socket),
            Err(error) => Err(self.refused(error, channel)),
        }
    }

    fn refused(&self, error: tungstenite::Error, channel: &Channel) -> Refusal {
        if let tungstenite::Error::Http(response) = &error {
            return self.refused_by_status(response, channel);
        }
        let reason = if is_tls(&error) {
            Reason::Tls
        } else if let tungstenite::Error::Io(_) = error {
            Reason::Cut
        } else {
            Reason::Protocol
        };
        let hidden = [channel.connect_uri.expose_secret(), channel.id.expose_secret()];
        let detail = format!("the handshake failed: {}", chain(&error));
        refusal(reason, scrub(&detail, &hidden))
    }

    fn refused_by_status(
        &self,
        response: &Response<Option<Vec<u8>>>,
        channel: &Channel,
    ) -> Refusal {
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let status = response.status().as_u16();
        let mut detail = format!("the handshake was answered {status}");
        if let Some(context) = header(HeaderName::from_static("inin-correlation-id")) {
            detail.push_str(&format!(" (contextId {context})"));
        }
        let now = self.clock.timestamp();
        Refusal {
            reason: Call::Handshake.refused_by(status),
            retry_after: retry_after(header(RETRY_AFTER), header(DATE), now),
            detail: scrub(&detail, &[channel.id.expose_secret()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;
    use secrecy::SecretString;

    fn opener() -> Opener {
        let config = Config {
            region: Some("mypurecloud.ie".into()),
            login_url: None,
            api_url: None,
            client_id: None,
            ca_file: None,
            queues: Vec::new(),
            topics: Vec::new(),
            allow_insecure: false,
            request_timeout: Duration::from_secs(5),
            frame_max: Size(1 << 20),
        };
        let trust = Trust::load(None).expect("the system's");
        Opener::new(&config, &trust, Proxies::default(), Clock::start()).expect("an opener")
    }

    #[tokio::test]
    async fn an_address_that_is_not_wss_is_refused_and_not_repeated() {
        for (uri, problem) in [
            ("ws://127.0.0.1:1/channels/hunter2", "allow_insecure"),
            ("http://127.0.0.1:1/channels/hunter2", "neither wss nor ws"),
            ("hunter2 is not a URL", "not a URL"),
        ] {
            let channel =
                Channel { id: SecretString::from("hunter2"), connect_uri: SecretString::from(uri) };
            let refusal = opener().open(&channel).await.expect_err(uri);
            assert_eq!(refusal.reason, Reason::Unexpected, "{refusal:?}");
            assert!(refusal.detail.contains(problem), "{refusal:?}");
            assert!(!refusal.detail.contains("hunter2"), "{refusal:?}");
        }
    }
}
