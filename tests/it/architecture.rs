//! Holds the code to `ARCHITECTURE.md`: who may import whom, what pure code never mentions, how a file begins and how long it may
//! be. The table is read from that page, so that page and test cannot differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have before its tests: what a person reads in one sitting.
const LINES_MAX: usize = 500;

/// Files that stand outside the table: the page that lists the modules, and the page that starts the program.
const ROOTS: [&str; 2] = ["lib", "main"];

/// A row of the import table.
struct Rule {
    is_pure: bool,
    may_import: BTreeSet<String>,
}

#[test]
fn every_import_is_granted_by_the_import_table() {
    let rules = rules();
    let mut offences = Vec::new();
    for file in Source::all("src") {
        let Some(rule) = rules.get(&file.module) else {
            continue;
        };
        for import in file.imports() {
            if import != file.module && !rule.may_import.contains(&import) {
                offences.push(format!("{} imports crate::{import}", file.name));
            }
        }
    }
    assert_eq!(offences, [""; 0], "see ARCHITECTURE.md, Import table");
}

#[test]
fn every_module_stands_in_the_import_table() {
    let rules = rules();
    let missing: BTreeSet<String> = Source::all("src")
        .into_iter()
        .map(|file| file.module)
        .filter(|module| !rules.contains_key(module) && !ROOTS.contains(&module.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in ARCHITECTURE.md, Import table: {missing:?}");
}

#[test]
fn the_import_table_has_no_circle() {
    let rules = rules();
    for (module, rule) in &rules {
        let mut reached: BTreeSet<&String> = BTreeSet::new();
        let mut ahead: Vec<&String> = rule.may_import.iter().collect();
        while let Some(next) = ahead.pop() {
            if reached.insert(next) {
                let rule = rules.get(next);
                assert!(rule.is_some(), "{module} may import {next}, which has no row");
                ahead.extend(rule.into_iter().flat_map(|rule| &rule.may_import));
            }
        }
        assert!(!reached.contains(module), "{module} may import itself by way of others");
    }
}

#[test]
fn pure_code_mentions_nothing_that_does_io_or_reads_a_clock() {
    let rules = rules();
    let banned = banned();
    let mut offences = Vec::new();
    for file in Source::all("src") {
        if !rules.get(&file.module).is_some_and(|rule| rule.is_pure) {
            continue;
        }
        for word in &banned {
            if mentions(&file.code, word) {
                offences.push(format!("{} mentions {word}", file.name));
            }
        }
    }
    assert_eq!(offences, [""; 0], "see ARCHITECTURE.md, Import table");
}

#[test]
fn pure_modules_import_only_pure_modules() {
    let rules = rules();
    for (module, rule) in rules.iter().filter(|(_, rule)| rule.is_pure) {
        for import in &rule.may_import {
            assert!(
                rules[import].is_pure,
                "{module} is pure and may import {import}, which is not"
            );
        }
    }
}

#[test]
fn the_simulator_imports_nothing_of_ours() {
    let manifest = fs::read_to_string(root().join("sim/Cargo.toml")).unwrap();
    let depends =
        manifest.lines().any(|line| line.starts_with("tieline ") || line.starts_with("tieline="));
    assert!(!depends, "sim/Cargo.toml depends on tieline");
    for file in Source::all("sim/src") {
        assert!(!file.text.contains("tieline::"), "{} mentions tieline::", file.name);
    }
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let headless: Vec<String> = ["src", "sim/src", "tests/it", "benches"]
        .into_iter()
        .flat_map(Source::all)
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.name)
        .collect();
    assert_eq!(headless, [""; 0], "begin with //! and a sentence");
}

#[test]
fn no_file_is_longer_than_a_sitting() {
    let long: Vec<String> = ["src", "sim/src"]
        .into_iter()
        .flat_map(Source::all)
        .filter(|file| file.lines > LINES_MAX)
        .map(|file| format!("{}: {} lines before its tests", file.name, file.lines))
        .collect();
    assert_eq!(long, [""; 0], "the limit is {LINES_MAX}");
}

#[test]
fn every_module_stands_on_the_code_map() {
    let page = page();
    let map: BTreeSet<String> = quoted(section(&page, "## Code map")).collect();
    for file in Source::all("src") {
        let module = file.module;
        let is_named =
            [format!("src/{module}/"), format!("src/{module}.rs"), format!("{module}.rs")]
                .iter()
                .any(|name| map.contains(name));
        assert!(is_named || module == "lib", "{module} is not on the code map of ARCHITECTURE.md");
    }
}

/// A file of Rust.
struct Source {
    /// Its path from the repository's root.
    name: String,
    /// The first name of its module path: `sink` for `src/sink/kafka.rs`.
    module: String,
    /// How many modules deep it lies: 2 for `src/sink/kafka.rs`, 1 for `src/sink/mod.rs`.
    depth: usize,
    text: String,
    /// Without comments and tests; empty for a file of tests.
    code: String,
    /// How many lines stand before the tests.
    lines: usize,
}

impl Source {
    /// Every file below a folder; none when the folder does not exist.
    fn all(folder: &str) -> Vec<Self> {
        let mut paths = Vec::new();
        collect(&root().join(folder), &mut paths);
        paths.sort();
        paths.iter().map(|path| Self::read(path, folder)).collect()
    }

    fn read(path: &Path, folder: &str) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let inner = name.strip_prefix(folder).unwrap().trim_start_matches('/');
        let module = inner.split(['/', '.']).next().unwrap().to_owned();
        let body = if is_test_file(inner) { String::new() } else { before_tests(&text) };
        let depth = inner.trim_end_matches("/mod.rs").split('/').count();
        Self {
            module,
            depth,
            lines: body.lines().count(),
            code: body.lines().map(without_comment).collect::<Vec<_>>().join("\n"),
            text,
            name,
        }
    }

    /// The modules of this crate that the code names: by `crate::…`, or by as many `super::` as lead to the root.
    fn imports(&self) -> BTreeSet<String> {
        let climb = "super::".repeat(self.depth);
        let from_root =
            self.code.match_indices(&climb).map(|(at, climb)| &self.code[at + climb.len()..]);
        let by_name =
            self.code.match_indices("crate::").map(|(at, name)| &self.code[at + name.len()..]);
        by_name
            .chain(from_root)
            .flat_map(|rest| match rest.strip_prefix('{') {
                Some(group) => heads(group),
                None => identifier(rest).into_iter().collect(),
            })
            .collect()
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// `tests.rs`, `digest_tests.rs`, and whatever lies in a folder `tests`.
fn is_test_file(inner: &str) -> bool {
    inner.ends_with("tests.rs") || inner.contains("tests/")
}

/// The text up to a test module that is written out in the file.
fn before_tests(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let next = lines.peek().copied().unwrap_or_default();
            if next.starts_with("mod ") && next.ends_with('{') {
                break;
            }
        }
        kept.push(line);
    }
    kept.join("\n")
}

/// The line up to `//`. What stands behind a `//` in a string is lost as well, which costs this test nothing.
fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The identifier with which the text begins.
fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| is_name(*c)).collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each path in `a::b, c::{d, e}, f}`.
fn heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = Vec::new();
    let mut path = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(identifier(std::mem::take(&mut path).trim())),
            other => path.push(other),
        }
    }
    heads.extend(identifier(path.trim()));
    heads
}

/// Whether the code has the word, alone.
fn mentions(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// The rows of the import table.
fn rules() -> BTreeMap<String, Rule> {
    let page = page();
    let mut rules = BTreeMap::new();
    for line in section(&page, "## Import table").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, module, kind @ ("pure" | "IO"), imports, _] = cells[..] else {
            continue;
        };
        let rule = Rule { is_pure: kind == "pure", may_import: quoted(imports).collect() };
        let module = quoted(module).next().unwrap();
        assert!(rules.insert(module.clone(), rule).is_none(), "{module} has two rows");
    }
    assert!(rules.len() > 10, "ARCHITECTURE.md has no import table that this test can read");
    rules
}

/// What pure code never mentions.
fn banned() -> Vec<String> {
    let page = page();
    let table = section(&page, "## Import table");
    let sentence = table.split("Pure code never mentions:").nth(1).unwrap();
    let words: Vec<String> = quoted(sentence.split("\n\n").next().unwrap()).collect();
    assert!(words.contains(&"tokio".to_owned()), "{words:?}");
    words
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// A section of the page, up to the next of its rank.
fn section<'a>(page: &'a str, head: &str) -> &'a str {
    let from = page.split(head).nth(1).unwrap();
    from.split("\n## ").next().unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let heads_of = |text| heads(text).join(" ");
    assert_eq!(heads_of("event::{Event, Topic}, time::Time, clock};"), "event time clock");
    assert!(mentions("use tokio::sync", "tokio") && !mentions("let tokio_like = 1", "tokio"));
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {\nb"), "a");
}
