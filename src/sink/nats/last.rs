//! What a stream's last message says: who wrote it, and how far we had got. Whatever stands in its headers; anybody may have written it.
//!
//! Pure. What follows from it is the sink's to say.

use crate::event::Epoch;
use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use std::cmp::Ordering;

/// So much of a stranger's id is told.
const TOLD_MAX: usize = 100;

/// The last message of a stream, by its `Nats-Msg-Id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Whose it is.
    pub whose: Whose,
    /// Its id, for people: the beginning of it where it is long, empty where it has none.
    pub id: String,
}

/// Who wrote a message, as one epoch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The epoch's own, at that position of the journal.
    Ours(u64),
    /// That younger epoch's, which has taken over.
    Younger(Epoch),
    /// An older epoch's or a stranger's.
    Others,
}

impl Last {
    /// What these headers say to an epoch.
    pub fn of(headers: &HeaderMap, epoch: &Epoch) -> Self {
        let id = headers.get(NATS_MESSAGE_ID).map(|id| id.as_str()).unwrap_or_default();
        Self { whose: whose(id, epoch), id: id.chars().take(TOLD_MAX).collect() }
    }
}

fn whose(id: &str, epoch: &Epoch) -> Whose {
    let Some((name, place)) = id.rsplit_once('-') else { return Whose::Others };
    // As we write it, and no other way.
    let place = place.parse().ok().filter(|number: &u64| number.to_string() == place);
    let Some(position) = place else { return Whose::Others };
    // Epochs sort by age.
    match name.cmp(epoch.as_str()) {
        Ordering::Equal => Whose::Ours(position),
        Ordering::Greater if Epoch::is_name(name) => Whose::Younger(Epoch::named(name)),
        Ordering::Less | Ordering::Greater => Whose::Others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_as_we_write_it_is_ours_or_a_younger_epochs() {
        let epoch = Epoch::named("20260102T000000Z-00000007");
        for (id, expected) in [
            ("20260102T000000Z-00000007-12", Whose::Ours(12)),
            ("20260102T000000Z-00000007-+12", Whose::Others),
            ("20260102T000000Z-00000007-012", Whose::Others),
            ("20260102T000000Z-00000007-", Whose::Others),
            ("20260102T000000Z-00000007-99999999999999999999", Whose::Others),
            (
                "20260103T000000Z-00000001-1",
                Whose::Younger(Epoch::named("20260103T000000Z-00000001")),
            ),
            ("20260101T000000Z-00000009-5", Whose::Others),
            ("stranger-1", Whose::Others),
            ("", Whose::Others),
        ] {
            assert_eq!(whose(id, &epoch), expected, "{id:?}");
        }
    }

    #[test]
    fn a_message_without_an_id_or_with_an_endless_one_is_anothers() {
        let epoch = Epoch::named("20260102T000000Z-00000007");
        let mut headers = HeaderMap::new();
        let nameless = Last { whose: Whose::Others, id: String::new() };
        assert_eq!(Last::of(&headers, &epoch), nameless);
        headers.insert(NATS_MESSAGE_ID, "x".repeat(10_000));
        assert_eq!(Last::of(&headers, &epoch).id.len(), TOLD_MAX);
    }
}
