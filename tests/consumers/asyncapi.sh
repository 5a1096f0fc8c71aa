#!/usr/bin/env bash
# asyncapi.sh DOCUMENT: validates an AsyncAPI document by the official parser, which is installed once, where the servers live.
set -euo pipefail
document=$(realpath -- "$1")
. "$(dirname -- "${BASH_SOURCE[0]}")/../servers/common.sh"
source=$(cd -- "$here/../consumers/asyncapi" && pwd)

make_home() {
  command -v npm >/dev/null || debian nodejs npm
  cp "$source"/package*.json "$home"
  (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

installed asyncapi "$(<"$source/package-lock.json")" make_home
# Node looks for packages beside the program.
cp "$source/validate.js" "$home"
node "$home/validate.js" "$document"
