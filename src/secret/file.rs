//! Credentials in a file or a variable: the bare secret, or JSON with `client_id` and `client_secret`.
//!
//! The file is opened anew by its path at each look, so that renames over it and swapped symlinks (Vault Agent, Kubernetes)
//! are seen without watching anything.

use super::source::{Failure, Found, Kind};
use secrecy::SecretString;
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// No credentials are larger; a larger file is a mistake, and must not fill the memory.
const SIZE_MAX: u64 = 64 << 10;

/// A watched file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
}

impl File {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the credentials that the path names now.
    pub(super) async fn look(&self) -> Result<Found, Failure> {
        let text = read(&self.path).await?;
        parse(&text).map_err(|detail| {
            Failure::new(Kind::Unreadable, format!("{} {detail}", self.path.display()))
        })
    }
}

/// The text of a small file. Neither a pipe that nobody writes to nor a device without end can hold this up.
pub(super) async fn read(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let failed = |error: std::io::Error| {
        let is = |kind| error.kind() == kind;
        let (kind, why) = if is(ErrorKind::NotFound) {
            (Kind::Missing, "there is no such file".to_owned())
        } else if is(ErrorKind::PermissionDenied) {
            (Kind::Unreadable, "permission denied for this process's user".to_owned())
        } else if is(ErrorKind::InvalidData) {
            (Kind::Unreadable, "it is not text".to_owned())
        } else {
            (Kind::Unreadable, error.to_string())
        };
        Failure::new(kind, format!("{name} cannot be read: {why}"))
    };
    // To open a pipe waits for its writer, unless it is told not to.
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).await;
    let file = file.map_err(failed)?;
    if !file.metadata().await.map_err(failed)?.is_file() {
        let detail = format!("{name} is not a regular file");
        return Err(Failure::new(Kind::Unreadable, detail));
    }
    let mut text = String::new();
    file.take(SIZE_MAX + 1).read_to_string(&mut text).await.map_err(failed)?;
    if text.len() as u64 > SIZE_MAX {
        let detail = format!("{name} is larger than {SIZE_MAX} bytes, which no credentials are");
        return Err(Failure::new(Kind::Unreadable, detail));
    }
    Ok(text)
}

/// The credentials in an environment variable.
pub(super) fn variable(name: &str) -> Result<Found, Failure> {
    let text = std::env::var(name).map_err(|error| {
        let problem = match error {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not text",
        };
        Failure::new(Kind::Missing, format!("the variable {name} {problem}"))
    })?;
    parse(&text)
        .map_err(|detail| Failure::new(Kind::Unreadable, format!("the variable {name} {detail}")))
}

#[derive(Deserialize)]
struct Json {
    client_id: Option<String>,
    client_secret: String,
}

/// Reads bare or JSON credentials; the error fits after the source's name and quotes nothing of the text.
fn parse(text: &str) -> Result<Found, &'static str> {
    let text = text.trim_end_matches(['\r', '\n']);
    let (client_id, secret) = match text.trim_start().starts_with('{') {
        false => (None, text.to_owned()),
        true => match serde_json::from_str::<Json>(text) {
            Ok(json) => (json.client_id, json.client_secret),
            Err(_) => return Err("is not JSON with a client_secret"),
        },
    };
    match secret.as_str() {
        "" => Err("is empty"),
        "<no value>" => Err("holds \"<no value>\": the template that wrote it found no such key"),
        secret if secret.contains(['\r', '\n', '\0']) => Err("holds more than one line"),
        _ => Ok(Found {
            client_id: client_id.filter(|id| !id.is_empty()),
            client_secret: SecretString::from(secret),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn secret(text: &str) -> String {
        let found = parse(text).expect("credentials");
        found.client_secret.expose_secret().to_owned()
    }

    #[test]
    fn a_bare_secret_loses_its_trailing_newline_only() {
        assert_eq!(secret("s3 cret\n"), "s3 cret");
        assert_eq!(secret("s3 cret\r\n"), "s3 cret");
        assert_eq!(secret(" padded"), " padded");
    }

    #[test]
    fn json_may_name_the_client() {
        let found = parse(r#"{"client_id":"me","client_secret":"s","other":1}"#).expect("json");
        assert_eq!(found.client_id.as_deref(), Some("me"));
        assert_eq!(found.client_secret.expose_secret(), "s");
        let found = parse("\n{\"client_secret\":\"s\"}\n").expect("json");
        assert_eq!(found.client_id, None);
    }

    #[test]
    fn what_is_not_credentials_is_refused_without_being_quoted() {
        for text in ["", "\n", "{\"client_secret\":\"hunter", "<no value>", "a\nb"] {
            let detail = parse(text).expect_err(text);
            assert!(!detail.contains("hunter"), "{detail}");
        }
    }

    #[test]
    fn a_variable_is_read_by_its_name_and_what_it_holds_is_not_shown() {
        // Whoever runs tests has this one, with one line in it.
        let text = std::env::var("PATH").expect("a search path");
        let found = variable("PATH").expect("text");
        assert_eq!((found.client_secret.expose_secret(), &found.client_id), (&*text, &None));
        assert!(!format!("{found:?}").contains(&text), "{found:?}");
        let failure = variable("TIELINE_NO_SUCH_VARIABLE").expect_err("nobody sets it");
        let words = "the variable TIELINE_NO_SUCH_VARIABLE is not set";
        assert_eq!(failure, Failure::new(Kind::Missing, words));
    }
}
