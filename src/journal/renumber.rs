//! A sink that holds more of the epoch than the journal: `data_dir` is an old copy, and positions and numbers given since it was opened were given
//! before, to other events. A new epoch begins, and what waits for that sink is placed and numbered anew in it.
//!
//! What waited when the journal was opened is part of the copy: the sink has it.

use super::disk::Disk;
use super::opening::reason;
use super::shared::{Waiting, cost};
use super::writer::{Unwritten, Writer, unplaced};
use std::io;
use std::sync::Arc;

/// How many events are placed anew at once.
const BATCH: usize = 512;

/// A sink whose events are placed anew.
#[derive(Debug)]
pub(super) struct Renumbering {
    sink: usize,
    /// The last position that is placed anew.
    end: u64,
}

impl Writer {
    /// Places anew what waits for a sink that has asked for it, if one has. False while that is not done.
    pub(super) fn renumber(&mut self) -> bool {
        let asked = {
            let pending = self.shared.pending();
            if pending.trouble.as_ref().is_some_and(|trouble| !trouble.mended) {
                return pending.behind == 0;
            }
            pending.behind
        };
        if asked == 0 {
            return true;
        }
        let sink = asked.trailing_zeros() as usize;
        match self.move_all(sink) {
            Ok(is_done) => is_done,
            Err(error) => {
                self.fail("open", &error, Vec::new());
                false
            }
        }
    }

    fn move_all(&mut self, sink: usize) -> io::Result<bool> {
        if self.renumbering.is_none() {
            let end = self.position;
            self.renew = Some(reason::BEHIND);
            self.ready_segment()?;
            self.renumbering = Some(Renumbering { sink, end });
        }
        let (mut disk, shared) = (Disk::impatient(), Arc::clone(&self.shared));
        while let Some(Renumbering { sink, end }) = self.renumbering {
            let tail = &shared.tails[sink];
            let from = tail.acknowledged().max(shared.began) + 1;
            if from > end {
                self.renumbering = None;
                tail.acknowledge(end);
                shared.pending().behind &= !(1 << sink);
                tail.changed.notify_one();
                break;
            }
            let batch = disk.read(&shared, tail.sink, from, end + 1, BATCH)?;
            let moved = batch.records.into_iter().map(|record| Waiting {
                entry: unplaced(Arc::unwrap_or_clone(record.event)),
                takers: 1 << sink,
            });
            // They are counted as waiting already, and go on to be.
            let moved: Vec<Waiting> = moved.collect();
            let count = moved.len() as u64;
            let bytes = moved.iter().map(|it| cost(it.entry.body.len())).sum();
            if count > 0
                && let Err(Unwritten { operation, error, .. }) = self.try_write(moved)
            {
                // They were accepted, and lie where they lay: they are moved once the disk takes them.
                self.fail(operation, &error, Vec::new());
                return Ok(false);
            }
            if batch.lost > 0 {
                shared.facts().lost.push((sink, batch.lost, batch.lost_from));
            }
            tail.hide(count, bytes);
            tail.acknowledge(batch.next - 1);
        }
        Ok(shared.pending().behind == 0)
    }
}
