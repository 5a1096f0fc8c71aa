//! OAuth clients, their one secret, and the tokens issued for them.
//!
//! A client has exactly one secret and no grace period. What a new secret does to tokens and
//! sockets is undocumented; here it does nothing unless asked to.

use crate::chance;
use crate::clock::{self, Millis};

use super::{Ending, State};
use crate::switches::TokenEnd;

/// An OAuth client of the client credentials grant.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A live token.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) expires: Millis,
    pub(crate) usage: super::Usage,
}

/// Why no token was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    UnknownClient,
    WrongSecret,
}

impl State {
    /// Issues a token and answers it with its life in seconds.
    pub(crate) fn grant(&mut self, id: &str, secret: &str) -> Result<(String, u64), Denied> {
        let client =
            self.clients.iter().find(|client| client.id == id).ok_or(Denied::UnknownClient)?;
        if client.secret != secret {
            return Err(Denied::WrongSecret);
        }
        let client_id = client.id.clone();
        let token = chance::token(&mut self.chance, 86);
        let ttl = self.options.token_ttl;
        let expires =
            clock::now().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let usage = super::Usage::default();
        self.tokens.insert(token.clone(), Grant { client_id, expires, usage });
        Ok((token, ttl.as_secs()))
    }

    /// Gives a client a new secret, made up when none is given. Without an id the first client is
    /// meant; an unknown id makes another client, and the old ones stay as they are.
    pub(crate) fn rotate(&mut self, id: Option<&str>, secret: Option<String>) -> Client {
        let secret = secret.unwrap_or_else(|| chance::token(&mut self.chance, 43));
        let known = match id {
            Some(id) => self.clients.iter_mut().find(|client| client.id == id),
            None => self.clients.first_mut(),
        };
        if let Some(client) = known {
            client.secret = secret;
            return client.clone();
        }
        let client = Client { id: id.unwrap_or_default().to_owned(), secret };
        self.clients.push(client.clone());
        client
    }

    /// Ends every token of a client, or of all clients.
    pub(crate) fn end_tokens(&mut self, client_id: Option<&str>) -> usize {
        let tokens: Vec<String> = self
            .tokens
            .iter()
            .filter(|(_, grant)| client_id.is_none_or(|id| id == grant.client_id))
            .map(|(token, _)| token.clone())
            .collect();
        for token in &tokens {
            self.end_token(token, Ending::TokenRevoked);
        }
        tokens.len()
    }

    /// Makes every token of a client worthless and leaves its sockets alone.
    pub(crate) fn forget_tokens(&mut self, client_id: &str) {
        self.tokens.retain(|_, grant| grant.client_id != client_id);
    }

    /// Ends one token and closes the sockets of the channels it made. The channels live on for any
    /// token of the same client.
    pub(crate) fn end_token(&mut self, token: &str, ending: Ending) {
        if self.tokens.remove(token).is_none() {
            return;
        }
        let made: Vec<String> = self
            .channels
            .values()
            .filter(|channel| channel.token == token)
            .map(|channel| channel.id.clone())
            .collect();
        for id in made {
            match self.switches.token_end {
                TokenEnd::ClosesSockets => self.end_socket(&id, ending),
                TokenEnd::EndsChannels => self.end_channel(&id, ending),
                TokenEnd::Nothing => {}
            }
        }
    }
}
