//! The file operations that the journal does, behind a small trait so that tests can fail and lose each of them.
//!
//! Knows no format; one folder, flat names.

use super::frame::HEAD;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// The folder of a journal.
pub(super) trait Storage: fmt::Debug + Send + Sync {
    /// The names in the folder, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that must not exist yet: another process that makes the same is found out.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Page>>;
    /// Opens a file to read and to cut it.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Page>>;
    /// Gives a file another name, over any that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Waits until the disk has the folder's names.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file.
pub(super) trait Page: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`; after an error any part of it may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes; fewer only at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Waits until the disk has what was written.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// How long it is.
    fn length(&self) -> io::Result<u64>;
}

/// What a disk fails to read at least: a page of the system's.
const PIECE: usize = 4 << 10;

/// Reads as `Page::read_at` does, and where the disk fails for some of it, the rest: what cannot be read is zeros, which are no frame.
///
/// # Errors
/// When nothing of the file can be read, not even its beginning: then the disk is away, and may come back.
pub(super) fn read_around(page: &dyn Page, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let error = match page.read_at(buffer, offset) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let rest = usize::try_from(page.length()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let most = rest.min(buffer.len());
    let (mut at, mut is_there) = (0, page.read_at(&mut [0; HEAD], 0).is_ok());
    while at < most {
        // Pieces end where the system's pages do.
        let into_page = usize::try_from((offset + at as u64) % PIECE as u64).unwrap_or(0);
        let end = most.min(at + PIECE - into_page);
        let piece = &mut buffer[at..end];
        match page.read_at(piece, offset + at as u64) {
            Ok(_) => is_there = true,
            Err(_) => piece.fill(0),
        }
        at = end;
    }
    if is_there { Ok(most) } else { Err(error) }
}

/// A folder of the file system; made when missing, readable by its owner alone, since bodies hold personal data.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        if !path.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        }
        Ok(Self(path))
    }
}

impl Storage for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // A name that is no text is not ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Page>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Page>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.0.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Page for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    #[test]
    fn the_folder_and_what_is_in_it_are_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data").join("journal");
        let folder = Folder::new(path.clone()).unwrap();
        folder.create("000000000001.log").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("000000000001.log")), 0o600);
        assert_eq!(mode(&place.path().join("data")), 0o700, "what is made on the way there too");
    }
}
