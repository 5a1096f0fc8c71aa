# Shared by the server scripts beside this file, which source it and then call `serve "$@"`.
#
# The contract of every server script, so that tests, the demo and people can rely on it:
#   NAME.sh [--data DIR] [--port N] [options of its own]     or     NAME.sh --install
#   1. installs what is missing, once, into ${TIELINE_SERVERS_DIR:-the repository's .servers}; --install stops here;
#   2. starts the real server on loopback as its own child, on the port given, else the one that DIR remembers, else a free one;
#   3. when the server answers, and it is this very child that listens, prints one line of JSON on stdout
#      ({"pid":…,"port":…,"data":…,"log":…} and the server's own fields); everything else goes to stderr and to DIR/server.log;
#   4. at the end of its stdin, or at SIGTERM or SIGINT, stops the server (TERM, after 10 s KILL) and exits 0; when the server
#      ends by itself it shows the end of the log and exits 1.
# So a caller that dies leaks no server. Whoever wants a crash kills the pid in the JSON with -9 and starts the script again with
# the same --data. Without --data the folder is a temporary one, deleted at an orderly end.
#
# Each script defines `install` (which sets `home`), `start` (which calls `launch`), `ready`, and `describe` (which sets the pairs
# `fields`); and, if it has options of its own, `option NAME VALUE`.

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
name=$(basename -- "$0" .sh)

# Copied elsewhere, the scripts have no repository around them: then downloads live in the user's cache.
if [[ -n ${TIELINE_SERVERS_DIR-} ]]; then
  servers=$TIELINE_SERVERS_DIR
elif [[ -e $here/../../Cargo.toml ]]; then
  servers=$(cd -- "$here/../.." && pwd)/.servers
else
  servers=${XDG_CACHE_HOME:-$HOME/.cache}/tieline
fi

say() { printf '%s: %s\n' "$name" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Whatever ends a script that nobody foresaw is named; a caller sees nothing but stderr.
set -E
trap 'say "line $LINENO: \"$BASH_COMMAND\" failed with status $?"' ERR

# ── Installing ────────────────────────────────────────────────────────────────────────────────────────────────────────────

# installed NAME PIN COMMAND: sets `home` to a folder that COMMAND has filled, once. An installation is never changed: another
# PIN is another folder. One lock for the user's whole machine, because apt and Maven share state beyond our folder.
installed() {
  home=$servers/$1-$(cksum <<<"$2" | cut -d' ' -f1)
  [[ -e $home/.complete ]] && return
  mkdir -p "$servers"
  (
    flock 9
    [[ -e $home/.complete ]] && exit
    say "installing $1 into $home"
    rm -rf "$home"
    mkdir -p "$home"
    "$3" >&2 </dev/null 9>&-
    touch "$home/.complete"
  ) 9>"${TMPDIR:-/tmp}/tieline-install-$UID.lock"
}

# debian PACKAGE…: installs Debian packages; only called when something that they hold was found missing.
debian() {
  [[ $UID == 0 ]] || fail "needs the Debian packages $*; run as root: apt-get install --no-install-recommends $*"
  say "installing the Debian packages $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# python_environment NAME REQUIREMENT…: a virtual environment with pinned packages, in `home`.
python_environment() {
  requirements=("${@:2}")
  installed "$1" "${*:2}" make_python_environment
}

make_python_environment() {
  # Debian's python3 brings the module venv, but not what it installs pip from.
  python3 -c 'import venv, ensurepip' 2>/dev/null || debian python3 python3-venv
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]}"
}

# ── Ports ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

# The inodes of the sockets that listen on a port, whoever owns them.
listeners() {
  awk -v port=":$(printf '%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Whether our own child listens on a port: a stranger that answers there is not our server.
owns() {
  local inode
  for inode in $(listeners "$1"); do
    [[ -n $(find "/proc/$server/fd" -lname "socket:\[$inode\]" 2>/dev/null) ]] && return
  done
  return 1
}

# port_for NAME: sets `port_NAME` to the port that the data folder remembers, else to a free one, which it then remembers. Below
# 32768, where Linux takes no port for outgoing connections: a client that retries there could else connect to itself.
port_for() {
  local -n chosen=port_$1
  local memory=$data/$1.port
  if [[ -n ${chosen-} ]]; then
    :
  elif [[ -e $memory ]]; then
    chosen=$(<"$memory")
  else
    chosen=$((20000 + SRANDOM % 12768))
    while [[ -n $(listeners "$chosen") ]]; do chosen=$((20000 + SRANDOM % 12768)); done
    fresh+=("$1")
  fi
  printf '%s\n' "$chosen" >"$memory"
}

# ── Running ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

# launch COMMAND…: starts the server as our child, which the kernel stops even if this script is killed with -9.
launch() {
  setpriv --pdeathsig TERM -- "$@" </dev/null >>"$log" 2>&1 &
  server=$!
}

# What the server has logged since this start; the log itself is kept over restarts.
log_since_start() { tail -c "+$((log_start + 1))" "$log"; }

# http_ok PORT PATH: whether a GET is answered with 200. No curl, which a new machine lacks.
http_ok() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
  printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1:%s\r\n\r\n' "$2" "$1" >&3
  IFS= read -r -t 2 status <&3 && [[ $status == HTTP/*' 200 '* ]]
) 2>/dev/null

# json NAME VALUE…: one object on one line; a value of digits only is a number.
json() {
  local sep='{' value
  while (($#)); do
    value=${2//\\/\\\\}
    [[ $value =~ ^[0-9]+$ ]] || value=\"${value//\"/\\\"}\"
    printf '%s"%s":%s' "$sep" "$1" "$value"
    sep=,
    shift 2
  done
  printf '}\n'
}

alive() { kill -0 "$server" 2>/dev/null; }

# pause SECONDS: waits on stdin, whose end is the caller's wish, or its death: then the server is stopped. Input is ignored.
pause() {
  local status=0
  read -r -t "$1" _ || status=$?
  ((status == 0 || status > 128)) || stop
}

# Stops the server in order and leaves. Also the signal handler.
stop() {
  trap '' TERM INT HUP
  local tick
  if [[ -n ${server-} ]] && kill -TERM "$server" 2>/dev/null; then
    for ((tick = 0; tick < 200; tick++)); do
      alive || break
      sleep 0.05
    done
    kill -KILL "$server" 2>/dev/null && say "pid $server did not stop within 10 s and was killed"
    wait "$server" 2>/dev/null || true
  fi
  [[ -z ${temporary-} ]] || rm -rf "$data"
  exit 0
}

died() {
  local status=0
  wait "$server" || status=$?
  say "pid $server ended by itself with status $status; the end of $log:"
  tail -n 30 "$log" >&2
  exit 1
}

# Starts the server and waits until it is ready. A free port may be taken before the server has it: then others are tried.
start_and_wait() {
  local attempt tick which
  for attempt in 1 2 3; do
    log_start=$(stat -c %s "$log" 2>/dev/null || echo 0)
    fresh=()
    port_for main
    start
    for ((tick = 0; tick < 4800; tick++)); do
      alive || break
      ready && owns "$port_main" && return
      pause 0.05
    done
    alive && { say "not ready within 240 s; the end of $log:"; tail -n 30 "$log" >&2; kill -KILL "$server"; exit 1; }
    ((${#fresh[@]})) && grep -qi 'address already in use' <(log_since_start) || died
    say "attempt $attempt: a port was taken meanwhile"
    for which in "${fresh[@]}"; do
      rm -f "$data/$which.port"
      unset "port_$which"
    done
  done
  died
}

serve() {
  local only_install=
  while (($#)); do
    case $1 in
      --install) only_install=yes; shift; continue ;;
      --data) data=${2:?--data needs a folder} ;;
      --port) port_main=${2:?--port needs a number} ;;
      *) declare -F option >/dev/null && option "$1" "${2-}" || { say "unknown option $1"; exit 64; } ;;
    esac
    shift 2
  done
  install
  [[ -z $only_install ]] || exit 0

  [[ -z ${port_main-} || -z $(listeners "$port_main") ]] || fail "port $port_main is taken by another process"
  [[ -n ${data-} ]] || { data=$(mktemp -d "${TMPDIR:-/tmp}/tieline-$name.XXXXXX"); temporary=yes; }
  mkdir -p "$data"
  data=$(cd -- "$data" && pwd)
  log=$data/server.log
  trap stop TERM INT HUP
  start_and_wait
  describe
  json pid "$server" port "$port_main" data "$data" log "$log" "${fields[@]}"
  while alive; do pause 0.25; done
  died
}
