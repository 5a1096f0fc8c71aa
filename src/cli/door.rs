//! The running process, asked at its doors: where they are, by which token, over which certificate.
//!
//! Only asks; what is shown is `state`, `gaps` and `tap`'s.

use super::Exit;
use super::args::Door as Args;
use crate::config::{self, Config};
use crate::genesys::tls;
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The process answers from memory; longer means that it does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// The doors of a running process.
#[derive(Debug)]
pub struct Door {
    http: Client,
    base: Url,
    token: Option<SecretString>,
}

/// Why there is no answer: words for a person, and the code to end with.
#[derive(Debug)]
pub struct Trouble {
    /// What to end with.
    pub exit: Exit,
    /// What went wrong and what to do.
    pub words: String,
}

impl Trouble {
    pub(super) fn new(exit: Exit, words: impl Into<String>) -> Self {
        Self { exit, words: words.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Door {
    /// The doors of the process that runs this configuration, or those at `--url`.
    pub fn find(
        args: &Args,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Trouble> {
        tls::install_provider();
        let place = Place::of(args, variables)?;
        let mut http = Client::builder().no_proxy().connect_timeout(PATIENCE);
        if let Some((name, address)) = &place.resolve {
            http = http.resolve(name, *address);
        }
        let own = place.certificate.as_deref().map(authorities).transpose()?;
        http = match (own, place.base.scheme()) {
            (Some(own), _) => http.tls_certs_only(own),
            (None, "https") => http,
            // Without TLS the system's authorities are not needed, and a container may lack them.
            (None, _) => http.tls_certs_only([]),
        };
        let http = http.build();
        let http = http.map_err(|error| Trouble::new(Exit::Configuration, error.to_string()))?;
        let token = place.token.as_deref().map(read_token).transpose()?;
        Ok(Self { http, base: place.base, token })
    }

    /// What a door says, as JSON.
    pub async fn ask(&self, path: &str) -> Result<Value, Trouble> {
        let asked = async {
            let response = self.send(path, &[]).await?;
            let text = response.bytes().await.map_err(|error| self.lost(&error))?;
            serde_json::from_slice(&text).map_err(|_| {
                Trouble::new(Exit::Unreachable, format!("{} is no door of tieline", self.base))
            })
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| {
            let words = format!("no answer from {} within {} s", self.base, PATIENCE.as_secs());
            Err(Trouble::new(Exit::Unreachable, words))
        })
    }

    /// A stream, from its first bytes on.
    pub async fn send(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Trouble> {
        let mut url = self.base.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(Trouble::new(Exit::Unreachable, self.words(response).await))
            }
            _ => Err(Trouble::new(Exit::Configuration, self.words(response).await)),
        }
    }

    /// What the door says of its refusal.
    async fn words(&self, response: Response) -> String {
        let status = response.status().as_u16();
        let body: Value = match response.bytes().await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
            Err(_) => Value::Null,
        };
        let words = body["error"].as_str().unwrap_or("no door of tieline answers there");
        format!("{} answered {status}: {words}", self.base)
    }

    fn lost(&self, error: &reqwest::Error) -> Trouble {
        let mut source: &dyn std::error::Error = error;
        while let Some(deeper) = source.source() {
            source = deeper;
        }
        let words = format!(
            "no process answers at {} ({source}); is it running, and is admin.listen or --url its address?",
            self.base
        );
        Trouble::new(Exit::Unreachable, words)
    }
}

/// Where the doors are.
struct Place {
    base: Url,
    token: Option<PathBuf>,
    certificate: Option<PathBuf>,
    /// A name that the certificate has, and the address behind it.
    resolve: Option<(String, SocketAddr)>,
}

impl Place {
    fn of(args: &Args, variables: impl Iterator<Item = (String, String)>) -> Result<Self, Trouble> {
        if let Some(url) = &args.url {
            let base = Url::parse(url).ok().filter(|url| url.has_host());
            let words = format!("--url {url} is no address such as http://127.0.0.1:9464");
            let base = base.ok_or_else(|| Trouble::new(Exit::Usage, words))?;
            let (token, certificate) = (args.token_file.clone(), args.ca_file.clone());
            return Ok(Self { base, token, certificate, resolve: None });
        }
        let config = Config::load(args.file.as_deref(), variables)
            .map_err(|mistakes| Trouble::new(Exit::Configuration, mistakes.to_string()))?;
        let admin = config.admin;
        if admin.listen.port() == 0 {
            let words = "admin.listen takes any port: say --url, as the process logged it";
            return Err(Trouble::new(Exit::Usage, words));
        }
        let address = SocketAddr::new(reachable(admin.listen.ip()), admin.listen.port());
        let secure = admin.tls_cert.is_some();
        let name = admin.hosts.first().filter(|_| secure);
        let host =
            name.map_or_else(|| address.to_string(), |name| format!("{name}:{}", address.port()));
        let scheme = if secure { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{host}"))
            .map_err(|error| Trouble::new(Exit::Configuration, format!("admin.hosts: {error}")))?;
        Ok(Self {
            base,
            token: args.token_file.clone().or(admin.token_file),
            certificate: args.ca_file.clone().or(admin.tls_cert),
            resolve: name.map(|name| (name.clone(), address)),
        })
    }
}

/// An address that can be connected to: "any" is this machine.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Trouble> {
    let unfit = |why: String| {
        let words = format!("{} cannot be trusted: {why}", path.display());
        Trouble::new(Exit::Configuration, words)
    };
    let pem = std::fs::read(path).map_err(|error| unfit(error.to_string()))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| unfit(error.to_string()))
}

fn read_token(path: &Path) -> Result<SecretString, Trouble> {
    let text = std::fs::read_to_string(path).map(SecretString::from).map_err(|error| {
        let words = format!("the token in {} cannot be read: {error}", path.display());
        Trouble::new(Exit::Configuration, words)
    })?;
    Ok(SecretString::from(text.expose_secret().trim()))
}

/// A runtime of one thread for a command that asks and ends.
pub(super) fn on_runtime<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bug = |error| Trouble::new(Exit::Bug, format!("the system gives no threads: {error}"));
    let runtime = runtime.map_err(bug)?;
    let done = runtime.block_on(work);
    // A thread that hangs in a broker's library must not hold up the end.
    runtime.shutdown_background();
    done
}

/// Asks one door and shows its answer.
pub(super) fn show(
    args: &Args,
    path: &str,
    text: impl FnOnce(&Value, &mut dyn std::io::Write) -> std::io::Result<()>,
) -> Exit {
    let asked = Door::find(args, config::variables())
        .and_then(|door| on_runtime(async { door.ask(path).await }));
    super::say::end(asked, args.output, text)
}
