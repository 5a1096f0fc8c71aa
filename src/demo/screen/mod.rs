//! What a person sees while the story runs: one live screen on a terminal, plain lines elsewhere.
//!
//! It shows what the bridge says of itself; who was right is for the oracle to say afterwards.

mod frame;
mod ink;
mod plain;
mod terminal;

use super::control::Control;
use super::story::Board;
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
        self.board
            .began
            .map_or(Duration::ZERO, |began| self.now.since(began))
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
        emitted = sources
            .control
            .state()
            .await
            .map_or(emitted, |state| state.emitted);
        let (status, board) = (
            sources.status.borrow().clone(),
            sources.board.borrow().clone(),
        );
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
        if index > 0 && (digits.len() - index) % 3 == 0 {
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
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        let written = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(minutes(Duration::from_secs(3_661)), "61:01");
    }
}
