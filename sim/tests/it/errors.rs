//! The error codes of a subscription: those that a topic earns, and those that have to be asked for.

use serde_json::{Value, json};

use crate::harness::{Client, quiet};

/// Asks for topics, and answers status and code.
async fn asked(client: &Client, method: &str, body: Value) -> (u16, String) {
    let (id, _) = client.channel().await;
    let path = format!("notifications/channels/{id}/subscriptions");
    let (status, body) = client.api(method, &path, Some(body)).await;
    assert_eq!(body["status"], status);
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_mistake_has_the_code_of_the_documents() {
    let client = Client::start(quiet()).await;
    let audit = "v2.audits.entitytype.0f2a4c6e-0f2a-4c6e-8f2a-4c6e0f2a4c6e.entityid.x";
    for (method, body, status, code) in [
        ("POST", json!([{"id": "v2.no.such"}]), 400, "notification.invalid.topic"),
        ("POST", json!([{"id": audit}]), 400, "notification.transport.not.allowed"),
        ("POST", json!({"id": "x"}), 400, "bad.request"),
        ("PUT", json!([{"id": 1}]), 400, "invalid.value"),
        ("PUT", json!([{"name": "x"}]), 400, "constraint.validation"),
        ("POST", json!([{"id": "v2.routing.queues.none.users"}]), 404, "not.found"),
        ("PUT", json!([{"id": "v2.routing.queues.none.users"}]), 404, "entity.not.found"),
        ("PATCH", json!([]), 405, "method.not.allowed"),
    ] {
        assert_eq!(asked(&client, method, body).await, (status, code.to_owned()));
    }
    let (status, body) =
        client.api("PUT", "notifications/channels/none/subscriptions", Some(json!([]))).await;
    assert_eq!((status, &body["code"]), (404, &json!("not.found")));
}

#[tokio::test]
async fn a_refusal_may_have_any_code_of_the_documents() {
    let client = Client::start(quiet()).await;
    let topics = json!([{"id": client.users_topic()}]);
    for code in [
        "notification.unauthorized.topic",
        "notification.unauthorized.divisioned.topic",
        "notification.forbidden.topic",
        "missing.permissions",
        "missing.any.permissions",
        "missing.division.permission",
        "missing.any.division.permissions",
        "app.not.authorized.for.scope",
        "not.authorized",
        "authz.policy.denied",
    ] {
        client.control("forbid", json!({"topics": [".users"], "code": code})).await;
        assert_eq!(asked(&client, "PUT", topics.clone()).await, (403, code.to_owned()));
    }
}

#[tokio::test]
async fn a_throttle_may_answer_with_any_status_and_code() {
    let client = Client::start(quiet()).await;
    for (status, code, expected) in [
        (
            400,
            Some("notification.unable.to.get.channel.id"),
            "notification.unable.to.get.channel.id",
        ),
        (401, Some("credentials.expired"), "credentials.expired"),
        (408, None, "client.timeout"),
        (429, None, "too.many.requests"),
        (500, None, "internal.server.error"),
        (503, None, "service.unavailable"),
    ] {
        let asked = json!({"what": "rest", "status": status, "code": code, "for_ms": 60_000});
        client.control("throttle", asked).await;
        let (told, body) = client.api("GET", "routing/queues", None).await;
        assert_eq!((told, &body["code"]), (status, &json!(expected)));
        assert_eq!(body["status"], status);
    }
}

#[tokio::test]
async fn a_combined_topic_sticks_while_one_of_its_parts_is_permitted() {
    let client = Client::start(quiet()).await;
    let queue = &client.sim.queues()[0].id;
    let combined = format!("v2.routing.queues.{queue}?users&conversations");
    client.control("forbid", json!({"topics": [".users"]})).await;
    let (id, uri) = client.channel().await;
    let path = format!("notifications/channels/{id}/subscriptions");
    let asked = json!([{"id": combined}]);
    let ignoring = format!("{path}?ignoreErrors=true");
    let (_, body) = client.api("PUT", &ignoring, Some(asked)).await;
    let told =
        |at: usize| (body["entities"][at]["id"].clone(), body["entities"][at]["state"].clone());
    assert_eq!(told(0), (json!(combined), json!("Permitted")));
    assert_eq!(told(1), (json!(client.users_topic()), json!("Rejected")));
    let mut socket = client.connect(&id, &uri).await;
    client.emit(&client.users_topic(), json!({})).await;
    let heard = format!("v2.routing.queues.{queue}.conversations");
    client.emit(&heard, json!({})).await;
    assert_eq!(socket.hear().await["topicName"], heard);
}

#[tokio::test]
async fn every_reply_tells_its_request_and_the_budget() {
    let client = Client::start(quiet()).await;
    let reply = client.raw("GET", "routing/queues", None).await;
    for header in [
        "inin-correlation-id",
        "inin-ratelimit-count",
        "inin-ratelimit-allowed",
        "inin-ratelimit-reset",
    ] {
        assert!(reply.headers().contains_key(header), "{header}");
    }
    let (_, uri) = client.channel().await;
    let (_, response) = tokio_tungstenite::connect_async(uri).await.unwrap();
    assert!(response.headers().contains_key("inin-correlation-id"));
}
