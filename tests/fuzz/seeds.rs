//! The part of the corpus that the program itself writes: journals as they are today, and what their frames say.
//!
//! Written only when `UPDATE_CORPUS` is set, as after a change of the format; all else in the corpus is kept as it is.

use crate::targets::BETWEEN;
use std::path::Path;
use std::time::Duration;
use tieline::clock::Clock;
use tieline::event::{Entry, Kind, Marks, Notification, Topic};
use tieline::journal::{Config, Opening, Reader, Sync};
use tieline::size::Size;
use tieline::time::Timestamp;

/// Bytes before a payload in a segment.
const HEAD: usize = 16;

/// Writes the seeds of this target, where that is asked for.
pub fn write_where_asked(name: &str) {
    if std::env::var_os("UPDATE_CORPUS").is_none() {
        return;
    }
    let folder = super::folder(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (kind, is_settled) in [("waiting", false), ("settled", true)] {
        let files = journal(is_settled);
        let text = match name {
            "segments" => files.join(BETWEEN),
            "records" => {
                files.iter().map(|file| said(file)).collect::<Vec<_>>().join(&[0xFF; 2][..])
            }
            _ => return,
        };
        std::fs::write(folder.join(format!("journal-{kind}")), text).unwrap();
    }
}

/// A journal of two lives, of which the first is closed.
fn journal(is_settled: bool) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for life in 0..2 {
        let (mut journal, mut readers, _) = open(folder.path());
        for number in 0..6_u64 {
            let queue = format!("7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4{}", number % 2);
            let notification = Notification {
                topic: Topic::new(&format!("v2.routing.queues.{queue}.users")),
                body: format!(r#"{{"id":"{queue}","n":{number}}}"#).into(),
                correlation_id: (number % 3 == 0).then(|| format!("c-{number}").into()),
                received: Timestamp::from_micros(1_700_000_000_000_000 + number),
            };
            let marks = Marks { late: number == 4, possible_duplicate: number == 5 };
            journal.append(Entry::pushed(notification, marks));
        }
        let (body, at) = ("{\"number\":1}".into(), Timestamp::from_micros(1_700_000_000_000_009));
        journal.append(Entry::own(Kind::GapClosed, Topic::control(), body, at).only_for("nats"));
        journal.flush();
        runtime.block_on(settle(&mut readers, if is_settled || life == 0 { 7 } else { 2 }));
    }
    let mut paths: Vec<_> = std::fs::read_dir(folder.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

async fn settle(readers: &mut [Reader], count: usize) {
    for reader in readers {
        let mut settled = 0;
        while settled < count.min(6) {
            let mut batch = Vec::new();
            reader.peek(count - settled, &mut batch).await.unwrap();
            if batch.is_empty() {
                tokio::time::timeout(Duration::from_secs(60), reader.changed()).await.unwrap();
            }
            reader.advance(batch.len());
            reader.acknowledge(batch.len());
            settled += batch.len();
        }
    }
}

fn open(data_dir: &Path) -> (tieline::journal::Journal, Vec<Reader>, tieline::journal::Found) {
    let config = Config {
        max_bytes: Size(1 << 20),
        sync: Sync::Always,
        sync_bytes: Size(1 << 20),
        segment_bytes: Size(64 << 10),
        keys_max: 1_000,
    };
    let sinks = &["kafka", "nats"];
    let opening = Opening { config, data_dir, sinks, clock: Clock::start(), salt: Box::new(|| 7) };
    opening.open().unwrap()
}

/// What the frames of a whole segment say, each after two bytes of its length.
fn said(segment: &[u8]) -> Vec<u8> {
    let (mut said, mut rest) = (Vec::new(), segment);
    while let Some(head) = rest.get(..HEAD) {
        let length = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        said.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        said.extend_from_slice(&rest[HEAD..HEAD + length]);
        rest = &rest[HEAD + length..];
    }
    said
}
