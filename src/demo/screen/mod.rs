//! What a person sees while the story runs: one live screen on a terminal, plain lines elsewhere.
//!
//! It shows what the bridge says of itself; who was right is for the oracle to say afterwards.

mod frame;
mod ink;
mod plain;
mod terminal;

use super::control::Control;
use super::story::{Board, Stage};
use crate::bridge::status::Status;
use crate::clock::Clock;
use crate::time::{Time, Timestamp};
use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the screen is drawn.
const REDRAW: Duration = Duration::from_millis(250);

/// What does not change during a run.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) sink: &'static str,
    pub(super) place: String,
    pub(super) seed: u64,
    pub(super) rate: u32,
    pub(super) length: Duration,
    pub(super) admin: SocketAddr,
    pub(super) log: PathBuf,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) clock: Clock,
    pub(super) control: Control,
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) board: watch::Receiver<Board>,
    /// Cancelled when the person wants the end now.
    pub(super) early: CancellationToken,
}

/// All that is shown, as of one moment.
#[derive(Debug)]
struct View<'a> {
    facts: &'a Facts,
    status: &'a Status,
    board: &'a Board,
    now: Time,
    as_of: Timestamp,
    /// How many notifications the simulator has made.
    emitted: u64,
}

impl View<'_> {
    /// How long the traffic has run.
    fn elapsed(&self) -> Duration {
        self.board.began.map_or(Duration::ZERO, |began| self.now.since(began))
    }
}

/// Where people look: standard output, or standard error when the former is for a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Standard output.
    Person,
    /// Standard error.
    Script,
}

impl Audience {
    fn stream(self) -> Box<dyn Write + Send> {
        match self {
            Self::Person => Box::new(io::stdout()),
            Self::Script => Box::new(io::stderr()),
        }
    }

    fn is_terminal(self) -> bool {
        let is_terminal = match self {
            Self::Person => io::stdout().is_terminal(),
            Self::Script => io::stderr().is_terminal(),
        };
        is_terminal && std::env::var_os("TERM").is_some_and(|name| name != "dumb")
    }

    /// Says one line.
    pub(super) fn say(self, line: &str) {
        // Nobody may be there to read it; the run is the same.
        writeln!(self.stream(), "{line}").ok();
    }
}

/// Shows the run until it is dropped, which gives the terminal back.
pub(super) async fn show(audience: Audience, facts: &Facts, sources: &Sources) -> Infallible {
    let mut picture: Box<dyn Picture> = if audience.is_terminal() {
        Box::new(terminal::Terminal::enter(audience.stream()))
    } else {
        Box::new(plain::Lines::new(audience.stream()))
    };
    let mut tick = tokio::time::interval(REDRAW);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut emitted = 0;
    loop {
        tick.tick().await;
        // While the simulator is busy the last number stands.
        emitted = sources.control.state().await.map_or(emitted, |state| state.emitted);
        let (status, mut board) = (sources.status.borrow().clone(), sources.board.borrow().clone());
        if board.stage == Stage::Playing && sources.early.is_cancelled() {
            board.stage = Stage::Ending;
        }
        picture.draw(&View {
            facts,
            status: &status,
            board: &board,
            now: sources.clock.now(),
            as_of: sources.clock.timestamp(),
            emitted,
        });
    }
}

/// A way to show a view. What cannot be written is left unsaid.
trait Picture: Send {
    fn draw(&mut self, view: &View<'_>);
}

/// A number with its thousands apart: `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Minutes and seconds: `01:05`.
fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::super::story::{State, plot};
    use super::*;
    use crate::bridge::status::{Session, Sink};
    use std::sync::Mutex;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        let written = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(minutes(Duration::from_secs(3_661)), "61:01");
    }

    #[test]
    fn the_terminal_is_given_back_as_it_was() {
        let page = Page::default();
        let mut terminal = terminal::Terminal::enter(Box::new(page.clone()));
        show(&full(), |view| terminal.draw(view));
        drop(terminal);
        let text = page.text();
        for (on, off) in
            [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h"), ("\x1b[?7l", "\x1b[?7h")]
        {
            assert!(text.find(on) < text.rfind(off), "{on:?} is not undone");
        }
    }

    /// What was written, to be looked at afterwards.
    #[derive(Clone, Default)]
    pub(super) struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// All that a view is made of.
    pub(super) struct Whole {
        pub(super) facts: Facts,
        pub(super) status: Status,
        pub(super) board: Board,
        pub(super) now: Time,
    }

    pub(super) fn show(whole: &Whole, look: impl FnOnce(&View<'_>)) {
        look(&View {
            facts: &whole.facts,
            status: &whole.status,
            board: &whole.board,
            now: whole.now,
            as_of: at(100),
            emitted: 1_234_567,
        });
    }

    /// A rotation in a long story, with more sessions than there is room for.
    pub(super) fn full() -> Whole {
        let length = Duration::from_secs(3_600);
        let mut status = Status::new("1.2.3", "", at(0), Duration::from_secs(35));
        let states = ["live", "draining", "settling", "waiting", "opening", "waiting"];
        status.sessions = states.iter().zip(1..).map(|(state, n)| session(n, state)).collect();
        status.stream.received = 1_234_000;
        status.stream.duplicates = 99_000;
        status.gaps.total = 3;
        status.sinks = vec![Sink::new("kafka")];
        status.sinks[0].delivered = 1_111_222;
        status.sinks[0].waiting_events = 256;
        let mut steps = plot(length);
        steps[0].state = State::Well("back; named a gap of 10.12 s".to_owned());
        steps[1].state = State::Ill("back, but no gap was named".to_owned());
        steps[2].state = State::Now;
        Whole {
            facts: Facts {
                sink: "kafka",
                place: "topic genesys.events on 127.0.0.1:25434".to_owned(),
                seed: 999_999,
                rate: 10_000,
                length,
                admin: "127.0.0.1:38585".parse().unwrap(),
                log: "/tmp/tieline-demo-3b999d34/demo.log".into(),
            },
            status,
            board: Board {
                stage: Stage::Playing,
                began: Some(Time::from_micros(1_000_000)),
                steps,
            },
            now: Time::from_micros(1_201_000_000),
        }
    }

    fn session(number: u64, state: &'static str) -> Session {
        Session {
            id: format!("s{number}"),
            shard: 0,
            leg: 1,
            state,
            since: at(1),
            last_frame: Some(at(98)),
            last_event: Some(at(97)),
            last_words: Some("the handshake was answered 429 (contextId 2bc10fe7)".to_owned()),
            ..Session::default()
        }
    }

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
    }
}
