//! What a configuration file holds at one look, as bytes.
//!
//! Knows nothing of TOML. The file is opened anew by its path at each look, so that renames over it and swapped symlinks (Kubernetes)
//! are seen without watching anything.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// What a file of configuration may weigh. Real ones have a few KiB; more is a wrong file, such as a log or a disk.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// What the file held, or why it could not be read. Never shown: a file may hold passwords of Kafka's.
pub struct Text {
    path: PathBuf,
    bytes: Result<Vec<u8>>,
}

impl Text {
    /// Reads a file of any kind, once: a pipe that a shell made is one too.
    pub fn read(path: &Path) -> Self {
        Self { path: path.into(), bytes: File::open(path).and_then(bounded) }
    }

    /// Reads a file that is to be read again and again. A pipe gives its text only once, and would keep whoever opens it waiting.
    pub fn read_again(path: &Path) -> Self {
        let regular = || {
            let mut options = OpenOptions::new();
            let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
            if !file.metadata()?.is_file() {
                return Err(Error::other("it is no regular file, which could be read again"));
            }
            bounded(file)
        };
        Self { path: path.into(), bytes: regular() }
    }

    /// A file on a disk that does not answer.
    pub fn silent(path: &Path) -> Self {
        Self { path: path.into(), bytes: Err(ErrorKind::TimedOut.into()) }
    }

    /// The file as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it held; at most one byte more than it may have.
    pub(super) fn bytes(&self) -> std::result::Result<&[u8], &Error> {
        self.bytes.as_deref()
    }

    /// Equal for two looks that found the same.
    pub fn print(&self) -> u128 {
        match &self.bytes {
            Ok(bytes) => xxh3_128(bytes),
            Err(error) => xxh3_128(format!("unreadable: {:?}", error.kind()).as_bytes()),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file's bytes, at most one more than it may have: a device has no end.
fn bounded(file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_rename_and_a_swapped_symlink_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("one", "a = 1"), ("two", "a = 2"), ("three", "a = 3")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("tieline.toml"), text).unwrap();
        }
        // As kubelet mounts a config map: the file leads through ..data, which is replaced in one move.
        symlink("one", at("..data")).unwrap();
        symlink("..data/tieline.toml", at("tieline.toml")).unwrap();
        let first = Text::read(&at("tieline.toml"));
        assert_eq!(first.print(), Text::read_again(&at("tieline.toml")).print());
        symlink("two", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        let swapped = Text::read_again(&at("tieline.toml"));
        assert_eq!(swapped.bytes().unwrap(), b"a = 2");
        assert_ne!(first.print(), swapped.print());
        std::fs::rename(at("three/tieline.toml"), at("tieline.toml")).unwrap();
        assert_eq!(Text::read_again(&at("tieline.toml")).bytes().unwrap(), b"a = 3");
    }

    #[test]
    fn what_cannot_be_read_again_does_not_hold_anybody_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let refused = Text::read_again(&pipe);
        assert!(refused.bytes().unwrap_err().to_string().contains("no regular file"));
        let missing = Text::read_again(&folder.path().join("none"));
        assert_ne!(refused.print(), missing.print());
    }
}
