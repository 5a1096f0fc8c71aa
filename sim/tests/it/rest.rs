//! Login, channels, subscriptions, queues and errors, without a socket.

use serde_json::{Value, json};
use tieline_sim::Options;

use crate::harness::{Client, quiet};

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_client_are_told_apart() {
    let client = Client::start(quiet()).await;
    let (status, wrong) = client.ask_token(client.sim.client_id(), "wrong").await;
    assert_eq!((status, &wrong["error"]), (401, &json!("invalid_client")));
    assert_eq!(wrong["description"], wrong["error_description"]);
    let (status, unknown) = client.ask_token("nobody", "wrong").await;
    assert_eq!((status, &unknown["error"]), (400, &json!("invalid_client")));
}

#[tokio::test]
async fn credentials_may_come_in_the_form() {
    let client = Client::start(quiet()).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client.sim.client_id()),
        ("client_secret", client.sim.client_secret()),
    ];
    let url = format!("{}/oauth/token", client.sim.login_url());
    let reply = client.http.post(url).form(&form).send().await.unwrap();
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn every_error_names_its_request() {
    let client = Client::start(quiet()).await;
    let reply = client.raw("GET", "notifications/channels/none", None).await;
    let header = reply.headers()["inin-correlation-id"].to_str().unwrap().to_owned();
    let body: Value = reply.json().await.unwrap();
    assert_eq!(body["contextId"], header);
    assert_eq!(body["status"], 404);
}

#[tokio::test]
async fn a_missing_and_a_bad_token_have_their_codes() {
    let mut client = Client::start(quiet()).await;
    client.token = "nonsense".to_owned();
    let (status, body) = client.api("GET", "routing/queues", None).await;
    assert_eq!((status, &body["code"]), (401, &json!("bad.credentials")));
    let url = format!("{}/api/v2/routing/queues", client.sim.api_url());
    let body: Value = client.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["code"], "authentication.required");
}

#[tokio::test]
async fn the_request_after_the_budget_is_refused_with_the_seconds_to_wait() {
    let client = Client::start(Options { rate_limit: 2, ..quiet() }).await;
    for _ in 0..2 {
        assert_eq!(client.raw("GET", "routing/queues", None).await.status(), 200);
    }
    let reply = client.raw("GET", "routing/queues", None).await;
    assert_eq!(reply.status(), 429);
    let header = |name: &str| -> u64 { reply.headers()[name].to_str().unwrap().parse().unwrap() };
    assert!((1..=60).contains(&header("retry-after")));
    assert_eq!(header("inin-ratelimit-allowed"), 2);
    assert_eq!(header("inin-ratelimit-count"), 3);
}

#[tokio::test]
async fn queues_come_in_pages_and_by_name() {
    let client = Client::start(Options { queues: 30, ..quiet() }).await;
    let (_, first) = client.api("GET", "routing/queues", None).await;
    assert_eq!(first["entities"].as_array().unwrap().len(), 25);
    assert_eq!(first["pageCount"], 2);
    let (_, second) = client.api("GET", "routing/queues?pageNumber=2", None).await;
    assert_eq!(second["entities"].as_array().unwrap().len(), 5);
    let (_, named) = client.api("GET", "routing/queues?name=queue%2007", None).await;
    assert_eq!(named["entities"][0]["name"], "Queue 07");
    assert_eq!(named["total"], 1);
}

#[tokio::test]
async fn one_bad_topic_fails_the_call_unless_errors_are_ignored() {
    let client = Client::start(quiet()).await;
    let (id, _) = client.channel().await;
    let path = format!("notifications/channels/{id}/subscriptions");
    let asked = json!([{"id": client.users_topic()}, {"id": "v2.routing.queues.nope.users"}]);
    let (status, body) = client.api("PUT", &path, Some(asked.clone())).await;
    assert_eq!((status, &body["code"]), (404, &json!("not.found")));
    let (_, none) = client.api("GET", &path, None).await;
    assert_eq!(none["entities"], json!([]));

    let path_ignoring = format!("{path}?ignoreErrors=true");
    let (status, body) = client.api("PUT", &path_ignoring, Some(asked)).await;
    assert_eq!(status, 200);
    assert_eq!(body["entities"][0]["state"], "Permitted");
    assert_eq!(body["entities"][1]["state"], "Rejected");
    let (_, one) = client.api("GET", &path, None).await;
    assert_eq!(one["entities"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn put_replaces_post_adds_delete_drops() {
    let client = Client::start(quiet()).await;
    let (id, _) = client.channel().await;
    let path = format!("notifications/channels/{id}/subscriptions");
    let queue = &client.sim.queues()[0].id;
    let topic = |name: &str| json!([{"id": format!("v2.routing.queues.{queue}.{name}")}]);
    client.api("PUT", &path, Some(topic("users"))).await;
    client.api("POST", &path, Some(topic("conversations"))).await;
    let count =
        async || client.api("GET", &path, None).await.1["entities"].as_array().unwrap().len();
    assert_eq!(count().await, 2);
    client.api("PUT", &path, Some(topic("users"))).await;
    assert_eq!(count().await, 1);
    // Clients send back what they were answered, `selfUri` and all.
    let (_, answered) = client.api("GET", &path, None).await;
    client.api("PUT", &path, Some(answered["entities"].clone())).await;
    assert_eq!(count().await, 1);
    client.api("DELETE", &path, None).await;
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn the_21st_channel_evicts_the_least_recently_used_that_has_no_socket() {
    let client = Client::start(quiet()).await;
    let (first, uri) = client.channel().await;
    let _socket = client.connect(&first, &uri).await;
    let (second, _) = client.channel().await;
    for _ in 0..18 {
        client.channel().await;
    }
    let alive = async |id: &str| {
        client.raw("HEAD", &format!("notifications/channels/{id}"), None).await.status() == 200
    };
    client.channel().await;
    assert!(alive(&first).await);
    assert!(!alive(&second).await);
}
