//! A `tieline` process: started, asked over its doors and `/proc` what it has done and used, stopped.

use crate::support::{QUEUES, id, topic};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

/// Which sink, and the lines of its table.
#[derive(Clone)]
pub struct Target {
    pub title: &'static str,
    pub sink: &'static str,
    pub table: String,
}

/// A running process; killed when dropped.
pub struct Bridge {
    child: Child,
    admin: SocketAddr,
    sink: &'static str,
}

/// What the process's counters said at one moment.
#[derive(Clone, Default)]
pub struct Reading {
    pub delivered: u64,
    /// Events delivered within so many seconds, by the histogram's bound.
    pub within: Vec<(f64, u64)>,
    pub lost: u64,
}

impl Bridge {
    /// Starts the process with one sink against a platform.
    pub fn start(target: &Target, platform: SocketAddr, folder: &Path) -> io::Result<Self> {
        // Free at this moment; nobody else on this machine hands out ports below us.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let topics: Vec<String> =
            (0..QUEUES).map(|queue| format!("{:?}", topic(&id(queue)))).collect();
        let config = folder.join("tieline.toml");
        let (data, sink, table) = (folder.join("data"), target.sink, &target.table);
        let text = format!(
            "data_dir = {data:?}\n[genesys]\nlogin_url = \"http://{platform}\"\napi_url = \"http://{platform}\"\n\
             client_id = \"bench\"\nallow_insecure = true\ntopics = [{}]\n[secret.env]\nvariable = \"BENCH_SECRET\"\n\
             [admin]\nlisten = \"{admin}\"\n[sink.{sink}]\n{table}\n",
            topics.join(", "),
        );
        fs::write(&config, text)?;
        let log = fs::File::create(folder.join("tieline.log"))?;
        let program = std::env::var_os("BENCH_PROGRAM")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_tieline").into());
        let mut command = Command::new(program);
        // What is set around the measurement is not to configure what is measured.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"TIELINE_") {
                command.env_remove(name);
            }
        }
        let child = command
            .arg("run")
            .arg(&config)
            .env("BENCH_SECRET", "hidden")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { child, admin, sink })
    }

    /// Waits until it is subscribed and its sink takes events.
    pub fn wait_until_ready(&self) {
        for _ in 0..600 {
            if self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("tieline is not ready: {:?}", self.get("/readyz"));
    }

    /// Waits until so many events are acknowledged; answers what the counters say then.
    pub fn wait_for(&self, delivered: u64) -> Reading {
        for _ in 0..60_000 {
            let reading = self.read();
            assert_eq!(reading.lost, 0, "the journal has refused events");
            if reading.delivered >= delivered {
                return reading;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("{delivered} events are not delivered within two minutes");
    }

    /// What the counters say.
    pub fn read(&self) -> Reading {
        let page = self.get("/metrics").expect("tieline answers");
        let sink = format!("sink=\"{}\"", self.sink);
        let mut reading = Reading::default();
        let mut within = BTreeMap::new();
        for line in page.lines().filter(|line| line.contains(&sink)) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value = value.parse::<f64>().unwrap_or(0.0) as u64;
            if name.starts_with("tieline_events_delivered_total") {
                reading.delivered = value;
            } else if name.starts_with("tieline_events_refused_total") {
                reading.lost = value;
            } else if name.starts_with("tieline_delivery_seconds_bucket")
                && let Some((_, bound)) = name.split_once("le=\"")
                && let Ok(seconds) = bound.trim_end_matches("\"}").parse::<f64>()
            {
                within.insert((seconds * 1e6) as u64, (seconds, value));
            }
        }
        reading.within = within.into_values().collect();
        reading
    }

    /// CPU time that the process has used so far, all threads, user and system: to 10 ms.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // What stands in brackets, the name, may hold anything.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks =
            fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Duration::from_millis(ticks.sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// The most memory that it ever had resident, in MiB.
    pub fn peak_mib(&self) -> f64 {
        let status = self.proc("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("tieline runs")
    }

    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: tieline\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Nothing is asked of it any more, so that it need not drain.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
