#!/usr/bin/env bash
# unit.sh FILE: has systemd verify a unit whose program is not installed on this machine, and score how much it may do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
# The one thing that verification would miss is the program itself.
sed 's|/usr/bin/tieline|/bin/true|' "$1" >"$folder/${1##*/}"
systemd-analyze verify "$folder/${1##*/}"
# From 0 (may do nothing) to 100; more than 20 would mean that a line of the hardening has gone.
systemd-analyze security --offline=true --threshold=20 "$folder/${1##*/}" | tail -n 1
