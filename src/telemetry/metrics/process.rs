//! The process as the kernel sees it, read from `/proc/self` when somebody scrapes.
//!
//! Where there is no `/proc` the values stay 0. The prometheus crate's own collector would do, but brings procfs and libc.

use super::shelf::{Shelf, whole};
use prometheus::{Counter, Gauge, IntGauge};
use std::fs;
use std::sync::{Mutex, PoisonError};

/// Kernel ticks a second as `/proc` shows them: 100 on every architecture that Linux reports to user space today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the process.
#[derive(Debug)]
pub(super) struct Process {
    // Scrapes may overlap, and a counter takes only differences.
    cpu: Mutex<Counter>,
    resident: IntGauge,
    open_files: IntGauge,
}

impl Process {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let start: Gauge = shelf.seconds(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        );
        start.set(started().unwrap_or(0.0));
        shelf
            .gauge("process_max_fds", "How many files may be open at once.")
            .set(whole(files_max().unwrap_or(0)));
        Self {
            cpu: Mutex::new(
                shelf.fraction("process_cpu_seconds_total", "CPU time spent, user and system."),
            ),
            resident: shelf.gauge(
                "process_resident_memory_bytes",
                "Memory that is in use and not swapped out.",
            ),
            open_files: shelf.gauge("process_open_fds", "Files and sockets that are open."),
        }
    }

    pub(super) fn refresh(&self) {
        if let Some(seconds) = cpu_seconds() {
            let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
            cpu.inc_by((seconds - cpu.get()).max(0.0));
        }
        self.resident.set(whole(resident_bytes().unwrap_or(0)));
        self.open_files.set(whole(open_files().unwrap_or(0)));
    }
}

/// The numbered fields of `/proc/self/stat` from the third on; the second is the name, which may hold anything.
fn stat() -> Option<Vec<String>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The value of field `number`, as proc(5) counts.
fn ticks(stat: &[String], number: usize) -> Option<f64> {
    stat.get(number - 3)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = stat()?;
    Some((ticks(&stat, 14)? + ticks(&stat, 15)?) / TICKS_PER_SECOND)
}

fn started() -> Option<f64> {
    let boot: f64 = number_after(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    Some(boot + ticks(&stat()?, 22)? / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    number_after::<u64>(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024)
}

fn files_max() -> Option<u64> {
    number_after(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

fn open_files() -> Option<u64> {
    // The listing itself holds one open.
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed).ok()?.checked_sub(1)
}

/// The first word after `name` on the line that begins with it.
fn number_after<N: std::str::FromStr>(text: &str, name: &str) -> Option<N> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_sees_itself() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(open_files().unwrap() >= 3);
        assert!(files_max().unwrap() >= open_files().unwrap());
        assert!(started().unwrap() > 1_600_000_000.0);
        assert!(cpu_seconds().unwrap() >= 0.0);
    }

    #[test]
    fn cpu_time_never_runs_backwards_between_scrapes() {
        let shelf = Shelf::default();
        let process = Process::new(&shelf);
        process.refresh();
        let first = process.cpu.lock().unwrap().get();
        process.refresh();
        assert!(process.cpu.lock().unwrap().get() >= first);
    }
}
