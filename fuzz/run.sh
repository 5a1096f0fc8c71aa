#!/usr/bin/env bash
# Runs the guided fuzzer: run.sh SECONDS JOBS TARGET…, each target for so long. A failure stops it, keeps its input under target/fuzz, and
# says how to repeat it and where it belongs.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
seconds=$1 jobs=$2
binary=$(ls -t target/fuzz/*/release/guided | head -n 1)
for target in "${@:3}"; do
  found=target/fuzz/found/$target
  failures=target/fuzz/failures/$target-
  mkdir -p "$found" target/fuzz/failures
  corpus=("$found" "tests/fuzz/corpus/$target")
  case $target in
    frame) corpus+=(tests/fixtures/frames) ;;
    configuration) corpus+=(config) ;;
  esac
  echo "── $target, $seconds s"
  TARGET=$target "$binary" "${corpus[@]}" -max_total_time="$seconds" -fork="$jobs" -timeout=20 -rss_limit_mb=512 \
    -malloc_limit_mb=64 -max_len=65536 -ignore_crashes=0 -ignore_timeouts=0 -ignore_ooms=0 -artifact_prefix="$failures" \
    -print_final_stats=1 2>&1 | tail -n 40 || {
    echo "repeat it with: TARGET=$target $binary FILE, for the FILE that is new in target/fuzz/failures; once mended it belongs to tests/fuzz/corpus/$target"
    exit 1
  }
done
