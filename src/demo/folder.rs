//! The folder of one run: configuration, log, secret and what the bridge writes. It stays when the run is over, for whoever wants
//! to look; only the secret goes.

use anyhow::Context;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A new folder that nobody else can read.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one beside other temporary files.
    pub(super) fn make() -> anyhow::Result<Self> {
        let name = format!("tieline-demo-{:08x}", rand::rng().random::<u32>());
        let path = std::env::temp_dir().join(name);
        // Fails where there is one already: a folder that was laid out for us is not ours.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The bridge's and the simulator's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("demo.log")
    }

    /// The configuration that the bridge reads.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join("demo.toml")
    }

    /// The client secret that the bridge watches.
    pub(super) fn secret(&self) -> PathBuf {
        self.path.join("client_secret")
    }

    /// What the jsonl sink writes.
    pub(super) fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The bridge's own state.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Puts a secret in place as an operator should: written beside it, then renamed over it.
    pub(super) fn write_secret(&self, secret: &SecretString) -> anyhow::Result<()> {
        let (path, next) = (self.secret(), self.path.join("client_secret.next"));
        let written = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&next)
            .and_then(|mut file| file.write_all(secret.expose_secret().as_bytes()))
            .and_then(|()| fs::rename(&next, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is only the simulator's; what cannot be removed does no harm.
        fs::remove_file(self.secret()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_replaced_as_a_whole_and_does_not_outlive_the_run() {
        let folder = Folder::make().unwrap();
        folder.write_secret(&"first".into()).unwrap();
        folder.write_secret(&"second".into()).unwrap();
        assert_eq!(fs::read_to_string(folder.secret()).unwrap(), "second");
        let path = folder.path().to_owned();
        drop(folder);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir(path).unwrap();
    }
}
