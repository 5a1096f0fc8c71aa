//! A real Chromium, driven by its DevTools protocol: opens a page, asks it questions, takes its picture.
//!
//! Knows nothing of the page that it shows.

use crate::harness::eventually;
use crate::servers;
use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::path::Path;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// One tab.
pub struct Tab(Mutex<Wire>);

struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The last call's number.
    calls: u64,
    /// What the tab told unasked.
    events: Vec<Value>,
}

impl Tab {
    /// A tab of the browser that all tests share, as wide and high as given, in this scheme: `light` or `dark`.
    pub async fn open(url: &str, (width, height): (u32, u32), scheme: &str) -> Self {
        // Alone, as for `make pictures`, no other test has done it.
        tieline::genesys::tls::install_provider();
        let browser = servers::shared("chromium").field("url");
        let made = reqwest::Client::new().put(format!("{browser}/json/new?about:blank")).send();
        let made: Value =
            serde_json::from_slice(&made.await.unwrap().bytes().await.unwrap()).unwrap();
        let address = made["webSocketDebuggerUrl"].as_str().unwrap();
        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let tab = Self(Mutex::new(Wire { socket, calls: 0, events: Vec::new() }));
        for domain in ["Page", "Network", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab.resize(width, height).await;
        let features = json!([{"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]);
        tab.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
        tab.call("Page.navigate", json!({"url": url})).await;
        tab
    }

    /// Makes the window so large.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Calls a method of the protocol and answers its result.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let mut wire = self.0.lock().await;
        wire.calls += 1;
        let call = wire.calls;
        let text = json!({"id": call, "method": method, "params": params}).to_string();
        wire.socket.send(Message::text(text)).await.unwrap();
        let answered = async {
            loop {
                let message = wire.socket.next().await.expect("the browser hung up").unwrap();
                let Message::Text(text) = message else {
                    continue;
                };
                let said: Value = serde_json::from_str(&text).unwrap();
                if said["id"] == call {
                    assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                    return said["result"].clone();
                }
                wire.events.push(said);
            }
        };
        let answered = tokio::time::timeout(crate::harness::DEADLINE, answered).await;
        answered.unwrap_or_else(|_| panic!("the browser does not answer {method}"))
    }

    /// The value of an expression on the page.
    pub async fn value(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// What an element says.
    pub async fn text(&self, selector: &str) -> String {
        let found =
            self.value(&format!("document.querySelector('{selector}')?.innerText ?? ''")).await;
        found.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str) {
        // A page that is not there yet has none of what is looked for.
        let tried =
            format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        let look = async || (self.value(&tried).await == true).then_some(());
        eventually(&format!("on the page: {expression}"), look).await;
    }

    /// Presses a key, such as `Tab`.
    pub async fn press(&self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let stroke =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", stroke).await;
        }
    }

    /// Every address that the page has asked for.
    pub async fn requests(&self) -> Vec<String> {
        let of = |event: &Value| Some(event["params"]["request"]["url"].as_str()?.to_owned());
        self.told("Network.requestWillBeSent").await.iter().filter_map(of).collect()
    }

    /// What went wrong on the page: exceptions, refused loads, breaches of its own policy.
    pub async fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for event in self.told("Runtime.exceptionThrown").await {
            complaints.push(event["params"]["exceptionDetails"].to_string());
        }
        for event in self.told("Log.entryAdded").await {
            complaints.push(event["params"]["entry"]["text"].to_string());
        }
        complaints
    }

    async fn told(&self, method: &str) -> Vec<Value> {
        // What was told before this is answered has been read by then.
        self.value("0").await;
        let wire = self.0.lock().await;
        wire.events.iter().filter(|event| event["method"] == method).cloned().collect()
    }

    /// Takes a picture of what the window shows, or of the whole page.
    pub async fn picture(&self, path: &Path, whole: bool) {
        let shot = json!({"format": "png", "captureBeyondViewport": whole});
        let shot = self.call("Page.captureScreenshot", shot).await;
        let png = base64::prelude::BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }
}
