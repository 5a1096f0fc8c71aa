#!/usr/bin/env bash
# A real Apache Kafka of one node (KRaft, no ZooKeeper) on loopback; the contract is at the top of common.sh. Own field: brokers.
# The jars come from Maven Central by the pinned pom.xml beside this file. Data that is new is formatted first.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { installed kafka "$(<"$here/pom.xml")" make_home; }

make_home() {
  java_is_recent || debian openjdk-17-jre-headless
  command -v mvn >/dev/null || debian maven
  cp "$here/pom.xml" "$home/"
  (cd "$home" && mvn -q -B -Dstyle.color=never dependency:copy-dependencies -DoutputDirectory=libs -DincludeScope=runtime)
  # A first life, in which the JVM writes down the classes that it loads: every later one starts in half the time.
  data=$(mktemp -d)
  log=$data/server.log
  log_start=0
  port_for main
  start
  until ready; do
    alive || died
    sleep 0.1
  done
  kill "$server"
  wait "$server" || true
  rm -rf "$data"
}

# Kafka 4 needs Java 17.
java_is_recent() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  ((${version:-0} >= 17))
}

start() {
  port_for controller
  settings >"$data/server.properties"
  if [[ ! -e $data/log/meta.properties ]]; then
    java "$(class_archive tool)" -XX:TieredStopAtLevel=1 -cp "$home/libs/*" kafka.tools.StorageTool format --standalone \
      --cluster-id "$(head -c 16 /dev/urandom | base64 | tr +/ -_ | tr -d =)" --config "$data/server.properties" \
      >>"$log" 2>&1 </dev/null
  fi
  launch java "$(class_archive broker)" -Xms256m -Xmx512m -cp "$home/libs/*" -Dlog4j2.level=INFO \
    kafka.Kafka "$data/server.properties"
}

# The JVM's option to use an archive of loaded classes, or at the first time to write it.
class_archive() {
  local use=SharedArchiveFile
  [[ -e $home/$1.jsa ]] || use=ArchiveClassesAtExit
  echo "-XX:$use=$home/$1.jsa"
}

# Logged once the broker is registered, unfenced and takes requests; the listener alone is open before.
ready() { grep -q 'Kafka Server started' <(log_since_start); }

settings() {
  cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$port_controller
listeners=PLAINTEXT://127.0.0.1:$port_main,CONTROLLER://127.0.0.1:$port_controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port_main
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$data/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
}

describe() { fields=(brokers "127.0.0.1:$port_main"); }

serve "$@"
