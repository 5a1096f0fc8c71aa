//! Names of subjects and topics, made of the operator's fixed text and `{family}` and `{key}`.
//!
//! Data is confined: whatever a value holds, it cannot add a token, a wildcard or a character that the broker refuses. Which
//! characters those are is the sink's to say.

use crate::event::Topic;

/// The placeholder that stands for the fixed text with which another template begins.
const PREFIX: &str = "{prefix}";

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The operator's own text.
    Text(Box<str>),
    /// The event's type without `com.genesys.cloud.`; its dots are kept.
    Family,
    /// The event's key, as one token: its dots are replaced.
    Key,
}

impl Template {
    /// Parses `text`. `placeholders` are those that the sink allows, without braces.
    ///
    /// The error says what is wrong, as it fits after the value.
    pub fn parse(text: &str, placeholders: &[&str]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("has a { without its }")?;
            parts.push(Part::Text(before.into()));
            parts.push(match name {
                "family" if placeholders.contains(&name) => Part::Family,
                "key" if placeholders.contains(&name) => Part::Key,
                _ => return Err(format!("has the unknown placeholder {{{name}}}")),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        if rest.contains('}') {
            return Err("has a } without its {".into());
        }
        Ok(Self(parts))
    }

    /// The name of where control events go: fixed text, where `{prefix}` stands for the text with which this template begins,
    /// without what separates it from a placeholder.
    ///
    /// The error says what is wrong, as it fits after the value.
    pub fn control(&self, text: &str) -> Result<String, String> {
        let prefix = match self.0.first() {
            Some(Part::Text(text)) => text.trim_end_matches(['.', '-', '_']),
            Some(Part::Family | Part::Key) | None => "",
        };
        let name = text.replace(PREFIX, prefix);
        if name.contains(['{', '}']) {
            return Err(format!("has a placeholder other than {PREFIX}"));
        }
        Ok(name.trim_start_matches('.').to_owned())
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Writes the name for events on `topic` to `out`, characters of values that are not `legal` replaced by `_`.
    pub fn render(&self, topic: &Topic, legal: fn(char) -> bool, out: &mut String) {
        out.clear();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Family => out.extend(
                    topic.family_name().chars().map(|c| if c == '.' || legal(c) { c } else { '_' }),
                ),
                Part::Key => out.extend(
                    topic.key().chars().map(|c| if c != '.' && legal(c) { c } else { '_' }),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, topic: &str) -> String {
        let mut out = String::from("what was there before");
        Template::parse(template, &["family", "key"]).expect("a good template").render(
            &Topic::new(topic),
            |c| c.is_ascii_alphanumeric() || c == '-',
            &mut out,
        );
        out
    }

    #[test]
    fn values_take_their_places() {
        let queue = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";
        assert_eq!(
            render("genesys.{family}.q-{key}", &format!("v2.routing.queues.{queue}.conversations")),
            format!("genesys.v2.routing.queues.conversations.q-{queue}")
        );
    }

    #[test]
    fn data_cannot_add_tokens_or_wildcards() {
        assert_eq!(render("g.{key}", "v2.evil.>.* \r\n"), "g.v2_evil_______");
    }

    #[test]
    fn control_events_go_beside_the_others() {
        let control = |template: &str, text| {
            let template = Template::parse(template, &["family", "key"]).expect("a good template");
            template.control(text)
        };
        for (template, name) in [
            ("genesys.{family}.{key}", "genesys.control"),
            ("genesys.events", "genesys.events.control"),
            ("{family}", "control"),
        ] {
            assert_eq!(control(template, "{prefix}.control").as_deref(), Ok(name));
        }
        assert_eq!(control("a", "ops").as_deref(), Ok("ops"));
        assert!(control("a", "{key}.control").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let mistake = |text| Template::parse(text, &["family"]).expect_err("a bad template");
        assert_eq!(mistake("a.{queue}"), "has the unknown placeholder {queue}");
        assert_eq!(mistake("a.{key}"), "has the unknown placeholder {key}");
        assert_eq!(mistake("a.{family"), "has a { without its }");
        assert_eq!(mistake("a}.b"), "has a } without its {");
    }
}
