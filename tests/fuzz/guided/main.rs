//! The same targets, fed by libFuzzer, which goes on from the inputs that reach something new. `run.sh` builds and runs it.
//!
//! A package of its own outside the workspace: all that is built for it is built a second time, so that the program's own code says
//! where it passes. Needs no nightly compiler.

#![no_main]

#[path = "../brokers.rs"]
mod brokers;
#[path = "../memory.rs"]
mod memory;
#[path = "../targets.rs"]
#[expect(dead_code, reason = "how many mutations are tried is the other binary's")]
mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use targets::{TARGETS, Target};

/// The one that is fed, by its name in `TIELINE_FUZZ_TARGET`.
static FED: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TIELINE_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        panic!("TIELINE_FUZZ_TARGET is {name:?}, and must be one of {}", names.join(", "))
    })
});

fuzz_target!(
    init: {
        // What is made once is not the first case's.
        (FED.run)(b"");
    },
    |input: &[u8]| {
        if let Err(words) = memory::judge(FED.run, input) {
            panic!("{}: {words}", FED.name);
        }
    }
);
