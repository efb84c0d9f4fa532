#!/usr/bin/env bash
# Measures Longwire and the peers that are installed, side by side. `make bench` calls it.
#
#   BENCH_RUNS=3      interleaved runs of each server, of which the table shows the median (default 1)
#   BENCH_QUICK=1     a tenth of the time and size: whether it works, not how fast
#   BENCH_PROFILE=dev an unoptimised build, to try the script itself
#   BENCH_SECONDS=10  how long each timed scenario sends
#   BENCH_PEERS=      peers to measure (default "mosquitto rumqttd"; empty for none). mosquitto is measured if it is
#                     installed, rumqttd is built from its crate
#   BENCH_ONLY_PEERS=1  leave Longwire out
#   BENCH_SHAPE=cluster  only the cluster; "one" only one process and the peers; default both, the cluster where its servers
#                     are installed (tests/install.sh; curl, jq and psql as well)
#   BENCH_SCALE="1 2 4"  replicas of every role of the cluster, one run each (default 2)
#   BENCH_PARTITIONS=16  partitions of the cluster's log (default 4)
#   BENCH_RATE=200    messages a second of pairs-rate in the cluster (default 2,000)
#   BENCH_GROW=1      as many times the 50 pairs of chat as there are replicas of every role, or clusters; nothing else
#   BENCH_APART="2 4" so many clusters of one of every role at once, which share nothing but the machine, with the 50 pairs
#                     of chat divided among them: what more processes cost here, whatever they do (default none)
#   BENCH_AGE=1       what an old installation costs (tests/load/age.py): logins and deliveries with 10, 1,000 and 10,000 past
#                     conversations, five rounds of chat on one data folder, 1,000,000 conversations in the store; nothing else.
#                     BENCH_AGE_OPTIONS narrows it down: see age.py --help
#   BENCH_BUILD=      measure what is built already
#   BENCH_OUT=FILE    where the JSON lines go (default: the work folder, gone afterwards; they are printed as well)
#
# Ends with 0 when no server lost or reordered anything, and a frame of chat in the cluster of one or two of every role carried
# more than 20 messages (with more of them there are too few senders); a peer's loss is a result, not a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

runs=${BENCH_RUNS:-1}
profile=${BENCH_PROFILE:-release}
peers=${BENCH_PEERS-mosquitto rumqttd}
work=$(mktemp -d "${TMPDIR:-/tmp}/longwire-bench.XXXXXX")
out=${BENCH_OUT:-$work/results.jsonl}
binaries=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}
pid=
apart=()
ready=$work/ready

# Ends the server under test, and nothing else.
end_server() {
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=
}
end_all() {
  for pid in $pid "${apart[@]}"; do end_server; done
  apart=()
}
trap 'end_all; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

fail() { echo "bench: $*" >&2; exit 1; }

# Every connection is a file, here and in the server.
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge 10200 ] ||
  fail "10,200 open files are needed, the hard limit is $(ulimit -Hn)"

options=()
[ -z "${BENCH_QUICK:-}" ] || options+=(--quick)
[ -z "${BENCH_SECONDS:-}" ] || options+=(--seconds "$BENCH_SECONDS")

shape=${BENCH_SHAPE:-all}
[ -z "${BENCH_ONLY_PEERS:-}" ] || shape=one
packages=(-p load)
[ -n "${BENCH_ONLY_PEERS:-}" ] || packages+=(-p longwire)
[ "$shape" = one ] || packages+=(-p testkit)
[ -z "${BENCH_BUILD-yes}" ] || cargo build --profile "$profile" "${packages[@]}" --bins
load=$binaries/longwire-load
: >"$out"
if [ -n "${BENCH_AGE:-}" ]; then
  # shellcheck disable=SC2086
  exec tests/load/age.py "$binaries" ${BENCH_AGE_OPTIONS:-}
fi

# suite LABEL ARGUMENTS…: measures the server that runs as $pid.
suite() {
  local label=$1 status=0
  shift
  echo "bench: $label" >&2
  "$load" suite --json "${options[@]}" --label "$label" --server-pid "$pid" "$@" >>"$out" || status=$?
  return "$status"
}

# free_port: a port nobody listens on now.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# await FILE SECONDS TEST…: until the test holds; fails with what the server said.
await() {
  local file=$1 tries=$(($2 * 20))
  shift 2
  until "$@"; do
    kill -0 "$pid" 2>/dev/null || { cat "$file" >&2; fail "the server ended before it was ready"; }
    [ $((tries -= 1)) -gt 0 ] || { cat "$file" >&2; fail "the server was not ready in time"; }
    sleep 0.05
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# field NAME: a member of Longwire's ready line.
field() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' "$ready" | head -n 1; }
is_ready() { grep -q '"mqtt"' "$ready"; }

measure_longwire() {
  rm -rf "$work/data"
  : >"$ready"
  LONGWIRE_READY_JSON=1 LONGWIRE_MQTT__TCP_LISTEN=127.0.0.1:0 LONGWIRE_MQTT__WS_LISTEN=127.0.0.1:0 \
    LONGWIRE_HTTP__LISTEN=127.0.0.1:0 LONGWIRE_OPS__LISTEN=127.0.0.1:0 \
    "$binaries/longwire" all --data "$work/data" >"$ready" 2>"$work/log" &
  pid=$!
  await "$work/log" 60 is_ready
  local status=0
  suite longwire --url "mqtt://$(field mqtt)" --ws "ws://$(field ws)/websocket" --http "http://$(field http)" \
    --secret-file "$work/data/auth.secret" || status=$?
  end_server
  return "$status"
}

# counters WAIT: prints what the frames of the log, and the transactions and statements of the database add up to. PostgreSQL
# tells what an idle session did only after ten seconds: WAIT for it.
counters() {
  local database streams='[.account_details[].stream_detail[] | select(.name | test("^longwire_log")) | .state.last_seq] | add'
  local transactions="select sum(xact_commit + xact_rollback) from pg_stat_database where datname = current_database()"
  local statements="select coalesce(sum(calls), 0) from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())"
  database=$(jq -r .database "$ready")
  sleep "$1"
  echo "frames $(curl -fsS "$(jq -r '.nats_monitor[0]' "$ready")/jsz?accounts=true&streams=true" | jq "$streams")"
  echo "transactions $(psql -XqAt -d "$database" -c "$transactions")"
  psql -XqAt -d "$database" -c "create extension if not exists pg_stat_statements" >/dev/null 2>&1 || return 0
  echo "statements $(psql -XqAt -d "$database" -c "$statements")"
}

# start_cluster REPLICAS: three nats-servers, Redis, PostgreSQL, so many of every role, HAProxy; told of in $ready.
start_cluster() {
  : >"$ready"
  LONGWIRE_READY_JSON=1 LONGWIRE_CLUSTER_REPLICAS=$1 LONGWIRE_CLUSTER_PARTITIONS=${BENCH_PARTITIONS:-4} \
    LONGWIRE_BIN=$(realpath "$binaries/longwire") \
    "$binaries/cluster" >"$ready" 2>"$work/log" &
  pid=$!
  await "$work/log" 120 is_ready
}

# about_cluster LABEL: what the load generator is told of it, in $common.
about_cluster() {
  local short=${BENCH_QUICK:+2}
  common=(--json --label "$1" --seconds "${BENCH_SECONDS:-${short:-10}}" --url "mqtt://$(field mqtt)"
    --secret-file "$(field secret)")
  mapfile -t -O "${#common[@]}" common < <(jq -r '.pids.longwire[] | "--server-pid", .' "$ready")
  mapfile -t -O "${#common[@]}" common < <(jq -r '.pids | ["nats", "postgres", "redis", "haproxy"][] as $name
    | .[$name][] | "--apart", "\($name)=\(.)"' "$ready")
}

# measure_apart CLUSTERS: so many at once. The table shows the median of them.
measure_apart() {
  local loads=() status=0 n pairs=$((50 / $1)) label="$1 clusters ×1, each"
  [ -z "${BENCH_GROW:-}" ] || { pairs=50; label="$label, 50 pairs"; }
  echo "bench: $1 clusters at once" >&2
  for n in $(seq "$1"); do
    ready=$work/ready.$n
    start_cluster 1
    apart+=("$pid")
  done
  for n in $(seq "$1"); do
    ready=$work/ready.$n
    about_cluster "$label"
    "$load" pairs-max --payload chat --pairs "$pairs" --window 16 "${common[@]}" >"$work/apart.$n" &
    loads+=($!)
  done
  for n in "${loads[@]}"; do wait "$n" || status=$?; done
  cat "$work"/apart.* >>"$out"
  rm "$work"/apart.*
  pid=
  end_all
  ready=$work/ready
  return "$status"
}

measure_cluster() {
  local replicas=$1 status=0 pairs=50 label="cluster ×$1"
  [ -z "${BENCH_GROW:-}" ] || { pairs=$((50 * replicas)); label="$label, $pairs pairs"; }
  start_cluster "$replicas"
  about_cluster "$label"
  local count settled
  count="$(declare -f counters); ready='$ready'; counters 0"
  settled="$(declare -f counters); ready='$ready'; counters 11"

  scenario() {
    echo "bench: cluster ×$replicas: $1" >&2
    "$load" "$@" "${common[@]}" >>"$out" || status=$?
  }
  scenario pairs-max --payload chat --pairs "$pairs" --window 16 --counters "$count"
  [ -z "${BENCH_GROW:-}" ] || { end_server; return "$status"; }
  scenario pairs-max --pairs 50 --window 16 --counters "$count"
  scenario pairs-rate --rate "${BENCH_RATE:-2000}" --counters "$count"
  scenario reconnect --clients 2000 --counters "$settled"
  end_server
  return "$status"
}

# Whether the cluster can be started here.
has_cluster() {
  local program
  for program in haproxy redis-server psql curl jq; do
    command -v "$program" >/dev/null || { echo "bench: no $program here, the cluster is left out" >&2; return 1; }
  done
}

# Durable chat must not pay for the log per message: fewer than 50 frames for 1,000.
frames_are_shared() {
  jq -se 'map(select((.scenario | test("^pairs-max .*chat")) and (.server | test("^cluster ×[12]$")))
    | .figures.frames_per_1000) | all(. < 50)' \
    "$out" >/dev/null || { echo "bench: a frame of chat carried 20 messages or fewer" >&2; return 1; }
}

measure_mosquitto() {
  local tcp ws
  tcp=$(free_port)
  ws=$(free_port)
  cat >"$work/mosquitto.conf" <<CONF
listener $tcp 127.0.0.1
listener $ws 127.0.0.1
protocol websockets
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
persistence false
set_tcp_nodelay true
log_type error
CONF
  mosquitto -c "$work/mosquitto.conf" >"$work/log" 2>&1 &
  pid=$!
  await "$work/log" 20 listens "$tcp"
  suite mosquitto --url "mqtt://127.0.0.1:$tcp" --ws "ws://127.0.0.1:$ws/mqtt" || true
  end_server
}

# A broker of its own workspace: nothing else builds its dependencies.
rumqttd=tests/differential/Cargo.toml
rumqttd_target=${CARGO_TARGET_DIR:-$PWD/target}/rumqttd

measure_rumqttd() {
  local tcp
  tcp=$(free_port)
  "$rumqttd_target/release/examples/rumqttd_peer" "$tcp" >"$work/log" 2>&1 &
  pid=$!
  await "$work/log" 20 listens "$tcp"
  suite rumqttd --url "mqtt://127.0.0.1:$tcp" || true
  end_server
}

# has PEER: whether it can be measured here.
has() {
  case $1 in
    rumqttd) cargo build --quiet --release --manifest-path "$rumqttd" --target-dir "$rumqttd_target" --example rumqttd_peer ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

PATH=$PATH:/usr/sbin
status=0
[ "$shape" != cluster ] || peers=
for run in $(seq "$runs"); do
  echo "bench: run $run of $runs" >&2
  [ -n "${BENCH_ONLY_PEERS:-}" ] || [ "$shape" = cluster ] || measure_longwire || status=$?
  for peer in $peers; do
    has "$peer" || { echo "bench: no $peer here, left out" >&2; continue; }
    "measure_$peer"
  done
  [ "$shape" != one ] || continue
  has_cluster || { [ "$shape" = all ] && continue || exit 1; }
  for replicas in ${BENCH_SCALE:-2}; do
    measure_cluster "$replicas" || status=$?
  done
  for clusters in ${BENCH_APART:-}; do
    measure_apart "$clusters" || status=$?
  done
  frames_are_shared || status=1
done

"$load" report "$out"
cat "$out"
exit "$status"
