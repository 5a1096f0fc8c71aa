//! `docs/metrics.md` against a live scrape, and the scrape against promtool.

use crate::doors::{Bridge, Scrape};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[tokio::test]
async fn the_page_on_metrics_and_a_scrape_are_equal() {
    let scraped = scraped(&Bridge::start().await.scrape().await);
    let documented = documented();
    let only = |one: &BTreeMap<String, Shape>, other: &BTreeMap<String, Shape>| {
        let differs = |(name, shape): &(&String, &Shape)| other.get(*name) != Some(*shape);
        let rows = one.iter().filter(differs);
        rows.map(|(name, shape)| format!("  {name}: {shape:?}\n")).collect::<String>()
    };
    assert!(
        scraped == documented,
        "docs/metrics.md differs from a scrape\nscraped:\n{}documented:\n{}",
        only(&scraped, &documented),
        only(&documented, &scraped)
    );
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_a_scrape() {
    let Scrape(text) = Bridge::start().await.scrape().await;
    let mut promtool = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// A metric as documented and as scraped: its type, and each label with its values (none for an open one).
type Shape = (String, BTreeMap<String, BTreeSet<String>>);

/// Labels whose values follow from the configuration or the build.
const OPEN_LABELS: [&str; 3] = ["sink", "version", "queue"];

/// What a scrape shows.
fn scraped(scrape: &Scrape) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    let mut name = "";
    for line in scrape.0.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (metric, kind) = kind.split_once(' ').unwrap();
            name = metric;
            shapes.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new()));
        } else if let Some((_, labels)) = line.split_once('{') {
            let (labels, _) = labels.split_once('}').unwrap();
            let shape: &mut Shape = shapes.get_mut(name).unwrap();
            for (label, value) in labels.split("\",").filter_map(|pair| pair.split_once("=\"")) {
                let value = value.trim_end_matches('"').to_owned();
                let values = (label != "le").then(|| shape.1.entry(label.to_owned()).or_default());
                if let Some(values) = values.filter(|_| !OPEN_LABELS.contains(&label)) {
                    values.insert(value);
                }
            }
        }
    }
    shapes
}

/// What `docs/metrics.md` says: rows of five cells are metrics, rows of three are the values of a label.
fn documented() -> BTreeMap<String, Shape> {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = quoted(cells[0]).next().unwrap();
        match cells.len() {
            5 => {
                let labels = quoted(cells[3]).map(|label| (label, BTreeSet::new()));
                let shape = (cells[1].to_owned(), labels.collect());
                assert!(!cells[4].is_empty(), "{name} answers no question");
                assert!(shapes.insert(name.clone(), shape).is_none(), "{name} twice");
            }
            3 => {
                let label = quoted(cells[1]).next().unwrap();
                let values = shapes.get_mut(&name).and_then(|shape| shape.1.get_mut(&label));
                let values = values.unwrap_or_else(|| panic!("{name} has no label {label}"));
                values.extend(quoted(cells[2]));
            }
            other => panic!("a row of {other} cells: {line}"),
        }
    }
    shapes
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// promtool from the path, or where `make servers` unpacks it.
fn promtool() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    let unpacked = std::fs::read_dir(root().join(".servers"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("usr/bin/promtool")));
    on_path
        .chain(unpacked)
        .find(|tool| tool.is_file())
        .expect("promtool is neither on the path nor in .servers: run `make servers`")
}
