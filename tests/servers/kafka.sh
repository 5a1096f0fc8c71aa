#!/usr/bin/env bash
# A real Apache Kafka of one node (KRaft, no ZooKeeper) on loopback; the contract is at the top of common.sh. Own field: brokers.
# The jars come from Maven Central by the pinned pom.xml beside this file. Data that is new is formatted first.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() { installed kafka "$(<"$here/pom.xml")" resolve_jars; }

resolve_jars() {
  java_is_recent || debian openjdk-17-jre-headless
  command -v mvn >/dev/null || debian maven
  cp "$here/pom.xml" "$home/"
  (cd "$home" && mvn -q -B -Dstyle.color=never dependency:copy-dependencies -DoutputDirectory=libs -DincludeScope=runtime)
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
    java -XX:TieredStopAtLevel=1 -cp "$home/libs/*" kafka.tools.StorageTool format --standalone --config "$data/server.properties" \
      --cluster-id "$(head -c 16 /dev/urandom | base64 | tr +/ -_ | tr -d =)" >>"$log" 2>&1 </dev/null
  fi
  launch java -Xms256m -Xmx512m -Xshare:auto -cp "$home/libs/*" -Dlog4j2.level=INFO kafka.Kafka "$data/server.properties"
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
