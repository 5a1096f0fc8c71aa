//! What a whole `tieline` process does and uses, from the socket to the acknowledgement of a real broker.
//!
//! Three measurements a sink: as fast as it goes (events a second and CPU time an event), 10,000 a second (peak memory, CPU),
//! and 1,000 a second (latency from frame to acknowledgement). Prints a table; judges nothing. `cargo bench --bench end_to_end
//! -- nats` measures only what has "nats" in its name.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

mod bridge;
mod platform;
mod server;
#[path = "../support/mod.rs"]
mod support;

use bridge::{Bridge, Reading, Target};
use platform::{Line, Platform};
use server::Server;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Events of one run as fast as it goes, and how many runs the median is taken of.
const EVENTS: u64 = 200_000;
const RUNS: usize = 5;

/// So many may be without acknowledgement: a queue that never runs dry, and far below the journal's bound.
const OPEN: u64 = 16_384;
const CHUNK: usize = 2048;

/// How long a paced run takes.
const PACED: Duration = Duration::from_secs(10);

/// One run as fast as it goes.
struct Run {
    rate: f64,
    cpu: f64,
}

/// One paced run.
struct Paced {
    cpu: f64,
    peak: f64,
    p50: String,
    p99: String,
    under_1_ms: f64,
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted =
        |title: &str| wanted.is_empty() || wanted.iter().any(|part| title.contains(part.as_str()));
    println!(
        "load {}; medians of {RUNS} runs of {EVENTS} events of {} bytes; CPU is the client's, all threads",
        load(),
        support::FRAME
    );
    println!(
        "{:<22} {:>9} {:>7} {:>15} │ {:>21} │ {:>27}",
        "",
        "events/s",
        "µs CPU",
        "(least – most)",
        "10,000/s: µs CPU  MiB",
        "1,000/s: p50   p99  <1 ms"
    );
    for title in ["jsonl to /dev/null", "jsonl to tmpfs", "nats JetStream", "kafka lz4"] {
        if is_wanted(title) {
            measure(title);
        }
    }
    println!("load {}", load());
}

fn measure(title: &'static str) {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let (sink, server, table) = match title {
        "jsonl to /dev/null" => ("jsonl", None, "path = \"/dev/null\"".to_owned()),
        "jsonl to tmpfs" => {
            ("jsonl", None, format!("path = {:?}", memory.path().join("events.jsonl")))
        }
        "nats JetStream" => {
            let server = Server::start("nats");
            let table = format!("url = {:?}", server.field("url"));
            ("nats", Some(server), table)
        }
        _ => {
            let server = Server::start("kafka");
            let table = format!("brokers = {:?}", server.field("brokers"));
            ("kafka", Some(server), table)
        }
    };
    let target = Target { title, sink, table };
    let start = |name: &str, table: &str| {
        let platform = Platform::start().expect("a platform");
        let folder = folder.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let target = Target { table: format!("{}\n{table}", target.table), ..target.clone() };
        let bridge = Bridge::start(&target, platform.address, &folder).expect("tieline starts");
        let line = platform.line();
        bridge.wait_until_ready();
        (bridge, line)
    };
    let (bridge, mut line) = start("flood", "");
    flood(&bridge, &mut line);
    let mut runs: Vec<Run> = (0..RUNS).map(|_| flood(&bridge, &mut line)).collect();
    drop((bridge, line));
    let (bridge, mut line) = start("10000", "");
    let busy = pace(&bridge, &mut line, 10_000);
    drop((bridge, line));
    let (bridge, mut line) = start("1000", "");
    let calm = pace(&bridge, &mut line, 1_000);
    drop((bridge, line));
    drop(server);
    runs.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    let (least, most) = (runs[0].cpu, runs[RUNS - 1].cpu);
    let cpu = runs[RUNS / 2].cpu;
    runs.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let rate = runs[RUNS / 2].rate;
    println!(
        "{:<22} {rate:>9.0} {cpu:>7.2} {:>15} │ {:>16.1} {:>4.0} │ {:>13} {:>6} {:>5.1}%",
        target.title,
        format!("({least:.2} – {most:.2})"),
        busy.cpu,
        busy.peak,
        calm.p50,
        calm.p99,
        calm.under_1_ms * 100.0,
    );
}

/// Sends as fast as the sink acknowledges.
fn flood(bridge: &Bridge, line: &mut Line) -> Run {
    let before = bridge.read().delivered;
    let (cpu, started) = (bridge.cpu(), Instant::now());
    let mut sent = before;
    while sent < before + EVENTS {
        bridge.wait_for((sent + CHUNK as u64).saturating_sub(OPEN));
        line.send(CHUNK);
        sent += CHUNK as u64;
    }
    bridge.wait_for(sent);
    let events = (sent - before) as f64;
    Run {
        rate: events / started.elapsed().as_secs_f64(),
        cpu: (bridge.cpu() - cpu).as_secs_f64() * 1e6 / events,
    }
}

/// Sends one frame at a time, evenly.
fn pace(bridge: &Bridge, line: &mut Line, rate: u32) -> Paced {
    // What connecting and the first pages cost is not what an event costs.
    for _ in 0..rate / 2 {
        line.send(1);
        thread::sleep(Duration::from_secs(1) / rate);
    }
    let before = bridge.wait_for(u64::from(rate / 2));
    let (cpu, started) = (bridge.cpu(), Instant::now());
    let mut sent = 0;
    while started.elapsed() < PACED {
        let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            line.send(1);
            sent += 1;
        }
        thread::sleep(Duration::from_micros(50));
    }
    let after = bridge.wait_for(before.delivered + sent);
    Paced {
        cpu: (bridge.cpu() - cpu).as_secs_f64() * 1e6 / sent as f64,
        peak: bridge.peak_mib(),
        p50: quantile(&before, &after, 0.5),
        p99: quantile(&before, &after, 0.99),
        under_1_ms: share(&before, &after, 0.001),
    }
}

/// The quantile, by proportion within the bucket it falls into; in the first bucket only its bound is known.
fn quantile(before: &Reading, after: &Reading, quantile: f64) -> String {
    let total = (after.delivered - before.delivered) as f64;
    let mut lower = (0.0, 0.0);
    for ((bound, after), (_, before)) in after.within.iter().zip(&before.within) {
        let share = (after - before) as f64 / total;
        if share >= quantile {
            if lower.0 == 0.0 {
                return format!("<{:.1}ms", bound * 1e3);
            }
            let seconds = lower.0 + (bound - lower.0) * (quantile - lower.1) / (share - lower.1);
            return format!("{:.1}ms", seconds * 1e3);
        }
        lower = (*bound, share);
    }
    format!(">{:.0}s", lower.0)
}

fn share(before: &Reading, after: &Reading, seconds: f64) -> f64 {
    let within = |reading: &Reading| {
        let found = reading.within.iter().find(|(bound, _)| *bound >= seconds);
        found.map_or(0, |(_, count)| *count)
    };
    (within(after) - within(before)) as f64 / (after.delivered - before.delivered) as f64
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").map_or_else(
        |_| "unknown".to_owned(),
        |load| load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    )
}
