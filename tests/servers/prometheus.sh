#!/usr/bin/env bash
# A real Prometheus on loopback: prometheus.sh --config FILE; the contract is at the top of common.sh. Own fields: url, promtool.
#   prometheus.sh --promtool ARGUMENT…   runs promtool instead, and exits as it does.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { installed prometheus debian-12 unpack_prometheus; }

# Unpacked beside our other servers, not installed: Debian's package would start a service and bring sixty others for its pages.
unpack_prometheus() {
  cd "$home"
  apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
  dpkg-deb -x prometheus_*.deb .
  rm prometheus_*.deb
}

option() {
  [[ $1 == --config ]] || return
  config=$2
}

start() {
  launch "$home/usr/bin/prometheus" --config.file="$config" \
    --storage.tsdb.path="$data/tsdb" --web.listen-address="127.0.0.1:$port_main"
}

ready() { http_ok "$port_main" /-/ready; }

describe() { fields=(url "http://127.0.0.1:$port_main" promtool "$home/usr/bin/promtool"); }

if [[ ${1-} == --promtool ]]; then
  install
  exec "$home/usr/bin/promtool" "${@:2}"
fi
[[ " $* " =~ " --config "|" --install " ]] || fail "needs --config FILE"
serve "$@"
