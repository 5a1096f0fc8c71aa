//! Lines for where there is no terminal: each turn of the story as it comes, and the counters every few seconds.

use super::super::story::{Stage, State, Step};
use super::{Picture, View, grouped, minutes};
use std::io::Write;
use std::time::Duration;

/// How often the counters are told.
const COUNTERS: Duration = Duration::from_secs(5);

/// What was told last.
pub(super) struct Lines {
    out: Box<dyn Write + Send>,
    stage: Option<Stage>,
    states: Vec<State>,
    counted: Duration,
}

impl Lines {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, stage: None, states: Vec::new(), counted: Duration::ZERO }
    }

    fn say(&mut self, view: &View<'_>, words: &str) {
        // Nobody may be there to read it; the run is the same.
        writeln!(self.out, "{}  {words}", minutes(view.elapsed())).ok();
    }
}

impl Picture for Lines {
    fn draw(&mut self, view: &View<'_>) {
        if self.stage != Some(view.board.stage) {
            self.stage = Some(view.board.stage);
            self.say(view, view.board.stage.words());
        }
        for (index, step) in view.board.steps.iter().enumerate() {
            if self.states.get(index).unwrap_or(&State::Ahead) != &step.state {
                self.say(view, &told(step));
            }
        }
        self.states = view.board.steps.iter().map(|step| step.state.clone()).collect();
        if view.elapsed() >= self.counted + COUNTERS {
            self.counted = view.elapsed();
            self.say(view, &counters(view));
        }
    }
}

fn told(step: &Step) -> String {
    let title = step.act.title();
    match &step.state {
        State::Ahead | State::Now => title.to_owned(),
        State::Well(words) | State::Ill(words) => format!("{title}: {words}"),
    }
}

fn counters(view: &View<'_>) -> String {
    let status = view.status;
    let sessions: Vec<String> =
        status.sessions.iter().map(|session| format!("{} {}", session.id, session.state)).collect();
    let delivered = status.sinks.iter().map(|sink| sink.delivered).sum();
    format!(
        "emitted {}, received {}, delivered {}, duplicates {}, gaps {}; {}",
        grouped(view.emitted),
        grouped(status.stream.received),
        grouped(delivered),
        grouped(status.stream.duplicates),
        status.gaps.total,
        sessions.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Page, full, show};
    use super::*;

    #[test]
    fn each_turn_is_told_once_and_the_counters_every_five_seconds() {
        let page = Page::default();
        let mut lines = Lines::new(Box::new(page.clone()));
        let mut scene = full();
        show(&scene, |view| lines.draw(view));
        show(&scene, |view| lines.draw(view));
        scene.board.steps[2].state = State::Well("replaced in 4.1 s, no gap".to_owned());
        scene.now = scene.now + Duration::from_secs(5);
        show(&scene, |view| lines.draw(view));
        insta::assert_snapshot!(page.text());
    }
}
