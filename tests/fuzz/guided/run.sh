#!/usr/bin/env bash
# Feeds every target for its share of so many seconds, beginning with the committed corpus. What reaches more of the code is kept in
# target/guided/corpus and is where the next run begins; with KEEP=20 the short inputs that reach most of what is new, so many for each
# target at most, go into the committed corpus.
#
#   tests/fuzz/guided/run.sh SECONDS [TARGET…]
set -euo pipefail
here=$(cd "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$here/../../..
corpus=$here/../corpus
work=$root/target/guided

seconds=$1
shift
if [ $# = 0 ]; then
  mapfile -t targets < <(cd "$corpus" && printf '%s\n' *)
else
  targets=("$@")
fi

RUSTC_WRAPPER=$here/rustc.sh cargo build --locked --quiet --manifest-path "$here/Cargo.toml" --target-dir "$work"

# An input is no longer than those of `make fuzz`; a case that takes a gigabyte or a minute is a finding, whatever its own bound says.
bounds=(-max_len=131072 -rss_limit_mb=1024 -timeout=60 -verbosity=0 -print_funcs=0)
# Neither what it lacks, being no sanitizer, nor the words that it has learned.
quiet() { grep -v -e '^INFO: ' -e '^WARNING: Failed to find function' -e '^#####' -e '^"' || true; }

for target in "${targets[@]}"; do
  seeds=("$corpus/$target")
  case $target in
    frame) seeds+=("$root/tests/fixtures/frames") ;;
    configuration) seeds+=("$root/config") ;;
  esac
  mkdir -p "$work/corpus/$target" "$work/found"
  export TIELINE_FUZZ_TARGET=$target
  fed=$((seconds / ${#targets[@]}))
  echo "── $target: $fed s"
  "$work/debug/guided" "${bounds[@]}" -max_total_time="$fed" -print_final_stats=1 \
    -artifact_prefix="$work/found/$target-" "$work/corpus/$target" "${seeds[@]}" 2>&1 | quiet || {
    echo "what failed is in $work/found; repeat it with: TIELINE_FUZZ_TARGET=$target $work/debug/guided FILE"
    exit 1
  }
  if [ -n "${KEEP:-}" ]; then
    known=$(mktemp -d)
    for folder in "${seeds[@]}"; do find "$folder" -maxdepth 1 -type f -exec cp {} "$known" \;; done
    touch "$work/known"
    "$work/debug/guided" "${bounds[@]}" -max_len=512 -use_counters=0 -set_cover_merge=1 "$known" "$work/corpus/$target" 2>&1 | quiet
    # What reaches most is taken first.
    find "$known" -type f -newer "$work/known" -printf '%T@ %f\n' | sort -n | head -n "$KEEP" | while read -r _ name; do
      cp "$known/$name" "$corpus/$target/"
    done
    rm -r "$known"
  fi
done
echo "nothing panicked, and nothing took more memory than it may"
