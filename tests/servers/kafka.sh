#!/usr/bin/env bash
# A real node of Apache Kafka (KRaft, no ZooKeeper) on loopback; the contract is at the top of common.sh. Own field: brokers.
# The jars come from Maven Central by the pinned pom.xml beside this file. Data that is new is formatted first.
#
# Options of its own:
#   --cluster N   the first of N nodes: internal topics have N replicas, and a dead broker is noticed within 3 s;
#   --set N=V     one more line of its server.properties, or another value in place of ours; may come several times;
#   --join DIR    another broker of the cluster whose first node keeps its data in DIR; a controller it is not;
#   --secure DIR  two more listeners, in the fields ssl (asks for a client's certificate) and sasl (TLS; PLAIN and SCRAM for the user
#                 "tieline"). DIR holds ca.pem, server.pem (key, then certificate) and password.
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

option() {
  case $1 in
    --cluster) replicas=$2 ;;
    --join) first=$2 ;;
    --set) more+=("$2") ;;
    --secure) secure=$(cd -- "$2" && pwd) ;;
    *) return 1 ;;
  esac
}

start() {
  if [[ -n ${first-} ]]; then
    port_controller=$(<"$first/controller.port")
  else
    port_for controller
  fi
  [[ -z ${secure-} ]] || { port_for ssl; port_for sasl; }
  settings >"$data/server.properties"
  [[ -e $data/log/meta.properties ]] || format >>"$log" 2>&1 </dev/null || unformatted
  launch java "$(class_archive broker)" -Xms256m -Xmx512m -cp "$home/libs/*" -Dlog4j2.level=INFO \
    kafka.Kafka "$data/server.properties"
}

format() {
  local arguments=() cluster mechanism
  if [[ -n ${first-} ]]; then
    cluster=$(sed -n 's/^cluster.id=//p' "$first/log/meta.properties")
  else
    # Letters and digits only: an id that began with a dash, as one in 64 would, was taken for an option.
    cluster=$(head -c 16 /dev/urandom | base64 | tr +/ az | tr -d =)
    arguments=(--standalone)
  fi
  if [[ -n ${secure-} ]]; then
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      arguments+=(--add-scram "$mechanism=[name=tieline,password=$(<"$secure/password")]")
    done
  fi
  java "$(class_archive tool)" -XX:TieredStopAtLevel=1 -cp "$home/libs/*" kafka.tools.StorageTool format \
    --cluster-id "$cluster" --config "$data/server.properties" "${arguments[@]}"
}

unformatted() {
  say "cannot format $data; the end of $log:"
  tail -n 30 "$log" >&2
  exit 1
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
  local roles=broker,controller id=1 listeners=PLAINTEXT://127.0.0.1:$port_main advertised
  [[ -z ${first-} ]] || { roles=broker; id=2; }
  [[ -z ${secure-} ]] || listeners+=,SSL://127.0.0.1:$port_ssl,SASL_SSL://127.0.0.1:$port_sasl
  advertised=$listeners
  [[ -n ${first-} ]] || listeners+=,CONTROLLER://127.0.0.1:$port_controller
  cat <<END
process.roles=$roles
node.id=$id
controller.quorum.bootstrap.servers=127.0.0.1:$port_controller
listeners=$listeners
advertised.listeners=$advertised
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
log.dirs=$data/log
auto.create.topics.enable=false
offsets.topic.replication.factor=${replicas:-1}
transaction.state.log.replication.factor=${replicas:-1}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=${replicas:-1}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
  [[ -z ${replicas-} ]] || printf '%s\n' broker.session.timeout.ms=3000 broker.heartbeat.interval.ms=500
  [[ -z ${secure-} ]] || security
  # Of two lines of one name the last holds.
  [[ -z ${more-} ]] || printf '%s\n' "${more[@]}"
}

security() {
  local modules=org.apache.kafka.common.security
  cat <<END
ssl.keystore.type=PEM
ssl.keystore.location=$secure/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$secure/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=$modules.plain.PlainLoginModule required user_tieline="$(<"$secure/password")";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$modules.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$modules.scram.ScramLoginModule required;
END
}

describe() {
  fields=(brokers "127.0.0.1:$port_main")
  [[ -z ${secure-} ]] || fields+=(ssl "127.0.0.1:$port_ssl" sasl "127.0.0.1:$port_sasl")
}

serve "$@"
