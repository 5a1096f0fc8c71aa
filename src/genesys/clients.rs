//! Which OAuth client bought a token and owns a channel: the client may change with the secret, and channels do not go with it.
//!
//! Ids of clients are no secrets; tokens and channels are known by their handles alone.

use crate::lifecycle::{ChannelId, TokenId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Only the newest are remembered: many more than a client's 20 channels can use at once.
const KEPT_MAX: usize = 256;

/// Who bought and who owns what.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    buyers: BTreeMap<TokenId, Arc<str>>,
    owners: BTreeMap<ChannelId, Arc<str>>,
}

impl Clients {
    /// This client bought a token.
    pub(super) fn bought(&self, token: TokenId, client: &str) -> TokenId {
        let mut known = self.known();
        known.buyers.insert(token, client.into());
        if known.buyers.len() > KEPT_MAX {
            known.buyers.pop_first();
        }
        token
    }

    /// A channel was made with this token.
    pub(super) fn made(&self, channel: ChannelId, token: TokenId) -> ChannelId {
        let mut known = self.known();
        if let Some(client) = known.buyers.get(&token).cloned() {
            known.owners.insert(channel, client);
        }
        if known.owners.len() > KEPT_MAX {
            known.owners.pop_first();
        }
        channel
    }

    /// Who bought the token.
    pub(super) fn buyer(&self, token: TokenId) -> Option<Arc<str>> {
        self.known().buyers.get(&token).cloned()
    }

    /// Who owns the channel.
    pub(super) fn owner(&self, channel: ChannelId) -> Option<Arc<str>> {
        self.known().owners.get(&channel).cloned()
    }

    /// Whether the channel is known to belong to another client than the token. The platform would say so too, but perhaps in the
    /// words that it has for a missing permission, after which a session parks.
    pub(super) fn are_strangers(&self, token: TokenId, channel: ChannelId) -> bool {
        let known = self.known();
        let both = known.buyers.get(&token).zip(known.owners.get(&channel));
        both.is_some_and(|(buyer, owner)| buyer != owner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is whole, so that what a panicking task leaves behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_of_another_client_is_known_as_such() {
        let clients = Clients::default();
        let [mine, same, others] = [1, 2, 3].map(TokenId);
        clients.bought(mine, "me");
        clients.bought(same, "me");
        clients.bought(others, "other");
        let channel = clients.made(ChannelId(1), mine);
        assert!(!clients.are_strangers(same, channel));
        assert!(clients.are_strangers(others, channel));
        assert!(!clients.are_strangers(others, ChannelId(2)), "nobody knows whose it is");
    }
}
