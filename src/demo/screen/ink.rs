//! Coloured text whose width is known, since a terminal's colours take no room.

use std::fmt::Write;

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Good,
    Warm,
    Bad,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warm => "33",
            Self::Bad => "1;31",
        }
    }
}

/// One row of the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct Row(Vec<(Ink, String)>);

impl Row {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds text.
    pub(super) fn add(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.0.push((ink, text.into()));
        self
    }

    /// Adds space up to this column; at least one.
    pub(super) fn to(self, column: usize) -> Self {
        let space = column.saturating_sub(self.width()).max(1);
        self.add(Ink::Plain, " ".repeat(space))
    }

    /// Adds text that ends at this column, if there is room for it.
    pub(super) fn right(self, column: usize, ink: Ink, text: &str) -> Self {
        let start = column.saturating_sub(text.chars().count());
        self.to(start).add(ink, text)
    }

    /// How many columns it takes.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// As a terminal wants it, cut off at `width` columns. Control characters, which a peer's words may hold, are left out.
    pub(super) fn write(&self, out: &mut String, width: usize, colour: bool) {
        let mut left = width;
        for (ink, text) in &self.0 {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(left).collect();
            left -= shown.chars().count();
            let written = if colour && *ink != Ink::Plain {
                write!(out, "\x1b[{}m{shown}\x1b[0m", ink.code())
            } else {
                out.write_str(&shown)
            };
            written.expect("a String takes whatever is written to it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_off_and_tamed() {
        let row = Row::new().add(Ink::Bad, "a\x1b[2Jb").right(12, Ink::Plain, "end");
        let mut text = String::new();
        row.write(&mut text, 80, false);
        assert_eq!(text, "a[2Jb   end");
        text.clear();
        row.write(&mut text, 3, true);
        assert_eq!(text, "\x1b[1;31ma[2\x1b[0m");
    }
}
