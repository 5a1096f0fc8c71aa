//! A file or standard output, one structured CloudEvent a line; the example to copy for a new sink.
//!
//! A batch is written at a time, on a thread where waiting for the disk holds nobody up. A line that a crash tore is repaired
//! when the file is opened again; the last whole line says how far we got, so that a resend doubles nothing.

mod config;
mod output;
mod rotation;
mod tail;

pub use config::{Config, Flush};

use super::cloudevents::Encoder;
use super::guarantee::Guarantee;
use super::{Error, Record, Resume, Sink, Verdict};
use crate::event::Epoch;
use async_trait::async_trait;
use output::{BATCH, Output};
use std::{fmt, future, io, iter};
use tokio::task::{JoinHandle, spawn_blocking};

struct Jsonl {
    config: Config,
    encoder: Encoder,
    /// Where lines go; lent to the thread that writes a batch.
    output: Option<Output>,
    /// The batch being written, and how many records it holds.
    writing: Option<(JoinHandle<io::Result<Output>>, usize)>,
}

#[async_trait]
impl Sink for Jsonl {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error> {
        // Its lock would keep us out ourselves.
        self.output = None;
        // A write that was given up may still be at it: it must not add lines behind the tail that is read now.
        if let Some((task, _)) = self.writing.take() {
            drop(task.await);
        }
        let (config, epoch) = (self.config.clone(), epoch.clone());
        let opened = spawn_blocking(move || Output::open(&config, &epoch)).await;
        let (output, resume) = opened
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|error| self.failed("open", error))?;
        self.output = Some(output);
        Ok(resume)
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        let Some(mut output) = self.output.take() else {
            return Ok(0); // One batch is written at a time.
        };
        let mut taken = 0;
        for record in records {
            // What belongs into the next file is written by the next call.
            if taken > 0 && output.is_next_period(record.event.received) {
                break;
            }
            output.add(&mut self.encoder, record);
            taken += 1;
            if output.lines.len() >= BATCH {
                break;
            }
        }
        let task = spawn_blocking(move || output.write().map(|()| output));
        self.writing = Some((task, taken));
        Ok(taken)
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some((task, taken)) = &mut self.writing else {
            return future::pending().await;
        };
        let (written, taken) = (task.await, *taken);
        self.writing = None;
        let output = written
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|error| self.failed("write to", error))?;
        self.output = Some(output);
        verdicts.extend(iter::repeat_n(Verdict::Stored, taken));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.output = None;
        if let Some((task, _)) = self.writing.take() {
            drop(task.await);
        }
        Ok(())
    }

    async fn guarantee(&mut self) -> Result<Guarantee, Error> {
        Ok(self.config.guarantee())
    }
}

impl Jsonl {
    fn failed(&self, attempt: &str, error: io::Error) -> Error {
        Error::retry(format!("{attempt} {}", self.config.path.display()), error)
    }
}

impl fmt::Debug for Jsonl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jsonl").field("config", &self.config).finish_non_exhaustive()
    }
}
