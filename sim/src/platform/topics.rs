//! Which topics exist, what they ask of a caller, and what a combined topic stands for.
//!
//! It knows names only: which bodies a topic carries is the business of `traffic`.

/// A family of topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Template {
    /// The name with `{id}` for each id.
    pub(crate) name: &'static str,
    /// The permissions a caller needs, all of them.
    pub(crate) permissions: &'static [&'static str],
    /// What the first id names.
    pub(crate) subject: Subject,
    /// Whether a socket may have it at all.
    pub(crate) on_sockets: bool,
}

/// What the id in a topic names, and so against what it can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Queue,
    User,
    Other,
}

const QUEUE_VIEW: &[&str] = &["analytics:queueObservation:view"];
const CONVERSATION_VIEW: &[&str] = &["conversation:communication:view"];
const ROUTING_VIEW: &[&str] = &["routing:queue:view"];
const DETAIL_VIEW: &[&str] = &["analytics:conversationDetail:view"];
const USER_VIEW: &[&str] = &["analytics:userObservation:view"];

const fn queue(name: &'static str, permissions: &'static [&'static str]) -> Template {
    Template { name, permissions, subject: Subject::Queue, on_sockets: true }
}

const fn user(name: &'static str, permissions: &'static [&'static str]) -> Template {
    Template { name, permissions, subject: Subject::User, on_sockets: true }
}

const fn other(name: &'static str, permissions: &'static [&'static str]) -> Template {
    Template { name, permissions, subject: Subject::Other, on_sockets: true }
}

/// Every family the simulator knows, by name.
pub(crate) const TEMPLATES: &[Template] = &[
    other("v2.analytics.conversation.{id}.metrics", DETAIL_VIEW),
    other("v2.analytics.conversations.details.jobs.availability", DETAIL_VIEW),
    other("v2.analytics.flow.{id}.aggregates", &["analytics:flowAggregate:view"]),
    queue("v2.analytics.queues.{id}.activity", QUEUE_VIEW),
    queue("v2.analytics.queues.{id}.observations", QUEUE_VIEW),
    user("v2.analytics.users.{id}.aggregates", &["analytics:userAggregate:view"]),
    other("v2.analytics.wrapup.{id}.aggregates", &["analytics:conversationAggregate:view"]),
    Template {
        name: "v2.audits.entitytype.{id}.entityid.{id}",
        permissions: &["audits:audit:view"],
        subject: Subject::Other,
        on_sockets: false,
    },
    user("v2.detail.events.agent.{id}.state", USER_VIEW),
    other("v2.detail.events.conversation.{id}.acd.end", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.acd.start", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.acw", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.attributes", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.contact", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.customer.end", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.customer.start", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.flow.end", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.flow.outcome", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.flow.start", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.outbound", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.user.end", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.user.start", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.voicemail.end", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.voicemail.start", DETAIL_VIEW),
    other("v2.detail.events.conversation.{id}.wrapup", DETAIL_VIEW),
    other("v2.operations.events.{id}", &[]),
    queue("v2.routing.queues.{id}.conversations", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.callbacks", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.calls", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.chats", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.cobrowseSessions", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.emails", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.messages", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.screenshares", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.socialexpressions", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.conversations.videos", CONVERSATION_VIEW),
    queue("v2.routing.queues.{id}.users", ROUTING_VIEW),
    user("v2.users.{id}.activity", USER_VIEW),
    user("v2.users.{id}.conversations", CONVERSATION_VIEW),
    user("v2.users.{id}.conversations.callbacks", CONVERSATION_VIEW),
    user("v2.users.{id}.conversations.calls", CONVERSATION_VIEW),
    user("v2.users.{id}.conversations.chats", CONVERSATION_VIEW),
    user("v2.users.{id}.conversations.emails", CONVERSATION_VIEW),
    user("v2.users.{id}.conversations.messages", CONVERSATION_VIEW),
    user("v2.users.{id}.conversationsummary", USER_VIEW),
    user("v2.users.{id}.presence", &[]),
    user("v2.users.{id}.routingStatus", &[]),
    user("v2.users.{id}.station", &[]),
];

/// The single topics a subscription stands for: `prefix?a&b` is `prefix.a` and `prefix.b`.
pub(crate) fn expand(topic: &str) -> Vec<String> {
    match topic.split_once('?') {
        Some((prefix, parts)) => parts.split('&').map(|part| format!("{prefix}.{part}")).collect(),
        None => vec![topic.to_owned()],
    }
}

/// The family of a single topic and the first id in it.
pub(crate) fn find(topic: &str) -> Option<(&'static Template, &str)> {
    TEMPLATES.iter().find_map(|template| {
        let mut id = "";
        let mut names = template.name.split('.');
        let mut parts = topic.split('.');
        loop {
            match (names.next(), parts.next()) {
                (None, None) => return Some((template, id)),
                (Some("{id}"), Some(part)) if !part.is_empty() => {
                    if id.is_empty() {
                        id = part;
                    }
                }
                (Some(name), Some(part)) if name.eq_ignore_ascii_case(part) => {}
                (Some(_), _) | (None, Some(_)) => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combined_topic_stands_for_its_parts() {
        assert_eq!(
            expand("v2.users.u1?presence&routingStatus"),
            ["v2.users.u1.presence", "v2.users.u1.routingStatus"]
        );
        assert_eq!(expand("v2.users.u1.presence"), ["v2.users.u1.presence"]);
    }

    #[test]
    fn a_topic_is_found_by_its_shape() {
        let (template, id) = find("v2.routing.queues.q1.conversations").expect("known");
        assert_eq!(template.name, "v2.routing.queues.{id}.conversations");
        assert_eq!(id, "q1");
        assert!(find("v2.routing.queues.q1").is_none());
        assert!(find("v2.routing.queues.q1.conversations.calls.more").is_none());
        assert!(find("v2.routing.queues.*").is_none());
    }
}
