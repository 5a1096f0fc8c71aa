//! The live screen as rows; it fits into 80 columns and 24 rows.

use super::super::story::State;
use super::ink::{Ink, Row};
use super::{View, grouped, minutes};
use crate::bridge::status::Session;
use crate::time::Timestamp;
use std::time::Duration;

/// How wide the screen is.
pub(super) const COLUMNS: usize = 80;

/// How many sessions are shown, the newest.
const SESSIONS_MAX: usize = 4;

/// Where what is behind a label begins.
const TEXT: usize = 13;

/// All rows, from the top.
pub(super) fn rows(view: &View<'_>) -> Vec<Row> {
    let mut rows = head(view);
    rows.push(Row::new());
    rows.extend(counters(view));
    rows.push(Row::new());
    rows.extend(sessions(view));
    rows.push(last_event(view));
    rows.push(Row::new());
    rows.extend(story(view));
    rows.push(Row::new());
    rows.extend(foot(view));
    rows
}

fn head(view: &View<'_>) -> Vec<Row> {
    let facts = view.facts;
    let elapsed = view.elapsed().min(facts.length);
    let time = format!("{} of {}", minutes(elapsed), minutes(facts.length));
    let run = format!("sink {} · {}/s · seed {}", facts.sink, facts.rate, facts.seed);
    let title = Row::new().add(Ink::Bold, " tieline demo").to(TEXT + 4).add(Ink::Plain, run);
    vec![
        title.right(COLUMNS - 1, Ink::Bold, &time),
        bar(elapsed, facts.length),
        Row::new().add(Ink::Dim, format!(" {}", view.board.stage.words())),
    ]
}

/// How much of the story is over.
fn bar(elapsed: Duration, length: Duration) -> Row {
    let width = COLUMNS - 2;
    let part = elapsed.as_millis() * width as u128 / length.as_millis().max(1);
    let done = usize::try_from(part).unwrap_or(width).min(width);
    let row = Row::new().add(Ink::Good, format!(" {}", "━".repeat(done)));
    row.add(Ink::Dim, "─".repeat(width - done))
}

fn counters(view: &View<'_>) -> Vec<Row> {
    let status = view.status;
    let sum = |count: fn(&crate::bridge::status::Sink) -> u64| status.sinks.iter().map(count).sum();
    let columns: [[(&str, u64); 2]; 3] = [
        [("emitted", view.emitted), ("received", status.stream.received)],
        [("delivered", sum(|sink| sink.delivered)), ("waiting", sum(|sink| sink.waiting_events))],
        [("duplicates", status.stream.duplicates), ("gaps", status.gaps.total)],
    ];
    let row = |line: usize| {
        let mut row = Row::new();
        for (index, column) in columns.iter().enumerate() {
            let (name, count) = column[line];
            let left = 1 + index * 27;
            row = row.to(left).add(Ink::Dim, name);
            row = row.right(left + 22, Ink::Bold, &grouped(count));
        }
        row
    };
    vec![row(0), row(1)]
}

fn sessions(view: &View<'_>) -> Vec<Row> {
    let sessions = &view.status.sessions;
    let hidden = sessions.len().saturating_sub(SESSIONS_MAX);
    let label = |first: bool| {
        let label = if first { " sessions" } else { "" };
        Row::new().add(Ink::Dim, label).to(TEXT)
    };
    let mut rows: Vec<Row> = sessions
        .iter()
        .skip(hidden)
        .enumerate()
        .map(|(index, session)| described(session, label(index == 0), view.as_of))
        .collect();
    if rows.is_empty() {
        let login = &view.status.login;
        let words = login.last_error.as_deref().unwrap_or("none yet");
        rows.push(label(true).add(Ink::Warm, words));
    }
    rows
}

fn described(session: &Session, row: Row, now: Timestamp) -> Row {
    let ink = match session.state {
        "live" => Ink::Good,
        "waiting" => Ink::Bad,
        _ => Ink::Warm,
    };
    let row = row.add(Ink::Bold, session.id.as_str()).to(TEXT + 5);
    let row = row.add(ink, session.state).to(TEXT + 17);
    let heard =
        session.last_frame.map_or_else(String::new, |at| format!("frame {} ago", ago(at, now)));
    let row = row.add(Ink::Plain, heard);
    match (&session.last_words, session.state) {
        (Some(words), state) if state != "live" => row.to(TEXT + 36).add(Ink::Dim, words.as_str()),
        (Some(_) | None, _) => row,
    }
}

fn last_event(view: &View<'_>) -> Row {
    let last = view.status.sessions.iter().filter_map(|session| session.last_event).max();
    let words = last.map_or("none yet".to_owned(), |at| format!("{} ago", ago(at, view.as_of)));
    Row::new().add(Ink::Dim, " last event").to(TEXT).add(Ink::Plain, words)
}

fn story(view: &View<'_>) -> Vec<Row> {
    let steps = view.board.steps.iter();
    steps
        .map(|step| {
            let (ink, mark, words) = match &step.state {
                State::Ahead => (Ink::Dim, "·", ""),
                State::Now => (Ink::Warm, "▸", "recovering …"),
                State::Well(words) => (Ink::Good, "✓", words.as_str()),
                State::Ill(words) => (Ink::Bad, "✗", words.as_str()),
            };
            let title = match step.state {
                State::Ahead => Ink::Dim,
                State::Now | State::Well(_) | State::Ill(_) => Ink::Plain,
            };
            let row = Row::new().add(ink, format!(" {mark} {} ", minutes(step.at)));
            row.add(title, step.act.title()).to(52).add(ink, words)
        })
        .collect()
}

fn foot(view: &View<'_>) -> Vec<Row> {
    let facts = view.facts;
    let line = |label: &str, words: String| {
        Row::new().add(Ink::Dim, format!(" {label}")).to(TEXT).add(Ink::Plain, words)
    };
    vec![
        line("status page", format!("http://{}/", facts.admin)),
        line("sink", facts.place.clone()),
        line("log", facts.log.display().to_string()),
        Row::new().add(Ink::Dim, " Ctrl-C ends the story early and compares the books."),
    ]
}

/// How long ago, with one digit: `0.3 s`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let micros = now.as_micros().saturating_sub(at.as_micros());
    format!("{:.1} s", Duration::from_micros(micros).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{full, show};
    use super::*;

    #[test]
    fn the_fullest_screen_fits_into_80_columns_and_24_rows() {
        show(&full(), |view| {
            let rows = rows(view);
            assert!(rows.len() <= 24, "{} rows", rows.len());
            for row in rows {
                let mut text = String::new();
                row.write(&mut text, usize::MAX, false);
                // A session's last words are as long as they are, and cut off.
                let is_free = text.contains("handshake");
                assert!(row.width() <= COLUMNS || is_free, "{} columns: {text}", row.width());
            }
        });
    }

    #[test]
    fn what_is_said_can_be_read() {
        show(&full(), |view| {
            let mut text = String::new();
            for row in rows(view) {
                row.write(&mut text, COLUMNS, false);
                text.push('\n');
            }
            insta::assert_snapshot!(text);
        });
    }
}
