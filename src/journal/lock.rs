//! The lock on `data_dir`: one process at a time goes on with its numbers.
//!
//! Held by the file's lock in the kernel, which ends with the process however it ends; what stands in the file only names the holder.

use super::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as this lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(0o600);
        let mut file = options.open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(20).read_to_string(&mut holder).ok();
                let is_pid =
                    !holder.trim().is_empty() && holder.trim().bytes().all(|b| b.is_ascii_digit());
                let holder = if is_pid {
                    format!("process {}", holder.trim())
                } else {
                    "another process".into()
                };
                return Err(Error::Held { path, holder });
            }
        }
        // Held from here on. Who holds it is for people only: a full disk keeps nobody from delivering what is there.
        let mut name = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        name().ok();
        Ok(Self { _file: file })
    }
}

/// Which process wrote its name into the lock last; it holds it, or has ended.
pub fn holder(data_dir: &Path) -> Option<u32> {
    std::fs::read_to_string(data_dir.join("lock")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let told = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        assert!(told.contains(&folder.path().join("lock").display().to_string()), "{told}");
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }
}
