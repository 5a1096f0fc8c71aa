//! Waits for the disk, on a thread of its own so that what comes meanwhile is written all the same.

use super::shared::Shared;
use super::storage::{Page, Storage};
use crate::clock::Clock;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the disk must have.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pages: Vec<Arc<dyn Page>>,
    /// Whether names are new too.
    pub(super) folder: bool,
    /// The last position that is safe afterwards.
    pub(super) position: u64,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) position: u64,
    pub(super) took: Duration,
    pub(super) result: io::Result<()>,
}

impl Job {
    pub(super) fn run(&self, storage: &dyn Storage, clock: &Clock) -> Done {
        let began = clock.now();
        let pages = self.pages.iter().try_for_each(|page| page.sync());
        let result = pages.and_then(|()| if self.folder { storage.sync_folder() } else { Ok(()) });
        Done { position: self.position, took: clock.now().since(began), result }
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: SyncSender<Job>,
    pub(super) done: Receiver<Done>,
    _thread: JoinHandle<()>,
}

impl Syncer {
    pub(super) fn start(
        shared: Arc<Shared>,
        storage: Arc<dyn Storage>,
        clock: Clock,
    ) -> io::Result<Self> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (tell, done) = sync_channel(1);
        let work = move || {
            for job in todo {
                if tell.send(job.run(&*storage, &clock)).is_err() {
                    return;
                }
                shared.wake();
            }
        };
        let thread = thread::Builder::new().name("journal-sync".into()).spawn(work)?;
        Ok(Self { jobs, done, _thread: thread })
    }

    /// Hands a job over; there is never more than one. It comes back where the thread is gone.
    pub(super) fn give(&self, job: Job) -> Option<Job> {
        self.jobs.send(job).err().map(|back| back.0)
    }
}
