//! A client of the simulator that knows the API by heart, and waits that have a deadline.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tieline_sim::{Options, Sim};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Client {
    pub sim: Sim,
    pub http: reqwest::Client,
    pub token: String,
}

pub struct Socket {
    pub channel: String,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// No traffic of its own, so that a test hears only what it asks for.
pub fn quiet() -> Options {
    Options { rate: 0.0, ..Options::default() }
}

impl Client {
    /// A simulator and a client that is logged in.
    pub async fn start(options: Options) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let sim = Sim::start(options).await.unwrap();
        let http = reqwest::Client::new();
        let mut client = Self { sim, http, token: String::new() };
        client.token = client.log_in().await;
        client
    }

    pub async fn log_in(&self) -> String {
        let reply = self.ask_token(self.sim.client_id(), self.sim.client_secret()).await;
        assert_eq!(reply.0, 200, "{}", reply.1);
        reply.1["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn ask_token(&self, id: &str, secret: &str) -> (u16, Value) {
        let url = format!("{}/oauth/token", self.sim.login_url());
        let form = [("grant_type", "client_credentials")];
        let request = self.http.post(url).basic_auth(id, Some(secret)).form(&form);
        read(request.send().await.unwrap()).await
    }

    pub async fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        read(self.raw(method, path, body).await).await
    }

    pub async fn raw(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::Response {
        let url = format!("{}/api/v2/{path}", self.sim.api_url());
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    /// A control call that must succeed.
    pub async fn control(&self, name: &str, body: Value) -> Value {
        let url = format!("{}/sim/{name}", self.sim.control_url());
        let (status, reply) = read(self.http.post(url).json(&body).send().await.unwrap()).await;
        assert_eq!(status, 200, "{name}: {reply}");
        reply
    }

    /// A new channel: its id and its address.
    pub async fn channel(&self) -> (String, String) {
        let (status, reply) = self.api("POST", "notifications/channels", Some(Value::Null)).await;
        assert_eq!(status, 200, "{reply}");
        let text = |field: &str| reply[field].as_str().unwrap().to_owned();
        (text("id"), text("connectUri"))
    }

    /// Makes these topics the channel's only ones.
    pub async fn subscribe(&self, channel: &str, topics: &[String]) {
        let path = format!("notifications/channels/{channel}/subscriptions");
        let body: Vec<Value> = topics.iter().map(|topic| json!({"id": topic})).collect();
        let (status, reply) = self.api("PUT", &path, Some(body.into())).await;
        assert_eq!(status, 200, "{reply}");
    }

    pub async fn connect(&self, channel: &str, uri: &str) -> Socket {
        let (stream, _) = tokio_tungstenite::connect_async(uri).await.unwrap();
        Socket { channel: channel.to_owned(), stream }
    }

    /// A socket on a new channel with these topics.
    pub async fn listen(&self, topics: &[String]) -> Socket {
        let (channel, uri) = self.channel().await;
        self.subscribe(&channel, topics).await;
        self.connect(&channel, &uri).await
    }

    /// The topic of the first queue's members: the simplest one.
    pub fn users_topic(&self) -> String {
        format!("v2.routing.queues.{}.users", self.sim.queues()[0].id)
    }

    pub async fn emit(&self, topic: &str, body: Value) -> u64 {
        let reply = self.control("emit", json!({"topic": topic, "body": body})).await;
        reply["number"].as_u64().unwrap()
    }
}

impl Socket {
    /// The next frame as JSON.
    pub async fn hear(&mut self) -> Value {
        match self.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("not a text frame: {other:?}"),
        }
    }

    /// Whatever comes next.
    pub async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("nothing came in time")
    }

    pub async fn send(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    pub async fn say(&mut self, body: Value) {
        self.stream.send(Message::text(body.to_string())).await.unwrap();
    }

    /// Bytes that are no frame: a reserved opcode.
    pub async fn break_off(&mut self) {
        use tokio::io::AsyncWriteExt as _;
        self.stream.get_mut().write_all(b"\x8f\x80\x00\x00\x00\x00").await.unwrap();
    }

    pub async fn ping(&mut self) {
        self.say(json!({"message": "ping"})).await;
        assert_eq!(self.hear().await["eventBody"]["message"], "pong");
    }
}

/// Waits until `ready` answers something.
pub async fn eventually<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let found = async {
        loop {
            tick.tick().await;
            if let Some(found) = ready() {
                return found;
            }
        }
    };
    tokio::time::timeout(DEADLINE, found).await.expect("it did not become so in time")
}

async fn read(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}
