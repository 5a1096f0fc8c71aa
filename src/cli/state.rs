//! `tieline state` and `tieline gaps`: what a running process says of itself, for people or as it says it.

use super::Exit;
use super::args::Door;
use super::{door, say};
use serde_json::Value;
use std::io::{self, Write};

/// `tieline state`.
pub fn run(args: &Door) -> Exit {
    door::show(args, "/api/v1/state", write_state)
}

/// `tieline gaps`.
pub fn gaps(args: &Door) -> Exit {
    door::show(args, "/api/v1/gaps", write_gaps)
}

fn write_state(state: &Value, out: &mut dyn Write) -> io::Result<()> {
    let questions = [
        ("live", "Is it live?"),
        ("losing", "Are we losing anything?"),
        ("fault", "Whose fault is it?"),
    ];
    for (name, question) in questions {
        let answer = &state["verdict"][name];
        writeln!(out, "{question:<24} {}. {}", words(&answer["words"]), words(&answer["why"]))?;
        let next = words(&answer["next"]);
        let due = answer["due"].as_str().map(|due| format!(" (next attempt {due})"));
        if !next.is_empty() || due.is_some() {
            writeln!(out, "{:<24} {next}{}", "", due.unwrap_or_default())?;
        }
        for also in list(&answer["also"]) {
            writeln!(out, "{:<24} Also: {}", "", words(also))?;
        }
    }
    let mut rows = vec![heads(&["session", "shard", "leg", "state", "since", "last words"])];
    rows.extend(
        list(&state["sessions"])
            .map(|one| cells(one, &["id", "shard", "leg", "state", "since", "last_words"])),
    );
    part("Sessions", &rows, out)?;
    let columns = ["id", "deadline_of", "deadline", "channel_expires", "successor_at"];
    let names = ["session", "waits for", "until", "channel ends", "successor by", "parked"];
    let mut rows = vec![heads(&names)];
    rows.extend(list(&state["sessions"]).map(|one| {
        let mut row = cells(one, &columns);
        row.push(words(&one["parked"]["reason"]));
        row
    }));
    part("What they wait for", &rows, out)?;
    let columns =
        ["name", "connected", "waiting_events", "delivered", "parked", "refused", "last_error"];
    let mut rows =
        vec![heads(&["sink", "connected", "waiting", "delivered", "parked", "lost", "last error"])];
    rows.extend(list(&state["sinks"]).map(|one| cells(one, &columns)));
    part("Sinks", &rows, out)?;
    let login = &state["login"];
    let facts = [
        ("secret", format!("number {} from {}", words(&login["secret"]), words(&login["source"]))),
        ("token ends", words(&login["token_expires"])),
        (
            "channels",
            format!(
                "{} of {}",
                words(&state["channels"]["used"]),
                words(&state["channels"]["most"])
            ),
        ),
        (
            "topics",
            format!(
                "{} heard, {} refused",
                words(&state["topics"]["permitted"]),
                words(&state["topics"]["rejected"])
            ),
        ),
        ("gaps", format!("{} so far", words(&state["gaps"]["total"]))),
        ("epoch", words(&state["epoch"])),
        ("configuration", configuration(&state["configuration"])),
    ];
    part("Otherwise", &facts.map(|(name, value)| vec![name.to_owned(), value]), out)?;
    for line in differences(&state["configuration"]) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// Which one is in force, and what became of the last reload.
fn configuration(of: &Value) -> String {
    let since = words(&of["in_force_since"]);
    let reload = &of["last_reload"];
    let last = match reload["outcome"].as_str() {
        Some(outcome) => {
            format!(", last read {}: {}", words(&reload["at"]), outcome.replace('_', " "))
        }
        None => String::new(),
    };
    format!("{}, in force since {since}{last}", words(&of["file"]))
}

/// What of the file is not in force, and why.
fn differences(of: &Value) -> Vec<String> {
    let reload = &of["last_reload"];
    let refused = list(&reload["mistakes"]).map(|mistake| format!("refused: {}", words(mistake)));
    let pending = list(&of["pending"]).map(|one| {
        let [key, was, now] = ["key", "was", "now"].map(|name| words(&one[name]));
        format!("needs a restart: {key} is {was}, the file says {now}")
    });
    let overridden = list(&reload["overridden"]).map(|one| {
        format!(
            "changed in vain: {}, {} stands above it",
            words(&one["key"]),
            words(&one["variable"])
        )
    });
    refused.chain(pending).chain(overridden).collect()
}

fn write_gaps(gaps: &Value, out: &mut dyn Write) -> io::Result<()> {
    if gaps["total"] == 0 {
        return writeln!(out, "No gap is known.");
    }
    let mut rows = vec![heads(&[
        "#",
        "where",
        "cause",
        "from",
        "to",
        "seconds",
        "certainty",
        "what was done",
    ])];
    for gap in list(&gaps["open"]).chain(list(&gaps["recent"])) {
        let place = match gap["sink"].as_str() {
            Some(sink) => format!("sink {sink}"),
            None => format!("shard {}", words(&gap["shard"])),
        };
        let mut row =
            cells(gap, &["number", "cause", "from", "to", "seconds", "certainty", "action"]);
        row.insert(1, place);
        if gap["to"].is_null() {
            row[4] = "open".to_owned();
        }
        rows.push(row);
    }
    let shown = rows.len() as u64 - 1;
    say::table(&rows, out)?;
    let older = gaps["total"].as_u64().unwrap_or_default().saturating_sub(shown);
    if older > 0 {
        writeln!(out, "  and {older} older ones, which are no longer kept")?;
    }
    Ok(())
}

fn part(head: &str, rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{head}")?;
    say::table(rows, out)
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn cells(object: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| words(&object[name])).collect()
}

fn list(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

/// A value as people read it.
fn words(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value, write: fn(&Value, &mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_gap_that_is_open_says_so_and_older_ones_are_counted() {
        let open = json!({"number": 9, "shard": 1, "cause": "cut", "certainty": "certain",
            "from": "2026-11-24T15:00:00.000000Z", "to": null, "seconds": null, "action": null});
        let full = json!({"number": 8, "shard": 0, "sink": "kafka", "cause": "journal_full", "certainty": "certain",
            "from": "2026-11-24T14:00:00.000000Z", "to": "2026-11-24T14:00:02.500000Z", "seconds": 2.5,
            "action": "there is room again"});
        let said = text(&json!({"total": 9, "open": [open], "recent": [full]}), write_gaps);
        insta::assert_snapshot!(said, @r"
          #  where       cause         from                         to                           seconds  certainty  what was done
          9  shard 1     cut           2026-11-24T15:00:00.000000Z  open                         –        certain    –
          8  sink kafka  journal_full  2026-11-24T14:00:00.000000Z  2026-11-24T14:00:02.500000Z  2.5      certain    there is room again
          and 7 older ones, which are no longer kept
        ");
    }

    #[test]
    fn each_session_says_what_it_waits_for_and_why_it_is_parked() {
        let at = |second: u32| format!("2026-11-24T15:00:{second:02}.000000Z");
        let live = json!({"id": "s1", "shard": 0, "leg": 1, "state": "live", "since": at(0),
            "deadline": at(35), "deadline_of": "frame", "channel_expires": at(59), "successor_at": at(40),
            "retry_at": null, "parked": null, "last_words": null});
        let parked = json!({"id": "s2", "shard": 0, "leg": 1, "state": "waiting", "since": at(1),
            "deadline": at(50), "deadline_of": "parked", "channel_expires": null, "successor_at": null,
            "retry_at": at(50), "parked": {"reason": "forbidden", "again": at(50)}, "last_words": "403"});
        let said = text(&json!({"sessions": [live, parked]}), write_state);
        let sessions = said.split("\nSinks").next().expect("a part");
        let sessions = &sessions[sessions.find("Sessions").expect("a head")..];
        insta::assert_snapshot!(sessions, @r"
        Sessions
          session  shard  leg  state    since                        last words
          s1       0      1    live     2026-11-24T15:00:00.000000Z  –
          s2       0      1    waiting  2026-11-24T15:00:01.000000Z  403

        What they wait for
          session  waits for  until                        channel ends                 successor by                 parked
          s1       frame      2026-11-24T15:00:35.000000Z  2026-11-24T15:00:59.000000Z  2026-11-24T15:00:40.000000Z  –
          s2       parked     2026-11-24T15:00:50.000000Z  –                            –                            forbidden
        ");
    }

    #[test]
    fn no_gap_is_one_sentence() {
        let said = text(&json!({"total": 0, "open": [], "recent": []}), write_gaps);
        assert_eq!(said, "No gap is known.\n");
    }
}
