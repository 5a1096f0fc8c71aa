//! A server in operator mode: who comes shows a JWT that an account has signed, which an operator has signed in its turn. They are made here
//! as `nsc` makes them, from keys that open nothing else.

use super::*;
use crate::harness::Stand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// When all of it was issued, in seconds.
const ISSUED: u64 = 1_700_000_000;

/// Who a key belongs to, as the first byte of its text says: O, A, U.
#[derive(Clone, Copy)]
enum Owner {
    Operator = 14 << 3,
    Account = 0,
    User = 20 << 3,
}

/// An nkey.
struct Key {
    owner: Owner,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(owner: Owner, seed: u8) -> Self {
        let seed = [seed; 32];
        Self { owner, seed, pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap() }
    }

    /// Its public half as a text.
    fn public(&self) -> String {
        text(&[&[self.owner as u8], self.pair.public_key().as_ref()].concat())
    }

    /// Its secret half as a text.
    fn secret(&self) -> String {
        let owner = self.owner as u8;
        text(&[&[18 << 3 | owner >> 5, (owner & 31) << 3], &self.seed[..]].concat())
    }

    /// A JWT about `subject` that this key has signed.
    fn signs(&self, subject: &Self, nats: &Value, expires: Option<u64>) -> String {
        let head = json!({"typ": "JWT", "alg": "ed25519-nkey"});
        let mut claims = json!({
            "jti": subject.public(), "iat": ISSUED, "iss": self.public(), "name": "ours",
            "sub": subject.public(), "nats": nats,
        });
        if let Some(expires) = expires {
            claims["exp"] = json!(expires);
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// With its checksum (CRC-16 as XMODEM has it) in base32.
fn text(bytes: &[u8]) -> String {
    let checksum = bytes.iter().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 }
        })
    });
    let whole = [bytes, &checksum.to_le_bytes()].concat();
    let bit = |at: usize| whole.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let letters = (0..(whole.len() * 8).div_ceil(5)).map(|letter| {
        let value = (0..5).fold(0, |value, place| value << 1 | bit(letter * 5 + place));
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(value)])
    });
    letters.collect()
}

/// A server that believes one operator alone, with an account that has JetStream.
struct Realm {
    _folder: TempDir,
    server: Server,
    account: Key,
}

impl Realm {
    fn start() -> Self {
        let operator = Key::new(Owner::Operator, 1);
        let (account, system) = (Key::new(Owner::Account, 2), Key::new(Owner::Account, 3));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let of_account = json!({"type": "account", "version": 2, "limits": limits});
        let of_system = json!({"type": "account", "version": 2});
        let of_operator = json!({"type": "operator", "version": 2});
        let configuration = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
            operator.signs(&operator, &of_operator, None),
            system.public(),
            account.public(),
            operator.signs(&account, &of_account, None),
            system.public(),
            operator.signs(&system, &of_system, None),
        );
        let folder = TempDir::new().unwrap();
        let server = access::server_with(&folder, &configuration);
        Self { _folder: folder, server, account }
    }
}

/// What `nsc` writes into a file for a user: the JWT, and the seed of the key that it names.
fn credentials(jwt: &str, secret: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         NKEY Seed printed below can be used to sign and prove identity.\n\n\
         -----BEGIN USER NKEY SEED-----\n{secret}\n------END USER NKEY SEED------\n\n\
         *************************************************************\n"
    )
}

/// A user whom that account lets in.
fn user_of(account: &Key, user: &Key, expires: Option<u64>) -> String {
    let claims = json!({
        "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {},
    });
    account.signs(user, &claims, expires)
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_an_account_has_signed_are_taken_and_no_others() {
    let realm = tokio::task::spawn_blocking(Realm::start).await.unwrap();
    let (user, other) = (Key::new(Owner::User, 4), Key::new(Owner::User, 5));
    let stranger = Key::new(Owner::Account, 6);
    let good = user_of(&realm.account, &user, None);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("user.creds");
    let mut config = config(&realm.server.field("url"), "S", false);
    config.creds_file = Some(file.clone());
    assert_eq!(config.mistakes(), []);
    let mut sink = config.build(SOURCE);
    let expired = user_of(&realm.account, &user, Some(ISSUED + 100));
    for (what, text, said) in [
        ("no file", None, "No such file"),
        ("an empty one", Some(String::new()), "the file is empty"),
        ("half a one", Some(good.clone()), "cannot parse"),
        ("a seed that is none", Some(credentials(&good, &user.public())), ""),
        (
            "an account that nobody knows",
            Some(credentials(&user_of(&stranger, &user, None), &user.secret())),
            "authorization violation",
        ),
        ("what is over", Some(credentials(&expired, &user.secret())), "authorization violation"),
        ("another's seed", Some(credentials(&good, &other.secret())), "authorization violation"),
    ] {
        if let Some(text) = &text {
            fs::write(&file, text).unwrap();
        }
        let error = timeout(DEADLINE, sink.open(&epoch())).await.unwrap().unwrap_err();
        assert!(matches!(error.disposition, Disposition::Retry { .. }), "{what}: {error:?}");
        let shown = format!("{error:?} {} {sink:?}", error.source.as_ref().unwrap());
        assert!(shown.to_lowercase().contains(&said.to_lowercase()), "{what}: {shown}");
        for hidden in [&user.secret(), &other.secret(), &good, &expired] {
            assert!(!shown.contains(hidden.as_str()), "{what}: {shown}");
        }
    }
    // The file is read at each opening.
    fs::write(&file, credentials(&good, &user.secret())).unwrap();
    deliver(&mut sink, &records(1..=20)).await;
    assert_eq!(sink.open(&epoch()).await.unwrap().last_position, Some(20));
}

/// The process, which says everything that it can say: it waits for credentials that are good, and shows neither these nor the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_waits_for_good_credentials_and_logs_none() {
    let realm = tokio::task::spawn_blocking(Realm::start).await.unwrap();
    let (user, stranger) = (Key::new(Owner::User, 7), Key::new(Owner::Account, 8));
    let (good, bad) = (user_of(&realm.account, &user, None), user_of(&stranger, &user, None));
    let mut stand = Stand::new(crate::harness::quiet()).await;
    let file = stand.config.path("user.creds");
    fs::write(&file, credentials(&bad, &user.secret())).unwrap();
    stand.config.set("sink.nats.url", realm.server.field("url"));
    stand.config.set("sink.nats.creds_file", file.display().to_string());
    let bridge = stand.start().await;
    bridge.line(&["sink_failed", "authorization violation"]).await;
    fs::write(&file, credentials(&good, &user.secret())).unwrap();
    bridge.ready().await;
    let log = bridge.finish(&stand).await;
    let signature = |jwt: &str| jwt.rsplit('.').next().unwrap().to_owned();
    for hidden in [user.secret(), signature(&good), signature(&bad)] {
        assert!(!log.contains(&hidden), "{log}");
    }
    let options = async_nats::ConnectOptions::with_credentials(&credentials(&good, &user.secret()));
    let client = options.unwrap().connect(realm.server.field("url")).await.unwrap();
    let stream = jetstream::new(client).get_stream("GENESYS").await.unwrap();
    assert!(stream.cached_info().state.messages > 0, "the epoch's beginning");
}
