//! Login, channels, subscriptions, queues and errors, without a socket.

use serde_json::{Value, json};
use tieline_sim::Options;

use crate::harness::{Client, eventually, quiet};

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
    assert_eq!((status, &body["code"]), (404, &json!("entity.not.found")));
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

#[tokio::test]
async fn a_regenerated_secret_is_answered_and_the_old_one_is_wrong_at_once() {
    let client = Client::start(quiet()).await;
    let path = format!("oauth/clients/{}", client.sim.client_id());
    let (status, shown) = client.api("GET", &path, None).await;
    assert_eq!((status, &shown["secret"]), (200, &Value::Null));
    let (status, made) = client.api("POST", &format!("{path}/secret"), None).await;
    assert_eq!(status, 200);
    let id = client.sim.client_id();
    assert_eq!(client.ask_token(id, client.sim.client_secret()).await.0, 401);
    assert_eq!(client.ask_token(id, made["secret"].as_str().unwrap()).await.0, 200);
    assert_eq!(client.sim.journal().faults[0].kind, "rotate");
}

#[tokio::test]
async fn a_token_can_be_asked_about_and_ended() {
    let client = Client::start(quiet()).await;
    assert_eq!(client.raw("HEAD", "tokens/me", None).await.status(), 200);
    assert_eq!(client.raw("DELETE", "tokens/me", None).await.status(), 200);
    assert_eq!(client.raw("HEAD", "tokens/me", None).await.status(), 401);
}

#[tokio::test]
async fn a_channel_is_made_of_any_body_and_is_listed_for_its_token() {
    let mut client = Client::start(quiet()).await;
    for body in [None, Some(Value::Null), Some(json!({}))] {
        assert_eq!(client.raw("POST", "notifications/channels", body).await.status(), 200);
    }
    let url = format!("{}/api/v2/notifications/channels", client.sim.api_url());
    let empty = client.http.post(url).bearer_auth(&client.token);
    let empty = empty.header("content-type", "application/json").header("content-length", "0");
    assert_eq!(empty.send().await.unwrap().status(), 200);
    let list = async |client: &Client, query: &str| {
        let path = format!("notifications/channels{query}");
        client.api("GET", &path, None).await.1["entities"].as_array().unwrap().clone()
    };
    assert_eq!(list(&client, "").await.len(), 4);
    client.token = client.log_in().await;
    assert_eq!(list(&client, "").await.len(), 0);
    let others = list(&client, "?includechannels=oauthclient").await;
    assert_eq!(others.len(), 4);
    assert!(others.iter().all(|channel| channel["id"].is_null()));
}

#[tokio::test]
async fn a_channel_takes_1000_topics_and_each_200_characters() {
    let client = Client::start(Options { queues: 501, ..quiet() }).await;
    let (id, _) = client.channel().await;
    let path = format!("notifications/channels/{id}/subscriptions");
    let topics = |count: usize| -> Value {
        let names = ["users", "conversations"];
        let all = client.sim.queues().iter().flat_map(|queue| {
            names.map(|name| json!({"id": format!("v2.routing.queues.{}.{name}", queue.id)}))
        });
        all.take(count).collect()
    };
    assert_eq!(client.api("PUT", &path, Some(topics(1000))).await.0, 200);
    let (status, body) = client.api("PUT", &path, Some(topics(1001))).await;
    let code = "notification.subscription.too.many.subscriptions";
    assert_eq!((status, &body["code"]), (400, &json!(code)));
    let long = json!([{"id": format!("v2.users.{}", "x".repeat(200))}]);
    let (status, body) = client.api("PUT", &path, Some(long)).await;
    assert_eq!((status, &body["code"]), (400, &json!("notification.invalid.topic")));
}

#[tokio::test]
async fn a_forbidden_topic_names_the_permission_that_is_missing() {
    let client = Client::start(quiet()).await;
    let (id, _) = client.channel().await;
    client.control("forbid", json!({"topics": [".users"]})).await;
    let path = format!("notifications/channels/{id}/subscriptions");
    let asked = json!([{"id": client.users_topic()}]);
    let (status, body) = client.api("PUT", &path, Some(asked.clone())).await;
    assert_eq!((status, &body["code"]), (403, &json!("notification.unauthorized.topic")));
    let path = format!("{path}?ignoreErrors=true");
    let (_, body) = client.api("PUT", &path, Some(asked.clone())).await;
    assert_eq!(body["entities"][0]["missingPermissions"], json!(["routing:queue:view"]));
    client.control("allow", json!({})).await;
    assert_eq!(client.api("PUT", &path, Some(asked)).await.1["entities"][0]["state"], "Permitted");
}

#[tokio::test]
async fn queries_agree_with_what_has_been_emitted() {
    let client = Client::start(Options { queues: 1, rate: 400.0, ..Options::default() }).await;
    eventually(|| (client.sim.journal().emissions.len() > 400).then_some(())).await;
    client.control("traffic", json!({"state": "pause"})).await;
    let journal = client.sim.journal();
    let queue = &client.sim.queues()[0].id;
    let mut joined = std::collections::BTreeMap::new();
    let mut stages = std::collections::BTreeMap::new();
    for emission in &journal.emissions {
        let body: Value = serde_json::from_str(emission.body.get()).unwrap();
        if emission.topic.ends_with(".users") {
            joined.insert(body["id"].as_str().unwrap().to_owned(), body["joined"].clone());
        } else if emission.topic.ends_with(".conversations") {
            stages.insert(body["id"].as_str().unwrap().to_owned(), body);
        }
    }
    let path = format!("routing/queues/{queue}/members?pageSize=100");
    let (_, members) = client.api("GET", &path, None).await;
    for member in members["entities"].as_array().unwrap() {
        if let Some(joined) = joined.get(member["id"].as_str().unwrap()) {
            assert_eq!(&member["joined"], joined);
        }
    }
    let now = &journal.emissions[0].time;
    let asked = json!({"interval": format!("{now}/{now}"), "paging": {"pageSize": 100}});
    let (_, found) = client.api("POST", "analytics/conversations/details/query", Some(asked)).await;
    assert_eq!(found["totalHits"], stages.len());
    let interacting = stages
        .values()
        .filter(|body| {
            let agent = &body["participants"][2];
            let media = ["calls", "callbacks", "chats", "emails", "messages"];
            media.iter().any(|media| agent[media][0]["state"] == "connected")
        })
        .count();
    let asked = json!({"filter": {"predicates": []}, "metrics": ["oInteracting"]});
    let (_, observed) =
        client.api("POST", "analytics/queues/observations/query", Some(asked)).await;
    let counted: u64 = observed["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["data"][0]["stats"]["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, interacting as u64);
}
