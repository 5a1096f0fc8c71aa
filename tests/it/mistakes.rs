//! Every kind of configuration mistake and its message: the message is a user interface, so it is read here as it is printed.
//!
//! What a part says of its own values is tested beside the part; here only that it arrives with key, value and source.

use insta::assert_snapshot;
use std::path::Path;
use tieline::config::Config;

/// A file to which each test adds its mistake.
pub const RIGHT: &str = r#"[genesys]
region = "mypurecloud.ie"
client_id = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d"
queues = ["Support"]
[secret.env]
variable = "GENESYS_CLIENT_SECRET"
"#;

/// What is said about `RIGHT` and then `more`, below `variables`.
fn said(more: &str, variables: &[(&str, &str)]) -> String {
    said_of(&format!("{RIGHT}{more}"), variables)
}

fn said_of(text: &str, variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, variables).replace(&format!("{}/", directory.path().display()), "")
}

fn load(path: &Path, variables: &[(&str, &str)]) -> String {
    match Config::load(Some(path), owned(variables)) {
        Ok(_) => "no mistake".into(),
        Err(mistakes) => mistakes.to_string(),
    }
}

fn owned(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn the_right_file_has_no_mistake() {
    assert_snapshot!(said("", &[]), @r#"no mistake"#);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_snapshot!(said("[log]\nlevle = \"debug\"", &[]), @r#"
    the configuration has 1 mistake

      1. log.levle = "debug"   (bad.toml, line 8)
         is no key that tieline knows
         fix: did you mean log.level? If not, remove it
    "#);
}

#[test]
fn a_known_key_in_the_wrong_table_is_shown_its_place() {
    assert_snapshot!(said("[process]\nlisten = \"127.0.0.1:1\"", &[]), @r#"
    the configuration has 1 mistake

      1. process.listen   (bad.toml, line 8)
         is no key that tieline knows
         fix: did you mean admin.listen? If not, remove it
    "#);
}

#[test]
fn an_unknown_key_like_no_other_is_told_what_there_is() {
    assert_snapshot!(said("[journal]\ncolour = \"blue\"", &[]), @r#"
    the configuration has 1 mistake

      1. journal.colour   (bad.toml, line 8)
         is no key that tieline knows
         fix: remove it; the keys here are max_bytes, sync, sync_bytes, segment_bytes, keys_max
    "#);
}

#[test]
fn an_unknown_table_is_refused_with_the_nearest() {
    assert_snapshot!(said("[lifecycel]\nsettle = \"2s\"", &[]), @r#"
    the configuration has 1 mistake

      1. lifecycel   (bad.toml, line 7)
         is no key that tieline knows
         fix: did you mean lifecycle? If not, remove it
    "#);
}

#[test]
fn an_unknown_sink_is_refused_with_the_nearest() {
    assert_snapshot!(said("[sink.json]\npath = \"-\"", &[]), @r#"
    the configuration has 1 mistake

      1. sink.json   (bad.toml, line 7)
         is no key that tieline knows
         fix: did you mean sink.jsonl? If not, remove it
    "#);
}

#[test]
fn a_wrong_type_says_both_types() {
    assert_snapshot!(said("[arbitration]\nwindow_events = \"many\"", &[]), @r#"
    the configuration has 1 mistake

      1. arbitration.window_events = "many"   (bad.toml, line 8)
         is a string, not a whole number
         fix: write it like window_events = 200000
    "#);
}

#[test]
fn a_negative_number_is_refused() {
    assert_snapshot!(said("[arbitration]\nwindow_events = -1", &[]), @r#"
    the configuration has 1 mistake

      1. arbitration.window_events = -1   (bad.toml, line 8)
         is out of range
         fix: write it like window_events = 200000
    "#);
}

#[test]
fn a_scalar_where_a_table_belongs_is_refused() {
    assert_snapshot!(said("[sink]\njsonl = \"events.jsonl\"", &[]), @r#"
    the configuration has 1 mistake

      1. sink.jsonl   (bad.toml, line 8)
         is a string, not a table
         fix: write a table [sink.jsonl] with its keys below it
    "#);
}

#[test]
fn a_wrong_item_of_a_list_is_shown_with_its_list() {
    let text = RIGHT.replace(r#"["Support"]"#, r#"["Support", 7]"#);
    assert_snapshot!(said_of(&text, &[]), @r#"
    the configuration has 1 mistake

      1. genesys.queues = ["Support", 7]   (bad.toml, line 4)
         is a number, not a string
         fix: write every item of the list as text in quotes
    "#);
}

#[test]
fn a_bad_duration_is_shown_a_good_one() {
    assert_snapshot!(said("[lifecycle]\nsettle = \"soon\"", &[]), @r#"
    the configuration has 1 mistake

      1. lifecycle.settle = "soon"   (bad.toml, line 8)
         is not a duration
         fix: write it like settle = "2s"
    "#);
}

#[test]
fn a_bare_number_is_no_duration() {
    assert_snapshot!(said("[lifecycle]\nsettle = 2", &[]), @r#"
    the configuration has 1 mistake

      1. lifecycle.settle = 2   (bad.toml, line 8)
         is a number, not a duration
         fix: write it like settle = "2s"
    "#);
}

#[test]
fn a_bad_size_is_shown_a_good_one() {
    assert_snapshot!(said("[journal]\nmax_bytes = \"256 megs\"", &[]), @r#"
    the configuration has 1 mistake

      1. journal.max_bytes = "256 megs"   (bad.toml, line 8)
         is not a size such as "64MiB"
         fix: write it like max_bytes = "256MiB"
    "#);
}

#[test]
fn a_bad_address_is_shown_a_good_one() {
    assert_snapshot!(said("[admin]\nlisten = \"localhost:9464\"", &[]), @r#"
    the configuration has 1 mistake

      1. admin.listen = "localhost:9464"   (bad.toml, line 8)
         is not an IP address with a port
         fix: write it like listen = "127.0.0.1:9464"
    "#);
}

#[test]
fn a_word_that_is_none_of_a_few_is_shown_them() {
    assert_snapshot!(said("[log]\nformat = \"pretty\"", &[]), @r#"
    the configuration has 1 mistake

      1. log.format = "pretty"   (bad.toml, line 8)
         is no word that this key takes
         fix: write one of "auto", "human", "json"
    "#);
}

#[test]
fn a_part_s_own_mistake_has_its_full_path_value_and_line() {
    assert_snapshot!(said("[lifecycle]\ndead_after = \"10s\"", &[]), @r#"
    the configuration has 1 mistake

      1. lifecycle.dead_after = "10s"   (bad.toml, line 8)
         is not longer than ping_interval, so that a healthy peer would be dropped
         fix: allow at least two probes: a little more than twice ping_interval
    "#);
}

#[test]
fn a_hold_that_outlasts_the_overlap_is_a_mistake() {
    assert_snapshot!(said("[arbitration]\nhold = \"4s\"", &[]), @r#"
    the configuration has 1 mistake

      1. arbitration.hold = "4s"   (bad.toml, line 8)
         is not shorter than lifecycle.settle and lifecycle.drain together, so that a rotation could double events
         fix: keep the overlap of two sessions longer than the hold, such as 2s + 2s and 1s
    "#);
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let variables = [
        ("TIELINE_ARBITRATION__WINDOW_EVENTS", "many"),
        ("TIELINE_LOG__LEVLE", "debug"),
        ("TIELINE_", "x"),
    ];
    assert_snapshot!(said("", &variables), @r#"
    the configuration has 3 mistakes

      1. environment variable TIELINE_
         names no key
         fix: write TIELINE_SECTION__KEY, such as TIELINE_SINK__KAFKA__BROKERS

      2. arbitration.window_events = "many"   (environment variable TIELINE_ARBITRATION__WINDOW_EVENTS)
         is not a whole number
         fix: write it like window_events = 200000

      3. log.levle = "debug"   (environment variable TIELINE_LOG__LEVLE)
         is no key that tieline knows
         fix: did you mean log.level? If not, remove it
    "#);
}

#[test]
fn what_kubernetes_says_of_a_service_called_tieline_is_no_mistake() {
    let variables = [
        ("TIELINE_PORT", "tcp://10.0.0.1:9464"),
        ("TIELINE_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("TIELINE_SERVICE_HOST", "10.0.0.1"),
        ("TIELINE_SERVICE_PORT_METRICS", "9464"),
        ("PATH", "/bin"),
    ];
    assert_eq!(said("", &variables), "no mistake");
}

#[test]
fn errors_of_syntax_are_told_with_line_and_column_and_the_rest_is_still_read() {
    let text = format!("{RIGHT}[log]\nlevel = debug\n[admin]\nlisten = \"here\"\n[process\n");
    assert_snapshot!(said_of(&text, &[]), @r#"
    the configuration has 3 mistakes

      1. bad.toml, line 8
         is not TOML at column 9: string values must be quoted, expected literal string
         fix: correct this line; text stands in quotes: key = "value"

      2. admin.listen = "here"   (bad.toml, line 10)
         is not an IP address with a port
         fix: write it like listen = "127.0.0.1:9464"

      3. bad.toml, line 11
         is not TOML at column 9: unclosed table, expected `]`
         fix: correct this line; text stands in quotes: key = "value"
    "#);
}

#[test]
fn an_error_of_syntax_does_not_quote_the_line() {
    let said = said_of("[secret]\nclient_secret = hunter2 hunter2\n", &[]);
    assert!(said.contains("line 2"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_key_that_is_given_twice_is_refused() {
    assert_snapshot!(said("[log]\nlevel = \"info\"\nlevel = \"debug\"", &[]), @r#"
    the configuration has 1 mistake

      1. bad.toml, line 9
         is not TOML at column 1: duplicate key
         fix: keep one of the two
    "#);
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    assert_snapshot!(load(Path::new("no/such.toml"), &[]), @r#"
    the configuration has 1 mistake

      1. no/such.toml
         does not exist
         fix: name an existing file; config/kafka.toml is one to start from
    "#);
}

#[test]
fn a_directory_is_no_file() {
    assert_snapshot!(load(Path::new("config"), &[]), @r#"
    the configuration has 1 mistake

      1. config
         cannot be read: Is a directory (os error 21)
         fix: name a file that this user may read
    "#);
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    std::fs::write(&path, [0xFF, 0xFE, 0]).unwrap();
    let said = load(&path, &[]);
    assert!(said.contains("is not UTF-8 text"), "{said}");
}

#[cfg(feature = "kafka")]
#[test]
fn a_missing_key_is_shown_an_example() {
    assert_snapshot!(said("[sink.kafka]\ntopic = \"calls\"", &[]), @r#"
    the configuration has 1 mistake

      1. sink.kafka.brokers   (bad.toml, line 7)
         is missing and has no default
         fix: add it, such as brokers = "localhost:9092"
    "#);
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_sink_that_this_build_lacks_is_refused_with_its_feature() {
    assert_snapshot!(said("[sink.kafka]\nbrokers = \"localhost:9092\"", &[]), @r#"
    the configuration has 1 mistake

      1. sink.kafka   (bad.toml, line 7)
         is a sink that this build of tieline does not have
         fix: build with --features kafka, or name another sink
    "#);
}

#[test]
fn a_secret_in_the_wrong_place_is_refused_and_not_shown() {
    let text = RIGHT.replace("region", "client_secret = \"hunter2\"\nregion");
    let said = said_of(&text, &[("TIELINE_SECRET", "hunter2")]);
    assert!(!said.contains("hunter2"), "{said}");
    assert_snapshot!(said, @r#"
    the configuration has 2 mistakes

      1. genesys.client_secret   (bad.toml, line 2)
         is no key that tieline knows
         fix: a secret never stands here: remove it, and name its source in [secret.file], [secret.env] or [secret.vault]

      2. secret   (environment variable TIELINE_SECRET)
         is not a table
         fix: write a table [secret] with its keys below it
    "#);
}

/// Ten mistakes of ten kinds, in a file and the environment.
pub const TEN: &str = r#"data_dir = ""
[genesys]
region = "mypurecloud.ie"
client_id = 7
queues = "Support"
request_timeout = "soon"
[secret.env]
variable = "GENESYS_CLIENT_SECRET"
[lifecycle]
dead_after = "5s"
[journal]
max_bytes = "lots"
[sink.jsonl]
path = "-"
flush = "never"
colour = "blue"
[admin]
listen = "localhost:9464"
"#;

#[test]
fn ten_mistakes_are_told_at_once() {
    assert_snapshot!(said_of(TEN, &[("TIELINE_PROCESS__SEED", "seven")]), @r#"
    the configuration has 10 mistakes

      1. data_dir = ""   (bad.toml, line 1)
         is empty
         fix: name a directory that tieline may write, such as "./data"

      2. genesys.client_id = 7   (bad.toml, line 4)
         is a number, not a string
         fix: write it like client_id = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d"

      3. genesys.queues = "Support"   (bad.toml, line 5)
         is a string, not a list
         fix: write a list: queues = ["Support"]

      4. genesys.request_timeout = "soon"   (bad.toml, line 6)
         is not a duration
         fix: write it like request_timeout = "15s"

      5. lifecycle.dead_after = "5s"   (bad.toml, line 10)
         is not longer than ping_interval, so that a healthy peer would be dropped
         fix: allow at least two probes: a little more than twice ping_interval

      6. journal.max_bytes = "lots"   (bad.toml, line 12)
         is not a size such as "64MiB"
         fix: write it like max_bytes = "256MiB"

      7. sink.jsonl.flush = "never"   (bad.toml, line 15)
         is no word that this key takes
         fix: write one of "line", "sync"

      8. sink.jsonl.colour   (bad.toml, line 16)
         is no key that tieline knows
         fix: remove it; the keys here are path, flush, rotate_bytes, rotate_every, keep, filter, required

      9. admin.listen = "localhost:9464"   (bad.toml, line 18)
         is not an IP address with a port
         fix: write it like listen = "127.0.0.1:9464"

     10. process.seed = "seven"   (environment variable TIELINE_PROCESS__SEED)
         is not a whole number
         fix: write it like seed = 0
    "#);
}

#[test]
fn a_file_without_end_is_refused() {
    let said = load(Path::new("/dev/zero"), &[]);
    assert!(said.contains("larger than 1024 KiB"), "{said}");
}

proptest::proptest! {
    #[test]
    fn no_text_and_no_variable_ends_the_process(
        text in r#"([a-z_.]{0,9}|[\[\]{}=",'#\n]|\PC|secret|sink|kafka|genesys|[0-9]){0,60}"#,
        name in "[A-Z_]{0,20}",
        value in r#"\PC{0,9}|[\[{"0-9a-z]{0,9}"#,
    ) {
        let said = said_of(&text, &[(&format!("TIELINE_{name}"), &value)]);
        proptest::prop_assert!(!said.is_empty());
    }
}

#[test]
fn depth_without_end_is_a_mistake_and_no_overflow() {
    let deep = 200_000;
    for text in [
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}", "{ a = ".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
        format!("[{}a]", "a.".repeat(deep)),
        format!("[[{}a]]", "a.".repeat(deep)),
    ] {
        let said = said_of(&text, &[]);
        assert!(said.contains("mistake"), "{}", &text[..20]);
    }
    let name = format!("TIELINE_{}A", "A__".repeat(deep));
    assert!(said("", &[(&name, "1")]).contains("mistake"));
    let queues = "[".repeat(deep);
    assert!(said("", &[("TIELINE_GENESYS__QUEUES", &queues)]).contains("is not a list"));
}
