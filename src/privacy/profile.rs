//! The shipped rules, and which personal fields the platform's families have by its official schemas.
//!
//! Rules go by name wherever in a body it stands, because the platform adds places without notice.

use super::pattern::Pattern;
use super::{Action, Rule};

/// What is dropped: names of people, free text, what agents and customers attach or write.
const DROPPED: [&str; 28] = [
    "participants.name",
    "**.self.name",
    "**.other.name",
    "**.fromAddress.name",
    "**.toAddress.name",
    "**.agent.name",
    "**.nameRaw",
    "**.participantName",
    "**.callbackUserName",
    "**.callerIdName",
    "**.socialUserName",
    "**.transferTargetName",
    "**.userDisplay",
    "**.attributes",
    "**.externalTag",
    "**.uuiData",
    "**.notes",
    "**.wrapupNotes",
    "**.subject",
    "**.body",
    "**.previewText",
    "**.presenceMessage",
    "**.avatarImageUrl",
    "**.media.url",
    "**.draftAttachments.name",
    "**.viewerUrl",
    "**.oldValues",
    "**.newValues",
];

/// What is hashed: numbers, addresses and ids by which a person can be found again, and by which consumers join.
const HASHED: [&str; 25] = [
    "**.address",
    "**.addressRaw",
    "**.addressNormalized",
    "**.addressDisplayable",
    "**.addressFrom",
    "**.addressTo",
    "**.destinationAddresses",
    "**.transferTargetAddress",
    "**.ani",
    "**.dnis",
    "**.sessionDnis",
    "**.remote",
    "**.phoneNumber",
    "**.callbackNumbers",
    "**.ipAddress",
    "**.publicIpAddress",
    "**.remoteIp",
    "**.externalContactId",
    "**.conversationExternalContactIds",
    "**.outboundContactId",
    "**.dialerPreview.contactId",
    "**.outboundPreview.contactId",
    "**.journeyCustomerId",
    "**.customer.id",
    "**.tokenHash",
];

/// What one family alone calls by a name that is harmless elsewhere.
/// A snapshot of a queue's members has the family of the topic that it re-bases.
const DROPPED_IN: [(&str, &str); 4] = [
    ("v2.users.presence", "message"),
    ("v2.routing.queues.users", "members.**.name"),
    ("v2.routing.queues.users", "members.**.username"),
    ("v2.routing.queues.users", "members.**.email"),
];

/// The shipped rules, by family.
pub(super) fn rules() -> Vec<(&'static str, Vec<Rule>)> {
    let rule = |path: &str, action| Pattern::parse(path).map(|pattern| Rule { pattern, action });
    let dropped = DROPPED.iter().filter_map(|path| rule(path, Action::Drop));
    let everywhere = dropped.chain(HASHED.iter().filter_map(|path| rule(path, Action::Hash)));
    let apart = DROPPED_IN
        .iter()
        .map(|(family, path)| (*family, rule(path, Action::Drop).into_iter().collect()));
    std::iter::once(("*", everywhere.collect())).chain(apart).collect()
}

/// What bodies tell about people, by family; of several that fit the longest counts.
const FAMILIES: [(&str, &str); 11] = [
    (
        "v2.analytics.conversation.metrics",
        "phone numbers, addresses, participants' names, contact ids",
    ),
    ("v2.analytics.flow.metrics", "phone numbers, addresses, participants' names, contact ids"),
    ("v2.audits.*", "who changed what from which value to which, and from which address"),
    ("v2.detail.events.collaboratechat.*", "what people wrote"),
    (
        "v2.detail.events.conversation.*",
        "phone numbers, addresses, names, attributes, contact ids, subjects, notes",
    ),
    ("v2.operations.events", "phone numbers, contact ids"),
    (
        "v2.routing.queues.conversations.*",
        "names, phone numbers, addresses, attributes, contact ids, subjects, notes",
    ),
    ("v2.users.activity", "what agents wrote as their presence"),
    (
        "v2.users.conversations.*",
        "names, phone numbers, addresses, attributes, contact ids, subjects, notes",
    ),
    ("v2.users.presence", "what agents wrote as their presence"),
    ("v2.users.tokens", "addresses, hashes of tokens"),
];

/// What a family's bodies tell about people, in words; none where the schemas name nothing personal, or the family is unknown.
pub fn personal_fields(family: &str) -> Option<&'static str> {
    let found = FAMILIES.iter().filter(|(prefix, _)| super::fits(prefix, family));
    found.max_by_key(|(prefix, _)| prefix.len()).map(|(_, fields)| *fields)
}
