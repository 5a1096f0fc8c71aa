#!/usr/bin/env bash
# packages.sh PACKAGE…: installs Debian packages; elsewhere it only says what is needed, and lets the build find out.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
command -v apt-get >/dev/null || { say "not a Debian: please see to it that these, or their like, are there: $*"; exit 0; }
debian "$@"
