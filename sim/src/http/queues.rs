//! `/api/v2/routing/queues`: the queues of the organisation, page by page.

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Call, Problem, Reply};
use crate::platform::Platform;

/// The default size of a page, as documented.
const PAGE: usize = 25;

/// Lists queues, optionally those of one name (`*` stands for any text at its end).
pub(super) fn list(platform: &Platform, call: &Call) -> Answer {
    if call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let size = call.number("pageSize", PAGE)?;
    let number = call.number("pageNumber", 1)?;
    if size > 500 {
        return Err(Problem::new(400, "invalid.value", "pageSize may be at most 500"));
    }
    let name = call.query("name");
    let entities: Vec<Value> = platform
        .traffic
        .queues()
        .iter()
        .filter(|queue| name.is_none_or(|name| is_named(&queue.name, name)))
        .map(|queue| {
            json!({
                "id": queue.id,
                "name": queue.name,
                "division": {"id": platform.traffic.division(), "name": "Home"},
                "selfUri": format!("/api/v2/routing/queues/{}", queue.id),
            })
        })
        .collect();
    Ok(Reply::json(&page(&entities, size, number, "/api/v2/routing/queues")))
}

fn is_named(name: &str, asked: &str) -> bool {
    let (name, asked) = (name.to_lowercase(), asked.to_lowercase());
    match asked.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == asked,
    }
}

/// One page of a list in the platform's shape.
pub(super) fn page(entities: &[Value], size: usize, number: usize, uri: &str) -> Value {
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
