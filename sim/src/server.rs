//! The listener: accepts connections, speaks TLS where asked to, and hands each to HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::http;
use crate::options::{Options, Tls};
use crate::platform::Platform;
use crate::scenario::{self, Scenario};
use crate::socket::Wire;
use crate::traffic::{self, Queue};

/// How often tokens, channels and throttles are looked at for their end.
const EXPIRY_TICK: Duration = Duration::from_millis(50);

/// How long [`Sim::stop`] waits for its tasks.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The scenario cannot be read, or a step of it is not known.
    #[error("cannot play the scenario")]
    Scenario(#[from] scenario::Error),
    /// The scenario turns a switch that is not there, or to where it cannot be.
    #[error("cannot turn the scenario's switches")]
    Switches(#[source] serde_json::Error),
    /// The certificate or the key cannot be used.
    #[error("cannot use the certificate {}", certificate.display())]
    Certificate {
        /// The file named in the options.
        certificate: std::path::PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A running simulator; it runs until [`Sim::stop`] or until the runtime ends.
#[derive(Debug)]
pub struct Sim {
    platform: Arc<Platform>,
    address: SocketAddr,
    client_id: String,
    client_secret: String,
}

impl Sim {
    /// Starts one and answers when it accepts connections.
    ///
    /// # Errors
    /// When the address cannot be bound, or the scenario or the certificate cannot be read.
    pub async fn start(mut options: Options) -> Result<Self, Error> {
        let mut scenario = options.scenario.as_deref().map(Scenario::load).transpose()?;
        let mut scripted = Vec::new();
        if let Some(scenario) = &mut scenario {
            scripted = scenario.take_emissions();
            options.switches =
                options.switches.with(&scenario.switches).map_err(Error::Switches)?;
        }
        let acceptor = options.tls.as_ref().map(acceptor).transpose()?;
        let listen = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let base_url =
            options.public_url.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
        let platform = Arc::new(Platform::new(options, base_url, scripted));
        let (client_id, client_secret) = platform
            .state()
            .clients
            .first()
            .map(|client| (client.id.clone(), client.secret.clone()))
            .unwrap_or_default();
        platform.tasks.spawn(accept(Arc::clone(&platform), listener, acceptor));
        platform.tasks.spawn(traffic::drive(Arc::clone(&platform)));
        platform.tasks.spawn(expire(Arc::clone(&platform)));
        if let Some(scenario) = scenario {
            platform.tasks.spawn(scenario::play(Arc::clone(&platform), scenario));
        }
        Ok(Self { platform, address, client_id, client_secret })
    }

    /// Where it listens, whatever address it tells its clients.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where tokens are asked for, without a slash at the end.
    pub fn login_url(&self) -> &str {
        &self.platform.base_url
    }

    /// Where the API is, without a slash at the end.
    pub fn api_url(&self) -> &str {
        &self.platform.base_url
    }

    /// Where the control calls are: put `/sim/state` behind it.
    pub fn control_url(&self) -> &str {
        &self.platform.base_url
    }

    /// The OAuth client's id.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The OAuth client's first secret; after a rotation it is the wrong one.
    pub fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// The queues of the organisation.
    pub fn queues(&self) -> &[Queue] {
        self.platform.traffic.queues()
    }

    /// The journal so far.
    pub fn journal(&self) -> crate::journal::Journal {
        self.platform.state().log.read(1)
    }

    /// Ends every connection and waits for the tasks.
    pub async fn stop(self) {
        self.platform.stopped.cancel();
        self.platform.tasks.close();
        if tokio::time::timeout(STOP_MAX, self.platform.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

async fn accept(platform: Arc<Platform>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    let stopped = platform.stopped.clone();
    while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(Arc::clone(&platform), stream, acceptor.clone());
                platform.tasks.spawn(stopped.clone().run_until_cancelled_owned(connection));
            }
            // Out of file descriptors: others have to end first.
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(platform: Arc<Platform>, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let wire = match acceptor {
        None => Wire::plain(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Wire::tls(stream),
            Err(error) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
        },
    };
    let service = service_fn(move |request| {
        let platform = Arc::clone(&platform);
        async move { Ok::<_, std::convert::Infallible>(http::handle(platform, request).await) }
    });
    // Some official clients look headers up by their usual spelling.
    let served = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn expire(platform: Arc<Platform>) {
    let mut tick = tokio::time::interval(EXPIRY_TICK);
    let stopped = platform.stopped.clone();
    while stopped.run_until_cancelled(tick.tick()).await.is_some() {
        platform.expire();
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    crate::tls::config(tls)
        .map(|config| TlsAcceptor::from(Arc::new(config)))
        .map_err(|source| Error::Certificate { certificate: tls.certificate.clone(), source })
}
