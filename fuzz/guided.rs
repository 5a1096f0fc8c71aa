//! The targets of `tests/fuzz`, fed by libFuzzer: coverage decides what is tried next. `make fuzz` builds and runs it.
//!
//! One binary for all of them: the variable `TARGET` names the one.

#![no_main]

#[path = "../tests/fuzz/targets.rs"]
mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("TARGET={name} is none of {:?}", targets::TARGETS)).run
});

fuzz_target!(|input: &[u8]| TARGET(input));
