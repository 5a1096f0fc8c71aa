//! The name under which an installation's transactions are known, made up once and kept in the data directory.
//!
//! It must be the same after a restart, for then the brokers end what the last process left open; and another for every other
//! installation, since two with one name would fence each other. Host names and paths promise neither.

use super::{Config, Delivery};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Where the name is kept.
const FILE: &str = "kafka.transactional-id";

impl Config {
    /// Fills in `transactional_id` where it is needed and not configured: from `data_dir`, which remembers a name that is made
    /// up at the first time.
    ///
    /// # Errors
    /// When the data directory cannot be read or written.
    pub fn identify(&mut self, data_dir: &Path) -> io::Result<()> {
        if self.delivery == Delivery::ExactlyOnce && self.transactional_id.is_none() {
            self.transactional_id = Some(remembered(&data_dir.join(FILE))?);
        }
        Ok(())
    }
}

fn remembered(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        // A crash while it was written can leave it empty, and then nothing was sent under it.
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let name = format!("tieline-{:016x}", rand::random::<u64>());
    let mut file = File::create(path)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_up_once_and_differs_elsewhere() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let name = |file: &str| remembered(&folder.path().join(file)).expect("a name");
        let first = name("here");
        assert!(first.starts_with("tieline-") && first.len() == 24, "{first}");
        assert_eq!(name("here"), first);
        assert_ne!(name("there"), first);
        fs::write(folder.path().join("torn"), "\n").expect("written");
        assert_eq!(name("torn"), name("torn"));
    }
}
