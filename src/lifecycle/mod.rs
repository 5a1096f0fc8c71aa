//! Keeps the subscription live: when to log in, open, subscribe, connect, probe, rotate, wait.
//!
//! Pure: no IO, no clock, no randomness of its own. Replies and `now` go in; commands, observations and a deadline come out.

mod command;
mod config;

pub use command::{
    ChannelId, Command, Heard, Reason, Refusal, RejectedTopic, Reply, SecretVersion, SessionId,
    ShardId, TokenId,
};
pub use config::Config;
