#!/usr/bin/env bash
# Debian's Chromium without a screen, spoken to by its DevTools protocol on loopback; the contract is at the top of common.sh. Own
# field: url. It is installed where it is missing.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { command -v chromium >/dev/null || debian chromium fonts-dejavu-core; }

start() {
  launch chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-extensions --no-default-browser-check \
    --force-color-profile=srgb --hide-scrollbars --user-data-dir="$data/profile" \
    --remote-debugging-address=127.0.0.1 --remote-debugging-port="$port_main" about:blank
}

# It answers no HTTP/1.0, which is all that http_ok speaks.
ready() { grep -q 'DevTools listening' <(log_since_start); }

describe() { fields=(url "http://127.0.0.1:$port_main"); }

serve "$@"
