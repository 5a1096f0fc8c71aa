//! `/api/v2/routing/queues`: the queues of the organisation, page by page.

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Call, Problem, Reply};
use crate::platform::Platform;
use crate::traffic::Queue;

/// The default size of a page, as documented.
const PAGE: usize = 25;

/// Lists queues, optionally those of one name (`*` stands for any text at its end).
pub(super) fn list(platform: &Platform, call: &Call) -> Answer {
    let (size, number) = paging(call)?;
    let name = call.query("name");
    let hidden = platform.state().hidden.clone();
    let entities: Vec<Value> = platform
        .traffic
        .queues()
        .iter()
        .filter(|queue| !hidden.contains(&queue.id))
        .filter(|queue| name.is_none_or(|name| is_named(&queue.name, name)))
        .map(|queue| body(platform, queue))
        .collect();
    Ok(Reply::json(&page(&entities, size, number, "/api/v2/routing/queues")))
}

/// One queue.
pub(super) fn one(platform: &Platform, call: &Call, id: &str) -> Answer {
    if call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let is_there = !platform.state().hidden.iter().any(|hidden| hidden == id);
    let queue = platform.traffic.queues().iter().find(|queue| queue.id == id && is_there);
    queue.map(|queue| Reply::json(&body(platform, queue))).ok_or_else(Problem::not_found)
}

/// The members of a queue, optionally only those who have `joined` it or have not.
pub(super) fn members(platform: &Platform, call: &Call, id: &str) -> Answer {
    let (size, number) = paging(call)?;
    let joined = match call.query("joined") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            return Err(Problem::new(400, "invalid.value", "joined is true or false"));
        }
    };
    let members = platform.traffic.members(id).ok_or_else(Problem::not_found)?;
    let entities: Vec<Value> = members
        .into_iter()
        .filter(|member| joined.is_none_or(|joined| member["joined"] == joined))
        .collect();
    let uri = format!("/api/v2/routing/queues/{id}/members");
    let mut page = page(&entities, size, number, &uri);
    // Unlike other lists this one does not say how long it is: a client turns pages by `nextUri`.
    if let Some(page) = page.as_object_mut() {
        page.retain(|name, _| !matches!(name.as_str(), "total" | "pageCount" | "lastUri"));
    }
    Ok(Reply::json(&page))
}

fn paging(call: &Call) -> Result<(usize, usize), Problem> {
    if call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let size = call.number("pageSize", PAGE)?;
    if size > 500 {
        return Err(Problem::new(400, "invalid.value", "pageSize may be at most 500"));
    }
    Ok((size, call.number("pageNumber", 1)?))
}

fn body(platform: &Platform, queue: &Queue) -> Value {
    json!({
        "id": queue.id,
        "name": queue.name,
        "division": {"id": platform.traffic.division(), "name": "Home"},
        "memberCount": platform.traffic.member_count(&queue.id),
        "selfUri": format!("/api/v2/routing/queues/{}", queue.id),
    })
}

fn is_named(name: &str, asked: &str) -> bool {
    let (name, asked) = (name.to_lowercase(), asked.to_lowercase());
    match asked.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == asked,
    }
}

/// One page of a list in the platform's shape.
fn page(entities: &[Value], size: usize, number: usize, uri: &str) -> Value {
    let total = entities.len();
    let count = total.div_ceil(size).max(1);
    let first = (number - 1).saturating_mul(size).min(total);
    let last = first.saturating_add(size).min(total);
    let link = |number: usize| format!("{uri}?pageSize={size}&pageNumber={number}");
    let mut page = json!({
        "entities": entities[first..last],
        "pageSize": size,
        "pageNumber": number,
        "total": total,
        "pageCount": count,
        "firstUri": link(1),
        "lastUri": link(count),
        "selfUri": link(number),
    });
    if number < count {
        page["nextUri"] = Value::from(link(number + 1));
    }
    if number > 1 {
        page["previousUri"] = Value::from(link(number - 1));
    }
    page
}
