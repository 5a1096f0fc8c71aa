//! Keeps the subscription live: when to log in, open, subscribe, connect, probe, rotate, wait.
//!
//! Pure: no IO, no clock, no randomness of its own. Replies and `now` go in; commands, notes and a deadline come out:
//!
//! ```text
//!  Reply ──► Lifecycle ──► Command     Lifecycle ─┬─ Login    one token, bought before it is needed
//!  now ───►      │     ──► Note                   └─ Shard…   a slice of the topics, always covered
//!                └───────► deadline      │             └─ Session…  one channel and its socket
//!                                        └─ Rebase   what REST is asked after a gap
//! ```

mod amend;
mod backoff;
mod budget;
mod census;
mod channel;
mod client;
mod command;
mod config;
mod coverage;
mod due;
mod handed;
mod holdings;
mod kept;
mod listing;
mod login;
mod machine;
mod output;
mod plan;
mod reasons;
mod rebase;
mod refused;
mod rotation;
mod session;
mod shard;
mod state;
mod whole;

#[cfg(test)]
mod tests;
mod waiting;

pub use backoff::Backoff;
pub use command::{
    Change, ChannelId, Command, FoundChannel, Heard, Reason, Refusal, RejectedTopic, Reply,
    SecretVersion, SessionId, ShardId, TokenId,
};
pub use config::Config;
pub use due::Awaited;
pub use kept::KeptChannel;
pub use login::{Login, Token};
pub use machine::Lifecycle;
pub use output::Note;
pub use plan::{CHANNELS_PER_CLIENT, Plan, ShardTopics, TOPICS_PER_CHANNEL, TooMany, expand};
pub use reasons::{Answer, Call};
pub use rebase::{ReadId, ReadTopics, Snapshot};
pub use rotation::Trigger;
pub use session::Session;
pub use state::State;
