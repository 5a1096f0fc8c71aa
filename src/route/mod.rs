//! Which sink takes which event: a CEL expression for each sink that has one.
//!
//! Asked once for each event, before the journal numbers it, so that a sink's numbers have no holes. Decides nothing about what is
//! tieline's own (gaps, snapshots, epochs): a consumer that is not told of a gap cannot know of it, so those pass to every sink.

mod body;
mod check;
mod filter;

#[cfg(test)]
mod tests;

pub use filter::{Filter, Trouble};

use crate::event::{Marks, Notification};

/// The most sinks that can be told apart; there is one of each kind.
const SINKS_MAX: usize = 32;

/// Which sinks are to have an event, by their places in the list of sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted(u32);

impl Wanted {
    /// Every sink.
    pub const ALL: Self = Self(u32::MAX);

    /// Whether the sink at that place is to have it.
    pub const fn by(self, place: usize) -> bool {
        self.0 >> (place % SINKS_MAX) & 1 == 1
    }

    /// The same without the sink at that place.
    #[must_use]
    pub const fn without(self, place: usize) -> Self {
        Self(self.0 & !(1 << (place % SINKS_MAX)))
    }
}

/// The filters of all sinks, in the order of the sinks.
#[derive(Debug, Default)]
pub struct Routes {
    /// Empty when no sink has a filter, so that then nothing is done for an event.
    filters: Vec<Option<Filter>>,
    /// What went wrong with the event at hand: the sink's place, and how.
    troubles: Vec<(usize, Trouble)>,
}

impl Routes {
    /// Routes with those filters, one for each sink.
    pub fn new(filters: Vec<Option<Filter>>) -> Self {
        debug_assert!(filters.len() <= SINKS_MAX, "one bit for each sink");
        let any = filters.iter().any(Option::is_some);
        Self { filters: if any { filters } else { Vec::new() }, troubles: Vec::new() }
    }

    /// Which sinks are to have what Genesys pushed. A filter that errs passes it.
    pub fn wanted(&mut self, notification: &Notification, marks: Marks) -> Wanted {
        let mut wanted = Wanted::ALL;
        self.troubles.clear();
        for (place, filter) in self.filters.iter_mut().enumerate() {
            let Some(filter) = filter else {
                continue;
            };
            match filter.accepts(notification, marks) {
                Ok(true) => {}
                Ok(false) => wanted = wanted.without(place),
                Err(trouble) => self.troubles.push((place, trouble)),
            }
        }
        wanted
    }

    /// What went wrong in the last call of `wanted`.
    pub fn troubles(&self) -> &[(usize, Trouble)] {
        &self.troubles
    }
}
