//! Who comes: passwords, tokens, keys and certificates, and what a server does not permit.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_password_are_honoured_and_never_shown() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(file("cert.pem"), cert.pem()).unwrap();
    fs::write(file("key.pem"), signing_key.serialize_pem()).unwrap();
    let tls =
        format!("tls {{ cert_file: {:?}, key_file: {:?} }}", file("cert.pem"), file("key.pem"));
    let server = server_with(&folder, &format!("{tls}\n{}", user("")));
    let url = |password: &str| {
        let port = server.field("port");
        format!("tls://us%40er:{password}@localhost:{port}")
    };

    let mut config = config(&url("hu%3Ash"), "S", false);
    config.ca_file = Some(file("cert.pem"));
    deliver(&mut config.clone().build(SOURCE), &records(1..=5)).await;
    let mut sink = config.clone().build(SOURCE);
    assert_eq!(sink.open(&epoch()).await.unwrap().last_position, Some(5));

    config.url = url("wrong%3Asecret");
    let error = config.clone().build(SOURCE).open(&epoch()).await.unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    let shown = format!("{error:?} {config:?} {sink:?}");
    assert!(shown.to_lowercase().contains("authorizationviolation"), "{shown}");
    assert!(!shown.contains("hu:sh") && !shown.contains("wrong"), "{shown}");

    config.ca_file = None;
    let error = config.build(SOURCE).open(&epoch()).await.unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.contains("UnknownIssuer") || shown.contains("certificate"), "{shown}");
}

/// Whatever may not be asked or published is named, by a server that otherwise just does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named() {
    let denied = [
        ("S1", "$JS.API.STREAM.INFO.S1", "look up stream S1 at nats://127.0.0.1"),
        ("S2", "$JS.API.STREAM.CREATE.S2", "create stream S2 at nats://127.0.0.1"),
        ("S3", "$JS.API.STREAM.MSG.GET.S3", "read the last message of stream S3"),
        ("S4", "S4.v2.users.presence.>", "publish to stream S4 at nats://127.0.0.1"),
    ];
    let user = |name: &str, denied: &str| {
        format!(
            "{{ user: {name}, password: p, permissions: {{ publish: {{ deny: {denied:?} }} }} }}"
        )
    };
    let users: Vec<String> = denied.iter().map(|(name, denied, _)| user(name, denied)).collect();
    let folder = TempDir::new().unwrap();
    let text =
        format!("authorization {{ users: [ {}, {} ] }}", user("all", "none"), users.join(", "));
    let server = server_with(&folder, &text);
    let sink = |user: &str, stream: &str| {
        let url = format!("nats://{user}:p@127.0.0.1:{}", server.field("port"));
        config(&url, stream, false).build(SOURCE)
    };
    for (name, denied, operation) in denied {
        if name == "S3" {
            deliver(&mut sink("all", name), &records(1..=2)).await;
        }
        let mut sink = sink(name, name);
        let refused = async {
            sink.open(&epoch()).await?;
            sink.submit(&records(1..=1)).await?;
            sink.settle(&mut Vec::new()).await
        };
        let error = timeout(DEADLINE, refused).await.unwrap().unwrap_err();
        assert!(matches!(error.disposition, Disposition::Retry { .. }), "{name}: {error:?}");
        assert!(error.operation.starts_with(operation), "{name}: {error:?}");
        let reason = error.source.unwrap().to_string().to_lowercase();
        assert!(reason.contains("permissions violation"), "{name}: {reason}");
        let subject = denied.trim_end_matches('>').to_lowercase();
        assert!(reason.contains(&subject), "{name}: {reason}");
    }
}

/// An nkey pair that was made for this test and opens nothing else.
const NKEY: (&str, &str) = (
    "UBQN55YZ6LSGTUHBU6NK65332FPZVPF22NWBZ6ARH55VC3G5II4I7E3W",
    "SUAKEC7GL3222P2YBN6K2RRDANUBFYZUKFLWBAUXFGAZZAUN3C5QZ2BLE4",
);

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_say_who_comes_is_taken_from_its_file_and_never_shown() {
    let ways = [
        ("authorization { token: \"a-token-of-ours\" }".to_owned(), "token", "a-token-of-ours"),
        (user(""), "password", "hu:sh"),
        (format!("authorization {{ users: [ {{ nkey: {} }} ] }}", NKEY.0), "nkey", NKEY.1),
    ];
    for (text, way, secret) in ways {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("secret");
        let server = server_with(&folder, &text);
        let mut config = config(&server.field("url"), "S", false);
        match way {
            "token" => config.token_file = Some(file.clone()),
            "nkey" => config.nkey_file = Some(file.clone()),
            _ => (config.user, config.password_file) = (Some("us@er".into()), Some(file.clone())),
        }
        assert_eq!(config.mistakes(), []);
        let mut sink = config.clone().build(SOURCE);
        let error = sink.open(&epoch()).await.unwrap_err();
        assert!(error.operation.contains(&file.display().to_string()), "{way}: {error:?}");
        // Whoever writes the file late is waited for.
        fs::write(&file, format!("{secret}\n")).unwrap();
        deliver(&mut sink, &records(1..=5)).await;
        let shown = format!("{config:?} {sink:?}");
        assert!(!shown.contains(secret), "{way}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["server", "client"] {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(file(&format!("{name}.pem")), made.cert.pem()).unwrap();
        fs::write(file(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("server.pem"),
        file("server.key"),
        file("client.pem"),
    );
    let server = server_with(&folder, &tls);
    let mut config = config(&format!("tls://localhost:{}", server.field("port")), "S", false);
    config.ca_file = Some(file("server.pem"));
    let error = config.clone().build(SOURCE).open(&epoch()).await.unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    (config.cert_file, config.key_file) = (Some(file("client.pem")), Some(file("client.key")));
    deliver(&mut config.build(SOURCE), &records(1..=5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn domain_and_inbox_are_the_operators() {
    let folder = TempDir::new().unwrap();
    let allowed = "permissions: { subscribe: { allow: \"_INBOX_tieline.>\" } }";
    let text = format!("jetstream {{ domain: hub }}\n{}", user(allowed));
    let server = server_with(&folder, &text);
    let url = format!("nats://us%40er:hu%3Ash@127.0.0.1:{}", server.field("port"));
    let mut config = config(&url, "S", false);
    let error = timeout(DEADLINE, config.clone().build(SOURCE).open(&epoch())).await.unwrap();
    let reason = error.unwrap_err().source.unwrap().to_string().to_lowercase();
    assert!(reason.contains("permissions violation"), "{reason}");
    config.inbox_prefix = Some("_INBOX_tieline".into());
    config.domain = Some("hub".into());
    deliver(&mut config.clone().build(SOURCE), &records(1..=5)).await;
    config.domain = Some("elsewhere".into());
    let error = config.build(SOURCE).open(&epoch()).await.unwrap_err();
    assert!(error.operation.starts_with("look up stream S"), "{error:?}");
}

/// A server that reads `text` as well.
pub(super) fn server_with(folder: &TempDir, text: &str) -> Server {
    let file = folder.path().join("nats.conf");
    fs::write(&file, text).unwrap();
    Server::start("nats", &["--config", file.to_str().unwrap()])
}

/// The one user of a server.
fn user(permissions: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: \"us@er\", password: \"hu:sh\", {permissions} }} ] }}"
    )
}
