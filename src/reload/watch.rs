//! Looks at the configuration file, and says when it is another.
//!
//! Never judges what it holds. No system's notices are waited for: bind mounts, network disks and swapped symlinks give none that can be
//! relied on, and a look costs some microseconds.

use super::PATIENCE;
use crate::config::Text;
use std::path::PathBuf;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How often a text must have been seen before it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// It is judged as it is: somebody asked.
    Once,
    /// In two looks, one after the other: a file may be looked at while it is written, and half of one may be without mistake.
    Twice,
}

/// The file, and what was seen of it.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    watched: bool,
    seen: Seen,
    /// A look at a disk that does not answer; there is never a second one.
    hanging: Option<JoinHandle<Text>>,
}

/// Prints of what was seen.
#[derive(Debug)]
struct Seen {
    last: u128,
    judged: u128,
    due: bool,
}

impl Watch {
    /// A file that was read once. Looked at again only where it is a regular one: a pipe gives its text once.
    pub(super) fn new(text: &Text) -> Self {
        let path = text.path().to_owned();
        let watched = path.is_file();
        let (last, judged) = (text.print(), text.print());
        Self { path, watched, seen: Seen { last, judged, due: false }, hanging: None }
    }

    /// Whether it is looked at without being asked.
    pub(super) const fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether the last look found what is to be judged, and was not yet.
    pub(super) const fn is_due(&self) -> bool {
        self.seen.due
    }

    /// Looks at it now.
    pub(super) async fn look(&mut self, looks: Looks) -> Text {
        let path = self.path.clone();
        let again = || tokio::task::spawn_blocking(move || Text::read_again(&path));
        let mut looking = self.hanging.take().unwrap_or_else(again);
        let text = match timeout(PATIENCE, &mut looking).await {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => Text::silent(&self.path),
            Err(_) => {
                self.hanging = Some(looking);
                Text::silent(&self.path)
            }
        };
        self.seen.look(text.print(), looks);
        text
    }
}

impl Seen {
    fn look(&mut self, print: u128, looks: Looks) {
        let settled = looks == Looks::Once || print == self.last;
        self.due = settled && print != self.judged;
        if settled {
            self.judged = print;
        }
        self.last = print;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_judged_once_and_only_when_it_has_stopped_changing() {
        let mut seen = Seen { last: 1, judged: 1, due: false };
        let mut judged = Vec::new();
        for print in [1, 2, 3, 3, 3, 1, 3, 3, 4, 4] {
            seen.look(print, Looks::Twice);
            judged.extend(seen.due.then_some(print));
        }
        assert_eq!(
            judged,
            [3, 4],
            "a half-written one is nobody's, nor is one that comes and goes"
        );
        seen.look(5, Looks::Once);
        seen.look(5, Looks::Twice);
        assert!(!seen.due, "it was judged when somebody asked");
    }

    #[tokio::test]
    async fn a_pipe_is_not_looked_at_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Watch::new(&Text::silent(folder.path())).is_watched());
    }
}
