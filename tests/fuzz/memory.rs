//! How much memory a case takes, and how much it may.

use peak_alloc::PeakAlloc;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[global_allocator]
pub static MEMORY: PeakAlloc = PeakAlloc;

/// What a case may take whatever its input: blocks that are read at once, threads, the configuration's schema.
const ALLOWANCE: usize = 8 << 20;

/// And so many bytes for each byte of its input.
const FACTOR: usize = 256;

/// What became of an input, in words, where that must not be.
pub fn judge(run: fn(&[u8]), input: &[u8]) -> Result<(), String> {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let ended = catch_unwind(AssertUnwindSafe(|| run(input)));
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let allowed = ALLOWANCE + FACTOR * input.len();
    let became = if ended.is_err() { "panicked" } else { "were taken" };
    if ended.is_ok() && taken <= allowed {
        return Ok(());
    }
    let length = input.len();
    Err(format!("{length} bytes of input {became} and took {taken} bytes of memory of {allowed}"))
}
