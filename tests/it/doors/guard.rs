//! Who is let in: names, origins, tokens and certificates, and keys that cannot be used.

use super::*;

#[tokio::test]
async fn another_name_than_this_machines_is_refused_on_loopback() {
    let config = Config { hosts: vec!["tieline.example.com".into()], ..loopback(0) };
    let bridge = Bridge::with(config).await;
    let code = async |path: &str, host: &str| {
        bridge.send("GET", path, &format!("Host: {host}\r\n")).await.code
    };
    for path in ["/", "/api/v1/state", "/metrics", "/api/v1/events", "/page.js"] {
        assert_eq!(code(path, "rebound.example").await, 421, "{path}");
    }
    for host in ["localhost:9464", "127.0.0.1", "[::1]:1", "TIELINE.example.com:9464"] {
        assert_eq!(code("/api/v1/state", host).await, 200, "{host}");
    }
    let absolute = "http://rebound.example/api/v1/state";
    assert_eq!(code(absolute, "localhost").await, 421, "a proxy's form of the request");
    let probe = bridge.send("GET", "/readyz", "Host: rebound.example\r\n").await;
    assert_eq!((probe.code, probe.body.as_str()), (200, r#"{"ready":true}"#));
}

#[tokio::test]
async fn without_a_token_another_name_is_refused_in_the_network_too_and_an_address_is_not() {
    let config = Config {
        listen: "0.0.0.0:0".parse().unwrap(),
        hosts: vec!["tieline".into()],
        allow_insecure: true,
        ..loopback(0)
    };
    for hosts in [config.hosts.clone(), Vec::new()] {
        let is_listed = !hosts.is_empty();
        let bridge = Bridge::with(Config { hosts, ..config.clone() }).await;
        let code = async |path: &str, host: &str| {
            bridge.send("GET", path, &format!("Host: {host}\r\n")).await.code
        };
        for path in ["/", "/api/v1/state", "/api/v1/tap", "/metrics"] {
            assert_eq!(code(path, "rebound.example:9464").await, 421, "{path}");
        }
        // As Prometheus asks a pod, and as it asks a service of compose.
        for address in ["10.42.0.7:9464", "[fd00::7]:9464", "127.0.0.1:9464"] {
            assert_eq!(code("/metrics", address).await, 200, "{address}");
        }
        let named = code("/metrics", "tieline:9464").await;
        assert_eq!(named, if is_listed { 200 } else { 421 });
        let probe = bridge.send("GET", "/readyz", "Host: rebound.example\r\n").await;
        assert_eq!((probe.code, probe.body.as_str()), (200, r#"{"ready":true}"#));
    }
}

#[tokio::test]
async fn another_sites_page_reads_nothing() {
    let bridge = Bridge::start().await;
    let code = async |path: &str, lines: &str| {
        bridge.send("GET", path, &format!("Host: localhost:9464\r\n{lines}")).await.code
    };
    for path in ["/api/v1/events", "/api/v1/tap", "/api/v1/state", "/metrics"] {
        assert_eq!(code(path, "Origin: https://evil.example\r\n").await, 403, "{path}");
        assert_eq!(code(path, "Sec-Fetch-Site: cross-site\r\n").await, 403, "{path}");
    }
    let own = "Origin: http://localhost:9464\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(code("/api/v1/state", own).await, 200);
}

#[tokio::test]
async fn data_is_shown_for_the_token_alone_and_probes_without_it() {
    let guarded = Guarded::start(false).await;
    let bridge = &guarded.bridge;
    let ask = async |path: &str, lines: &str| {
        bridge.send("GET", path, &format!("Host: localhost\r\n{lines}")).await
    };
    for path in [
        "/api/v1/state",
        "/api/v1/gaps",
        "/api/v1/history",
        "/api/v1/events",
        "/api/v1/tap",
        "/metrics",
        "/nowhere",
    ] {
        let answer = ask(path, "").await;
        assert_eq!(answer.code, 401, "{path}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
        for wrong in
            ["Bearer 0123456789abcdeX", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"]
        {
            assert_eq!(
                ask(path, &format!("Authorization: {wrong}\r\n")).await.code,
                401,
                "{wrong}"
            );
        }
    }
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask("/api/v1/state", &right).await.code, 200);
    for open in ["/healthz", "/readyz", "/", "/page.js"] {
        assert_eq!(ask(open, "").await.code, 200, "{open}");
    }
    // Reasons name brokers and addresses.
    bridge.change(|status| status.sinks[0].connected = false);
    let stranger = ask("/readyz", "").await;
    assert_eq!((stranger.code, stranger.body.as_str()), (503, r#"{"ready":false}"#));
    assert!(ask("/readyz", &right).await.body.contains("sink kafka is not connected"));
}

#[tokio::test]
async fn over_tls_the_same_is_shown_and_nothing_without_it() {
    let guarded = Guarded::start(true).await;
    let pem = std::fs::read(guarded.folder.path().join("cert.pem")).unwrap();
    let own = [reqwest::Certificate::from_pem(&pem).unwrap()];
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(own).build().unwrap();
    let url = format!("https://localhost:{}/api/v1/state", guarded.bridge.address.port());
    let answer = client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let plain = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let plain = plain.get(format!("http://{}/healthz", guarded.bridge.address)).send().await;
    assert!(plain.is_err(), "{plain:?}");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("short"), "secret").unwrap();
    std::fs::write(at("nonsense.pem"), "nonsense").unwrap();
    for (config, words) in [
        (Config { token_file: Some(at("none")), ..loopback(0) }, "admin.token_file"),
        (Config { token_file: Some(at("short")), ..loopback(0) }, "admin.token_file"),
        (
            Config {
                tls_cert: Some(at("nonsense.pem")),
                tls_key: Some(at("nonsense.pem")),
                ..loopback(0)
            },
            "admin.tls",
        ),
    ] {
        let error = anyhow::Error::from(admin::open(&config).await.unwrap_err());
        let told = format!("{error:#}");
        assert!(
            told.contains(words) && told.contains(&folder.path().display().to_string()),
            "{told}"
        );
    }
}
