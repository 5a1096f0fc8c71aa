#!/usr/bin/env bash
# Installs what the readers beside this file need, once, and prints the path of the Python that runs them.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
mapfile -t requirements <"$here/requirements.txt"
echo "$("$here/../servers/venv.sh" consumers "${requirements[@]}")/bin/python"
