#!/usr/bin/env bash
# The compiler, as cargo calls it (RUSTC_WRAPPER). What reads bytes that nobody vouches for counts where it passes, as libFuzzer wants it;
# everything else is compiled as it always is.
set -euo pipefail

rustc=$1
shift
count=(
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=3
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
)
case " $* " in
  # What runs in the compiler itself has nobody to count for.
  *" --crate-type proc-macro "*) ;;
  *" --crate-name tieline "* | *" --crate-name serde_json "* | *" --crate-name toml "* | *" --crate-name guided "*)
    exec "$rustc" "$@" "${count[@]}"
    ;;
esac
exec "$rustc" "$@"
