#!/usr/bin/env bash
# examples.sh node|python|java: installs what the examples of that language need, once, beside a copy of them where the servers live, and
# prints that folder. Their own folder stays as it is in the repository.
set -euo pipefail
language=$1
. "$(dirname -- "${BASH_SOURCE[0]}")/../servers/common.sh"
consumers=$here/../consumers
source=$(cd -- "$here/../../examples/$language" && pwd)

make_node() {
  command -v npm >/dev/null || debian nodejs npm
  cp -R "$source/." "$home"
  (cd "$home" && npm ci --no-audit --no-fund --loglevel=error)
}

# The packages are those of the readers beside this file, and so is their environment: it is made before, as installing is locked.
make_python() {
  local package
  while read -r package; do
    grep -qxF -- "$package" "$consumers/requirements.txt" || fail "tests/consumers/requirements.txt does not have $package"
  done <"$source/requirements.txt"
  cp -R "$source/." "$home"
  ln -s "$(dirname -- "$(dirname -- "$python")")" "$home/venv"
}

make_java() {
  command -v javac >/dev/null || debian openjdk-17-jdk-headless
  command -v mvn >/dev/null || debian maven
  cp -R "$source/." "$home"
  (cd "$home" && mvn -q -B -Dstyle.color=never compile dependency:copy-dependencies -DincludeScope=runtime)
}

[[ $language =~ ^(node|python|java)$ ]] || fail "there are no examples for $language"
# Another text is another folder: an example that changed is installed anew.
sources=$(cd "$source" && find . -type f -not -path './node_modules/*' -not -path './target/*' | LC_ALL=C sort | xargs cat)
[[ $language != python ]] || python=$("$consumers/install.sh")
installed "examples-$language" "$sources" "make_$language"
echo "$home"
