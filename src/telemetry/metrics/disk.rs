//! The disk under `data_dir` and the journal's bound on it, asked for when somebody scrapes.
//!
//! Knows nothing of the journal's files.

use super::shelf::{Shelf, whole};
use prometheus::IntGauge;
use std::path::{Path, PathBuf};

/// Metrics of the data disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// `None` for metrics that belong to no process, as in tests.
    folder: Option<PathBuf>,
    free: IntGauge,
    size: IntGauge,
    journal_max: IntGauge,
}

impl Disk {
    pub(super) fn new(shelf: &Shelf) -> Self {
        Self {
            folder: None,
            free: shelf.gauge(
                "tieline_data_disk_free_bytes",
                "Room on the disk of data_dir for a process without privileges.",
            ),
            size: shelf.gauge("tieline_data_disk_size_bytes", "Size of the disk of data_dir."),
            journal_max: shelf.gauge(
                "tieline_journal_max_bytes",
                "What may wait for each sink, at which events are refused for it; journal.max_bytes.",
            ),
        }
    }

    /// From now on the disk of `folder` is looked at; `journal_max` is the journal's bound in bytes.
    pub(super) fn watch(&mut self, folder: &Path, journal_max: u64) {
        self.folder = Some(folder.to_owned());
        self.journal_max.set(whole(journal_max));
    }

    /// Looks; a disk that cannot be looked at shows as full, which somebody should see.
    pub(super) fn refresh(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        let (free, size) = rustix::fs::statvfs(folder)
            .map(|disk| (disk.f_bavail, disk.f_blocks, disk.f_frsize))
            .map_or((0, 0), |(free, all, block)| {
                (free.saturating_mul(block), all.saturating_mul(block))
            });
        self.free.set(whole(free));
        self.size.set(whole(size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_looked_at_and_one_that_is_gone_shows_as_full() {
        let mut disk = Disk::new(&Shelf::default());
        disk.watch(Path::new("/"), 7);
        disk.refresh();
        assert!(disk.size.get() >= disk.free.get() && disk.size.get() > 0);
        assert_eq!(disk.journal_max.get(), 7);
        disk.watch(Path::new("/nowhere/at/all"), 7);
        disk.refresh();
        assert_eq!((disk.free.get(), disk.size.get()), (0, 0));
    }
}
