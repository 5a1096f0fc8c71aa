//! The stream: found and checked, or created; and where it ends.

use super::Config;
use super::last::Last;
use super::link::{ANSWER, Link, answered};
use super::message::Expectation;
use crate::event::Epoch;
use crate::sink::Error;
use crate::sink::template::{Part, Template};
use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use std::time::Duration;

/// How far back the server recognises a repeated id; the chain needs no more than its default.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

impl Link {
    /// Finds the stream and checks it, or creates it.
    pub(super) async fn stream(
        &mut self,
        config: &Config,
        subject: Option<&Template>,
        control: &str,
    ) -> Result<Stream, Error> {
        let name = &config.stream;
        let subjects = subjects(subject, control);
        let operation = |verb, at: &str| format!("{verb} stream {name} at {at}");
        let stream = match self.find(config).await? {
            Some(stream) => stream,
            None => {
                let context = self.context(config);
                answered(&mut self.trouble, context.create_stream(wanted(config, &subjects)))
                    .await
                    .map_err(|reason| Error::retry(operation("create", &self.addresses), reason))?
            }
        };
        let existing = &stream.cached_info().config;
        if let Some(problem) = unfit(existing, &subjects) {
            return Err(Error::misconfigured(operation("use", &self.addresses), problem));
        }
        if let Ok(most @ 1..) = usize::try_from(existing.max_message_size) {
            self.most = self.most.min(most);
        }
        Ok(stream)
    }

    /// Finds the stream, if it exists.
    pub(super) async fn find(&mut self, config: &Config) -> Result<Option<Stream>, Error> {
        let (name, context) = (&config.stream, self.context(config));
        let looked_up = answered(&mut self.trouble, async {
            match context.get_stream(name).await {
                Ok(stream) => Ok(Some(stream)),
                Err(error) if is_missing(&error.kind()) => Ok(None),
                Err(error) => Err(error),
            }
        });
        looked_up.await.map_err(|reason| {
            Error::retry(format!("look up stream {name} at {}", self.addresses), reason)
        })
    }

    /// The JetStream API, in the domain that is asked for.
    fn context(&self, config: &Config) -> Context {
        let (builder, client) = (ContextBuilder::new().timeout(ANSWER), self.client.clone());
        match &config.domain {
            Some(domain) => builder.domain(domain).build(client),
            None => builder.build(client),
        }
    }

    /// What the stream's last message says, if there is one; remembers what the next message has to expect.
    pub(super) async fn last_message(
        &mut self,
        stream: &Stream,
        epoch: &Epoch,
    ) -> Result<Option<Last>, Error> {
        let state = &stream.cached_info().state;
        self.expectation = Expectation::Sequence(state.last_sequence);
        if state.messages == 0 {
            return Ok(None);
        }
        let read = answered(&mut self.trouble, async {
            match stream.get_raw_message(state.last_sequence).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let message = read.await.map_err(|reason| {
            let name = &stream.cached_info().config.name;
            Error::retry(format!("read the last message of stream {name}"), reason)
        })?;
        Ok(message.map(|message| Last::of(&message.headers, epoch)))
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// The stream that we create.
pub(super) fn wanted(config: &Config, subjects: &[String]) -> stream::Config {
    stream::Config {
        name: config.stream.clone(),
        description: Some("Genesys Cloud events, written by tieline alone".into()),
        subjects: subjects.to_vec(),
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_age: config.max_age,
        max_bytes: i64::try_from(config.max_bytes.0).ok().filter(|bytes| *bytes > 0).unwrap_or(-1),
        duplicate_window: match config.max_age {
            Duration::ZERO => DUPLICATE_WINDOW,
            age => DUPLICATE_WINDOW.min(age),
        },
        allow_direct: true,
        ..stream::Config::default()
    }
}

/// Why a stream that exists cannot be ours.
pub(super) fn unfit(existing: &stream::Config, subjects: &[String]) -> Option<String> {
    let is_taken = |subject: &&String| existing.subjects.iter().any(|wide| covers(wide, subject));
    if let Some(missing) = subjects.iter().find(|subject| !is_taken(subject)) {
        let takes = existing.subjects.join(", ");
        return Some(format!(
            "it takes {takes:?}, not {missing}: add that subject, or name another stream"
        ));
    }
    let faults = [
        (existing.no_ack, "it acknowledges nothing (no_ack)"),
        (existing.sealed, "it is sealed"),
        (existing.mirror.is_some(), "it is a mirror"),
    ];
    let (_, fault) = faults.into_iter().find(|(fault, _)| *fault)?;
    Some(fault.to_owned())
}

/// The subjects of all our messages, as a stream names them: none that another one covers.
pub(super) fn subjects(subject: Option<&Template>, control: &str) -> Vec<String> {
    let wide = subject.map(wildcard).unwrap_or_default();
    let mut subjects = vec![control.to_owned()];
    subjects.retain(|subject| !covers(&wide, subject));
    subjects.insert(0, wide);
    subjects
}

/// The subjects that a template can make, as a stream names them: `genesys.{family}.{key}` is `genesys.>`.
fn wildcard(template: &Template) -> String {
    let mut pattern = String::new();
    for part in template.parts() {
        match part {
            Part::Text(text) => pattern.push_str(text),
            Part::Key => pattern.push('*'),
            Part::Family => {
                // A family has several tokens, which only a closing > takes.
                pattern.truncate(pattern.rfind('.').map_or(0, |dot| dot + 1));
                pattern.push('>');
                break;
            }
        }
    }
    let tokens = pattern.split('.');
    let whole = tokens.map(|token| if token.contains('*') { "*" } else { token });
    whole.collect::<Vec<_>>().join(".")
}

/// Whether every subject of `narrow` is one of `wide`.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wide), Some(narrow)) if wide == narrow => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_becomes_the_narrowest_wildcard() {
        let wildcard = |text| wildcard(&Template::parse(text, &["family", "key"]).expect("good"));
        assert_eq!(wildcard("genesys.{family}.{key}"), "genesys.>");
        assert_eq!(wildcard("genesys.{key}.{family}"), "genesys.*.>");
        assert_eq!(wildcard("genesys.f-{family}"), "genesys.>");
        assert_eq!(wildcard("genesys.q-{key}.events"), "genesys.*.events");
        assert_eq!(wildcard("genesys"), "genesys");
    }

    #[test]
    fn a_stream_covers_what_its_wildcards_cover() {
        for (wide, narrow) in
            [("a.>", "a.>"), (">", "a.>"), ("a.>", "a.*.b"), ("a.*", "a.*"), ("a.*", "a.b")]
        {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in
            [("a.b.>", "a.>"), ("a.*", "a.>"), ("a.>", "a"), ("a.b", "a.*"), ("a.*", "a.b.c")]
        {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }
}
