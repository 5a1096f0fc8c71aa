//! The live screen: the alternate screen of the terminal, which comes back as it was.

use super::frame::{self, COLUMNS};
use super::{Picture, View};
use std::io::Write;

/// Alternate screen, cursor hidden, lines cut off instead of wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";

/// All of that undone.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal, until it is dropped.
pub(super) struct Terminal {
    out: Box<dyn Write + Send>,
    colour: bool,
}

impl Terminal {
    pub(super) fn enter(out: Box<dyn Write + Send>) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut terminal = Self { out, colour };
        terminal.write(ENTER);
        terminal
    }

    fn write(&mut self, text: &str) {
        // A terminal that is gone needs no picture.
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).ok();
    }
}

impl Picture for Terminal {
    fn draw(&mut self, view: &View<'_>) {
        // Drawn over the last frame, so that nothing flickers: home, each row to its end, and what is below.
        let mut text = String::from("\x1b[H");
        for (index, row) in frame::rows(view).iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "\r\n" });
            row.write(&mut text, COLUMNS, self.colour);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        self.write(&text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.write(LEAVE);
    }
}
