#!/usr/bin/env bash
# venv.sh NAME REQUIREMENT…: makes a Python environment with pinned packages, once, where the servers live, and prints its folder.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
python_environment "$@"
echo "$home"
