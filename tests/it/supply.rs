//! What comes in with the crates we use: licences, sources and bans as `deny.toml` has them; and `docs/security.md`, whose every threat
//! names a test that is there.
//!
//! cargo-deny itself is not run: it cannot be installed in the time that the gate has. Nor are advisories looked up.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let allowed = strings(&policy()["licenses"]["allow"]);
    let wrong: Vec<String> = crates()
        .iter()
        .filter(|krate| !krate["license"].as_str().is_some_and(|text| is_allowed(text, &allowed)))
        .map(|krate| format!("{} ({})", krate["name"], krate["license"]))
        .collect();
    assert_eq!(wrong, [""; 0], "licences that deny.toml does not allow");
}

#[test]
fn every_crate_comes_from_the_one_registry() {
    let allowed: Vec<String> = strings(&policy()["sources"]["allow-registry"])
        .iter()
        .map(|registry| format!("registry+{registry}"))
        .collect();
    for krate in crates() {
        match krate["source"].as_str() {
            Some(source) => assert!(allowed.contains(&source.to_owned()), "{krate}"),
            None => assert!(["tieline", "tieline-sim"].contains(&krate["name"].as_str().unwrap())),
        }
    }
}

#[test]
fn no_banned_crate_comes_in() {
    let banned = policy()["bans"]["deny"].as_array().unwrap().clone();
    for ban in banned {
        let name = ban["crate"].as_str().unwrap();
        assert!(crates().iter().all(|krate| krate["name"] != name), "{name} is banned");
    }
}

#[test]
fn a_licence_is_read_as_its_words_mean() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned()];
    for (text, is_fine) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT AND ISC", true),
        ("MIT AND GPL-3.0-only", false),
        ("(GPL-3.0-only OR MIT) AND ISC", true),
        ("GPL-3.0-only/MIT", true),
    ] {
        assert_eq!(is_allowed(text, &allowed), is_fine, "{text}");
    }
}

#[test]
fn unsafe_code_is_forbidden_in_both_packages() {
    for manifest in ["Cargo.toml", "sim/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        let table: toml::Table = text.parse().unwrap();
        // Both take the workspace's lints; a package that had its own would leave them all out.
        assert_eq!(table["lints"]["workspace"].as_bool(), Some(true), "{manifest}");
        assert_eq!(table["lints"].as_table().unwrap().len(), 1, "{manifest}");
        if let Some(workspace) = table.get("workspace") {
            let level = &workspace["lints"]["rust"]["unsafe_code"];
            assert_eq!(level.as_str(), Some("forbid"), "{manifest}");
        }
    }
}

#[test]
fn every_threat_names_a_test_that_is_there() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let sources = sources();
    let mut threats = 0;
    for row in rows.iter().filter(|row| !row.starts_with("| threat") && !row.starts_with("| ---")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let named: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test is named for: {}", cells[0]);
        for test in named {
            let found = sources.contains(&format!("fn {test}("));
            assert!(found, "{test} is nowhere, of: {}", cells[0]);
        }
        threats += 1;
    }
    assert!(threats > 15, "{threats} threats");
}

/// Whether some choice of an SPDX expression is allowed altogether. `/` is what old manifests write for OR.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((group, rest)) = expression.split_once(") AND ") {
        return is_allowed(group.trim_start_matches('('), allowed) && is_allowed(rest, allowed);
    }
    text.split(" OR ")
        .any(|choice| choice.split(" AND ").all(|licence| allowed.iter().any(|one| one == licence)))
}

fn crates() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn policy() -> toml::Value {
    std::fs::read_to_string(root().join("deny.toml"))
        .unwrap()
        .parse::<toml::Table>()
        .unwrap()
        .into()
}

fn strings(list: &toml::Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// All code of the repository in one text.
fn sources() -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> =
        ["src", "tests/it", "sim/src", "sim/tests"].map(|one| root().join(one)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
