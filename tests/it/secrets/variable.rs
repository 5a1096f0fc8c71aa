//! A secret in an environment variable: good for as long as the process lives, and told to nobody who asks the process, its log or
//! another command.

use crate::harness::{Bridge, Config, Stand, brisk, hold_no_secret, program, quiet};
use serde_json::json;

const VARIABLE: &str = "GENESYS_CLIENT_SECRET";

/// The secret's source is a variable with this text, and there is no file.
fn in_variable(config: &mut Config, text: Option<&str>) {
    std::fs::remove_file(config.path("secret")).ok();
    config.unset("secret.file");
    config.set("secret.env.variable", VARIABLE);
    config.environment =
        text.into_iter().map(|text| (VARIABLE.to_owned(), text.to_owned())).collect();
}

/// What a command says of this configuration, on both streams.
async fn said(stand: &Stand, command: &str, args: &[&str]) -> String {
    let file = stand.config.write().display().to_string();
    let mut program = program(&[command, &file]);
    let output = program.args(args).envs(stand.config.environment.iter().cloned()).output().await;
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(0), "{command}: {text:?}");
    text.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_variable_serves_and_is_never_told() {
    let mut stand = Stand::new(brisk()).await;
    let secret = stand.sim.client_secret().to_owned();
    in_variable(&mut stand.config, Some(&secret));
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    // Neither a configuration that is read again, nor a token that was lost and is found out by a rotation, needs another source.
    bridge.signal("HUP").await;
    bridge.line(&["\"config_read\"", "SIGHUP"]).await;
    stand.control("rotate", json!({"secret": secret, "kill_tokens": true})).await;
    bridge.signal("USR1").await;
    bridge.lines(&["\"event\":\"token_granted\""], 2).await;
    bridge.line(&["\"event\":\"rotation_finished\""]).await;
    stand.emits(30).await;
    let (_, page) = bridge.read("/").await;
    let (verdict, log) = stand.balance_and_log(bridge, since).await;
    verdict.assert_seamless();
    let mut told = format!("{page}\n{log}");
    for (command, args) in [
        ("check", &["--online"][..]),
        ("check", &["--online", "--output", "json"]),
        ("explain", &[]),
    ] {
        told.push_str(&said(&stand, command, args).await);
    }
    assert!(told.contains(VARIABLE), "where the secret comes from is no secret");
    hold_no_secret(&told, &stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_may_name_the_client_as_a_file_may() {
    let mut stand = Stand::new(quiet()).await;
    let both =
        json!({"client_id": stand.sim.client_id(), "client_secret": stand.sim.client_secret()});
    in_variable(&mut stand.config, Some(&both.to_string()));
    stand.config.set("genesys.client_id", "another-client-which-genesys-does-not-know");
    let bridge = stand.ready().await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_holds_no_good_secret_is_waited_for_in_words_that_do_not_quote_it() {
    let mut stand = Stand::new(quiet()).await;
    for (text, words) in [
        (None, "is not set"),
        (Some(""), "is empty"),
        (Some("{\"client_secret\": \"hunter2"), "is not JSON with a client_secret"),
        (Some("hunter2"), "401 invalid_client"),
    ] {
        stand.config = Config::new(stand.sim.api_url(), stand.sim.client_id());
        in_variable(&mut stand.config, text);
        let bridge: Bridge = stand.start().await;
        bridge.unready(&["not subscribed yet", words]).await;
        assert_eq!(bridge.get("/healthz").await, (200, json!({"alive": true})));
        let log = bridge.finish(&stand).await;
        assert!(!log.contains("hunter2"), "{log}");
    }
}
