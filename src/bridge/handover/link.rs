//! The socket at which a running process lets another take over, and the link over it: messages in and out, nothing decided.
//!
//! The socket lies in `data_dir` with mode 0600 and belongs to whoever holds the lock of that folder. A link ends with its process, not
//! with the part of it that speaks: the other side takes its end for the end of the process.

use crate::event::Topics;
use crate::handover::{HEADER, Message, Refusal, decode, encode, length};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The socket's name in `data_dir`.
pub const NAME: &str = "handover.sock";

/// Messages that wait for the driver, or for the socket. What is more waits on the other side, which bounds it.
const WAITING: usize = 1_024;

/// How soon the next one is let in after one could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// How soon whoever knocks must say something; while it does not, nobody else is let in.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);

/// How long what was said last may take to be read, once this side has hung up.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Messages that are written at once.
const BATCH: usize = 256;

/// What comes of a link.
#[derive(Debug)]
pub enum Word {
    /// It is open. On the other side is that process, as far as the system knows.
    Opened(Voice, Option<u32>),
    /// The other side said something.
    Said(Message),
    /// It has ended.
    Gone,
}

/// This side of a link.
#[derive(Clone, Debug)]
pub struct Voice {
    /// What is sent here is said.
    pub say: mpsc::Sender<Message>,
    hung: CancellationToken,
}

impl Voice {
    /// A link that goes nowhere.
    #[cfg(test)]
    pub fn new(say: mpsc::Sender<Message>) -> Self {
        Self { say, hung: CancellationToken::new() }
    }

    /// Ends the link as soon as all is said, and soon at any rate: the other side may never read it.
    pub fn hang(self) {
        self.hung.cancel();
    }
}

/// A word, and the number of the link that it came on.
pub type Numbered = (u64, Word);

/// Where others knock. Dropping it ends every link.
#[derive(Debug)]
pub struct Door {
    _tasks: JoinSet<()>,
}

impl Door {
    /// Opens the socket in that folder, in the place of one that was left there, and answers what comes of it.
    ///
    /// # Errors
    /// When the system does not make it: the path may be longer than the 107 bytes that a socket's may have.
    pub fn open(folder: &Path, frame_max: usize) -> io::Result<(Self, mpsc::Receiver<Numbered>)> {
        Self::open_to(folder, frame_max, FIRST_WORD_WITHIN)
    }

    fn open_to(
        folder: &Path,
        frame_max: usize,
        patience: Duration,
    ) -> io::Result<(Self, mpsc::Receiver<Numbered>)> {
        let (path, beside) = (folder.join(NAME), folder.join(format!("{NAME}.new")));
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, &path)?;
        let (words, heard) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, words, frame_max, patience));
        Ok((Self { _tasks: tasks }, heard))
    }
}

async fn accept(
    listener: UnixListener,
    words: mpsc::Sender<Numbered>,
    frame_max: usize,
    patience: Duration,
) {
    let mut links = JoinSet::new();
    let mut number = 0;
    loop {
        let accepted = listener.accept().await;
        while links.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if links.is_empty() => {
                number += 1;
                links.spawn(run(number, stream, words.clone(), frame_max, patience));
            }
            Ok((stream, _)) => refuse(stream).await,
            // No more descriptors, perhaps.
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// One at a time.
async fn refuse(mut stream: UnixStream) {
    let reason = "another process is taking over already".to_owned();
    let mut bytes = Vec::new();
    encode(&Message::Refused(Refusal { reason, permanent: false }), &mut bytes);
    // So little fits a socket's buffer; whoever has gone needs no answer.
    stream.write_all(&bytes).await.ok();
}

/// The new process's end.
#[derive(Debug)]
pub struct Link {
    /// What the other side says.
    pub words: mpsc::Receiver<Numbered>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// Knocks at the socket in that folder. `None` where nobody is there to hand over.
    ///
    /// # Errors
    /// When there is a socket that may not be used.
    pub async fn open(folder: &Path, frame_max: usize) -> io::Result<Option<Self>> {
        let stream = match UnixStream::connect(folder.join(NAME)).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (words, heard) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        // How long the old process may take is not the link's matter.
        tasks.spawn(run(1, stream, words, frame_max, Duration::MAX));
        Ok(Some(Self { words: heard, _tasks: tasks }))
    }
}

/// Carries a link until one side ends it, or the other has said nothing at all for that long.
async fn run(
    number: u64,
    stream: UnixStream,
    words: mpsc::Sender<Numbered>,
    frame_max: usize,
    patience: Duration,
) {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()?.try_into().ok());
    let (read, write) = stream.into_split();
    let ((say, said), hung) = (mpsc::channel(WAITING), CancellationToken::new());
    let voice = Voice { say, hung: hung.clone() };
    if words.send((number, Word::Opened(voice, pid))).await.is_err() {
        return std::future::pending().await;
    }
    tokio::select! {
        () = receive(number, read, &words, frame_max, patience) => {
            // Who does not hear that has ended.
            words.send((number, Word::Gone)).await.ok();
        }
        () = transmit(write, said, &hung) => {}
        () = unread(&hung) => {}
    }
}

/// Reads messages until there are no more, or one makes no sense.
async fn receive(
    number: u64,
    read: OwnedReadHalf,
    words: &mpsc::Sender<Numbered>,
    frame_max: usize,
    patience: Duration,
) {
    let (mut read, mut topics) = (BufReader::with_capacity(1 << 16, read), Topics::default());
    if !matches!(timeout(patience, read.fill_buf()).await, Ok(Ok(_))) {
        return;
    }
    loop {
        let mut header = [0; HEADER];
        if read.read_exact(&mut header).await.is_err() {
            return;
        }
        let Ok(length) = length(header, frame_max) else { return };
        let mut message = vec![0; length];
        if read.read_exact(&mut message).await.is_err() {
            return;
        }
        let Ok(message) = decode(message.into(), &mut topics) else { return };
        if words.send((number, Word::Said(message))).await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Writes what is said until somebody hangs up; when nobody speaks any more the process is ending, and the link ends with it.
async fn transmit(
    mut write: OwnedWriteHalf,
    mut said: mpsc::Receiver<Message>,
    hung: &CancellationToken,
) {
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
    loop {
        let more = tokio::select! {
            biased;
            more = said.recv_many(&mut batch, BATCH) => more,
            () = hung.cancelled() => return,
        };
        if more == 0 {
            return hung.cancelled().await;
        }
        batch.drain(..).for_each(|message| encode(&message, &mut bytes));
        if write.write_all(&bytes).await.is_err() {
            // Its reader notices.
            return std::future::pending().await;
        }
        bytes.clear();
        bytes.shrink_to(1 << 20);
    }
}

/// Waits until what was said before this side hung up should have been read.
async fn unread(hung: &CancellationToken) {
    hung.cancelled().await;
    tokio::time::sleep(READ_WITHIN).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn next(words: &mut mpsc::Receiver<Numbered>) -> Numbered {
        timeout(SOON, words.recv()).await.expect("in time").expect("a word")
    }

    #[tokio::test]
    async fn one_links_at_a_time_and_its_end_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Link::open(folder.path(), 0).await.unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(NAME)).unwrap());
        assert!(Link::open(folder.path(), 0).await.unwrap().is_none(), "nobody listens there");

        let (door, mut heard) = Door::open(folder.path(), 0).unwrap();
        let mode = std::fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut link = Link::open(folder.path(), 0).await.unwrap().unwrap();
        let (1, Word::Opened(ask, _)) = next(&mut link.words).await else { panic!("not opened") };
        ask.say.send(Message::Settled(true)).await.unwrap();
        let (1, Word::Opened(say, pid)) = next(&mut heard).await else { panic!("not opened") };
        assert_eq!(pid, Some(std::process::id()));
        assert!(matches!(next(&mut heard).await, (1, Word::Said(Message::Settled(true)))));
        say.say.send(Message::Taken(7)).await.unwrap();
        assert!(matches!(next(&mut link.words).await, (1, Word::Said(Message::Taken(7)))));

        let mut second = Link::open(folder.path(), 0).await.unwrap().unwrap();
        assert!(matches!(next(&mut second.words).await, (1, Word::Opened(..))));
        let refused = next(&mut second.words).await;
        assert!(matches!(refused, (1, Word::Said(Message::Refused(_)))), "{refused:?}");
        assert!(matches!(next(&mut second.words).await, (1, Word::Gone)));

        // The speaker alone ends nothing: the process may still have something to finish.
        drop((say, heard));
        tokio::task::yield_now().await;
        assert!(link.words.try_recv().is_err());
        drop(door);
        assert!(matches!(next(&mut link.words).await, (1, Word::Gone)));
    }

    #[tokio::test]
    async fn what_makes_no_sense_ends_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let (_door, mut heard) = Door::open(folder.path(), 0).unwrap();
        let mut stream = UnixStream::connect(folder.path().join(NAME)).await.unwrap();
        stream.write_all(&[0xff; 8]).await.unwrap();
        assert!(matches!(next(&mut heard).await, (1, Word::Opened(..))));
        assert!(matches!(next(&mut heard).await, (1, Word::Gone)));
    }

    #[tokio::test]
    async fn a_link_that_was_hung_up_ends_although_nobody_reads_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let (_door, mut heard) = Door::open(folder.path(), 0).unwrap();
        let mut silent = UnixStream::connect(folder.path().join(NAME)).await.unwrap();
        silent.write_all(&[0]).await.unwrap();
        let (1, Word::Opened(voice, _)) = next(&mut heard).await else { panic!("not opened") };
        // Far more than the socket takes.
        let refusal = Refusal { reason: "x".repeat(4 << 20), permanent: false };
        let mut filled = 0;
        while voice.say.try_send(Message::Refused(refusal.clone())).is_ok() && filled < 8 {
            filled += 1;
        }
        let say = voice.say.clone();
        voice.hang();
        timeout(SOON, say.closed()).await.expect("the link ends");
        let mut next_one = Link::open(folder.path(), 0).await.unwrap().unwrap();
        let (1, Word::Opened(ask, _)) = next(&mut next_one.words).await else { panic!("closed") };
        ask.say.send(Message::Settled(true)).await.unwrap();
        let opened = next(&mut heard).await;
        assert!(matches!(opened, (2, Word::Opened(..))), "{opened:?}");
    }

    #[tokio::test]
    async fn whoever_knocks_and_says_nothing_keeps_others_away_for_a_moment_only() {
        let folder = tempfile::tempdir().unwrap();
        let moment = Duration::from_millis(10);
        let (_door, mut heard) = Door::open_to(folder.path(), 0, moment).unwrap();
        let mut silent = UnixStream::connect(folder.path().join(NAME)).await.unwrap();
        assert!(matches!(next(&mut heard).await, (1, Word::Opened(..))));
        assert!(matches!(next(&mut heard).await, (1, Word::Gone)));
        let read = timeout(SOON, silent.read(&mut [0])).await.expect("in time");
        assert_eq!(read.unwrap(), 0, "it is let go");
    }
}
