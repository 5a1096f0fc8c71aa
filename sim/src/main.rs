//! `tieline-sim`: one simulator in one process, until it is told to stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use tieline_sim::{Families, Options, Sim, Switches, Tls, certificate};
use tracing_subscriber::EnvFilter;

/// Simulates Genesys Cloud's notification API on one port.
///
/// When it is ready it prints one line of JSON: `login_url`, `api_url`, `control_url`, `client_id`,
/// `client_secret` and `queues`. From then on everything happens over HTTP: OAuth at
/// `/oauth/token`, the API at `/api/v2`, sockets at `/channels/{id}`, and the simulator's own calls
/// at `/sim` (`curl $control_url/sim/state`, `curl -d '{"mode":"rst"}' $control_url/sim/close`).
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Decides every id, body and pace of the traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many queues the organisation has.
    #[arg(long, default_value_t = 3)]
    queues: usize,
    /// Notifications per second over all queues; 0 for none.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// What to tell of beside the queues themselves.
    #[arg(long, value_delimiter = ',', value_name = "FAMILY")]
    families: Vec<Family>,
    /// The OAuth client's id; made from the seed when absent.
    #[arg(long)]
    client_id: Option<String>,
    /// The OAuth client's first secret; made from the seed when absent.
    #[arg(long)]
    client_secret: Option<String>,
    /// How long a token is good for.
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    token_ttl: humantime::Duration,
    /// How long a channel lives after it was made or subscribed last.
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    channel_ttl: humantime::Duration,
    /// The pause between two heartbeats on a socket.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    heartbeat: humantime::Duration,
    /// Requests per minute and token.
    #[arg(long, default_value_t = 300)]
    rate_limit: u32,
    /// Hold the traffic until `POST /sim/traffic {"state":"run"}`.
    #[arg(long)]
    paused: bool,
    /// A scenario to play (TOML; see sim/scenarios/).
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// The time of the traffic's first moment (RFC 3339): with it, emissions repeat to the byte.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339)]
    start: Option<SystemTime>,
    /// Send each socket this many frames of 900 bytes as fast as can be, once it is subscribed:
    /// to measure a client, not to judge it.
    #[arg(long, value_name = "FRAMES")]
    blast: Option<u64>,
    /// Turn a switch of undocumented behaviour, such as `evicted_sees=reset`; may be repeated.
    /// `curl $control_url/sim/switches` shows them all.
    #[arg(long = "switch", value_name = "NAME=POSITION")]
    switches: Vec<String>,
    /// The address that clients are told, when it is not the one that is listened on.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Speak https and wss with this certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM, PKCS#8).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Family {
    /// Presence and routing status of every agent.
    Users,
    /// Detail events of every conversation.
    Details,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a test authority and a certificate for 127.0.0.1 and the names of a test domain.
    Certificate {
        /// Where to write ca.pem, certificate.pem and key.pem.
        #[arg(long, value_name = "FOLDER")]
        dir: PathBuf,
        /// The test domain; the certificate names api., login. and streaming. before it.
        #[arg(long, default_value = "genesys.test")]
        domain: String,
    },
}

impl TryFrom<Arguments> for Options {
    type Error = anyhow::Error;

    fn try_from(arguments: Arguments) -> anyhow::Result<Self> {
        let mut switches = Switches::default();
        for text in &arguments.switches {
            switches = switches.turned(text).with_context(|| format!("cannot turn {text:?}"))?;
        }
        let (certificate, key) = (arguments.tls_cert, arguments.tls_key);
        Ok(Self {
            listen: arguments.listen,
            seed: arguments.seed,
            queues: arguments.queues,
            rate: arguments.rate,
            families: Families {
                users: arguments.families.contains(&Family::Users),
                details: arguments.families.contains(&Family::Details),
            },
            client_id: arguments.client_id,
            client_secret: arguments.client_secret,
            token_ttl: *arguments.token_ttl,
            channel_ttl: *arguments.channel_ttl,
            heartbeat: *arguments.heartbeat,
            rate_limit: arguments.rate_limit,
            paused: arguments.paused,
            scenario: arguments.scenario,
            start: arguments.start,
            blast: arguments.blast,
            switches,
            public_url: arguments.public_url.map(|url| url.trim_end_matches('/').to_owned()),
            tls: certificate.zip(key).map(|(certificate, key)| Tls { certificate, key }),
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    if let Some(Command::Certificate { dir, domain }) = &arguments.command {
        certificate::make(dir, domain)?;
        return Ok(());
    }
    let sim = Sim::start(arguments.try_into()?).await?;
    announce(&sim)?;
    stop_asked_for().await?;
    sim.stop().await;
    Ok(())
}

/// The one line on standard output; scripts wait for it.
fn announce(sim: &Sim) -> anyhow::Result<()> {
    let ready = serde_json::json!({
        "login_url": sim.login_url(),
        "api_url": sim.api_url(),
        "control_url": sim.control_url(),
        "client_id": sim.client_id(),
        "client_secret": sim.client_secret(),
        "queues": sim.queues(),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{ready}").and_then(|()| out.flush()).context("cannot write the ready line")
}

async fn stop_asked_for() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
