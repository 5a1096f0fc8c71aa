//! Tokens and channels by their handles, so that the lifecycle never sees a credential.

use super::rest::Channel;
use crate::lifecycle::{ChannelId, TokenId};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Nobody forgets a token, so only the newest are kept: many more than a client's 20 channels can use at once.
const TOKENS_MAX: usize = 256;

/// What the handles stand for; shared by the tasks that carry out commands.
#[derive(Debug, Default)]
pub(super) struct Handles(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    last: u64,
    tokens: BTreeMap<TokenId, SecretString>,
    channels: HashMap<ChannelId, Arc<Channel>>,
}

impl Handles {
    pub(super) fn add_token(&self, token: SecretString) -> TokenId {
        let mut held = self.held();
        held.last += 1;
        let id = TokenId(held.last);
        held.tokens.insert(id, token);
        if held.tokens.len() > TOKENS_MAX {
            held.tokens.pop_first();
        }
        id
    }

    pub(super) fn token(&self, id: TokenId) -> Option<SecretString> {
        self.held().tokens.get(&id).cloned()
    }

    /// A channel that is known keeps the handle that it has.
    pub(super) fn add_channel(&self, channel: Channel) -> ChannelId {
        let mut held = self.held();
        let is_it = |known: &Channel| known.id.expose_secret() == channel.id.expose_secret();
        if let Some((known, _)) = held.channels.iter().find(|(_, known)| is_it(known)) {
            return *known;
        }
        held.last += 1;
        let id = ChannelId(held.last);
        held.channels.insert(id, Arc::new(channel));
        id
    }

    pub(super) fn channel(&self, id: ChannelId) -> Option<Arc<Channel>> {
        self.held().channels.get(&id).cloned()
    }

    pub(super) fn forget(&self, id: ChannelId) {
        self.held().channels.remove(&id);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change is whole, so that what a panicking task leaves behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_tokens_are_kept() {
        let handles = Handles::default();
        let ids: Vec<_> = (0..=TOKENS_MAX)
            .map(|number| handles.add_token(SecretString::from(number.to_string())))
            .collect();
        assert!(handles.token(ids[0]).is_none());
        let newest = handles.token(ids[TOKENS_MAX]).expect("kept");
        assert_eq!(newest.expose_secret(), TOKENS_MAX.to_string());
    }

    #[test]
    fn a_forgotten_channel_is_gone() {
        let handles = Handles::default();
        let channel = || Channel {
            id: SecretString::from("streaming-1"),
            connect_uri: SecretString::from("wss://x/streaming-1"),
        };
        let id = handles.add_channel(channel());
        assert_eq!(handles.add_channel(channel()), id, "a channel has one handle");
        assert!(handles.channel(id).is_some());
        assert!(!format!("{handles:?}").contains("streaming-1"));
        handles.forget(id);
        assert!(handles.channel(id).is_none());
    }
}
