//! One sink's filter: read once, then asked for each event.

use super::body::{self, Body, Boxed};
use super::check::{self, Uses};
use crate::event::{Marks, Notification, Topic};
use cel::common::types::CelMapKey;
use cel::parser::Expression;
use cel::{Context, Env, ExecutionError, Value};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The longest expression, in bytes: more is no filter that a person could read.
pub(super) const LENGTH_MAX: usize = 4_096;

/// The largest body that a filter looks into, in bytes: what it takes to read and walk one holds up the stream for tens of
/// milliseconds at most. A larger one passes.
pub(super) const BODY_MAX: usize = 256 << 10;

/// How many topics' answers are remembered; as many as there can be parsed topics.
const REMEMBERED_MAX: usize = 65_536;

/// Why a filter gave no answer. Says nothing of the event: its values may be personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A field is not there.
    #[error("a field that it names is not there; ask has(…) first")]
    Missing,
    /// A value is of another type than the expression takes.
    #[error("an operator met a type that it does not take")]
    Type,
    /// Its value is no boolean.
    #[error("it came to something other than true or false")]
    Answer,
    /// The body is larger than 256 KiB.
    #[error("the body is larger than a filter looks into (256 KiB)")]
    Large,
    /// The body is no JSON.
    #[error("the body cannot be read")]
    Unreadable,
    /// A division by zero, an index out of bounds, and the like.
    #[error("it could not be evaluated")]
    Other,
}

/// What is wrong with the text of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, as it fits after the text.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

/// A CEL expression over an event.
pub struct Filter {
    text: Box<str>,
    expression: Expression,
    uses: Uses,
    context: Context<'static, 'static>,
    /// Answers by topic, where the topic alone decides.
    remembered: HashMap<Topic, bool>,
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is no CEL, names what there is not, or could take long.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
        let fix = "write an expression in CEL such as event.type.contains(\".queues.\")";
        let refuse = |problem: String| Problem { problem, fix: fix.into() };
        if text.trim().is_empty() {
            return Err(refuse("is empty".into()));
        }
        if text.len() > LENGTH_MAX {
            return Err(refuse(format!("is longer than {LENGTH_MAX} bytes")));
        }
        let parsed = ENVIRONMENT.parser().parse(text);
        let expression = parsed.map_err(|errors| {
            let first = errors.errors.first();
            let place = first.map(|error| format!(" at column {}: {}", error.pos.1, error.msg));
            refuse(format!("is no CEL expression{}", place.unwrap_or_default()))
        })?;
        Ok(Self {
            uses: check::check(&expression)?,
            text: text.into(),
            expression,
            context: Context::with_env(Arc::clone(&ENVIRONMENT)),
            remembered: HashMap::new(),
        })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the sink is to have the event.
    ///
    /// # Errors
    /// When the expression has no answer for it.
    pub fn accepts(&mut self, notification: &Notification, marks: Marks) -> Result<bool, Trouble> {
        if !self.uses.only_topic {
            return self.evaluate(notification, marks);
        }
        if let Some(answer) = self.remembered.get(&notification.topic) {
            return Ok(*answer);
        }
        let answer = self.evaluate(notification, marks)?;
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(notification.topic.clone(), answer);
        }
        Ok(answer)
    }

    fn evaluate(&mut self, notification: &Notification, marks: Marks) -> Result<bool, Trouble> {
        let mut event: HashMap<CelMapKey<'static>, Boxed> = HashMap::new();
        for name in &self.uses.attributes {
            if let Some(value) = value(name, notification, marks)? {
                event.insert(CelMapKey::from((*name).to_owned()), value);
            }
        }
        self.context.add_variable_as_val(check::ROOT, body::object(event));
        match Value::resolve(&self.expression, &self.context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(_) => Err(Trouble::Answer),
            Err(error) => Err(trouble(&error)),
        }
    }
}

/// An attribute's value; none where the event has none.
fn value(name: &str, notification: &Notification, marks: Marks) -> Result<Option<Boxed>, Trouble> {
    let topic = &notification.topic;
    Ok(Some(match name {
        "type" => body::text(topic.kind()),
        "subject" => body::text(topic.key()),
        "topic" => body::text(topic.name()),
        "time" => body::text(&notification.received.to_string()),
        "late" => body::truth(marks.late),
        "possibleduplicate" => body::truth(marks.possible_duplicate),
        "correlationid" => return Ok(notification.correlation_id.as_deref().map(body::text)),
        _ if notification.body.len() > BODY_MAX => return Err(Trouble::Large),
        _ => {
            let read = serde_json::from_slice::<Body>(&notification.body);
            read.map_err(|_| Trouble::Unreadable)?.0
        }
    }))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is the crate's and open, and every other error is told alike"
)]
fn trouble(error: &ExecutionError) -> Trouble {
    match error {
        ExecutionError::NoSuchKey(_) => Trouble::Missing,
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::UnsupportedIndex(..) => Trouble::Type,
        _ => Trouble::Other,
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}
