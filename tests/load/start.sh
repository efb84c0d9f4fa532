#!/usr/bin/env bash
# How long `longwire all` takes from its start to the first message that it has stored, with a log of so many messages inside
# its retention: killed with -9, and stopped in order.
#
#   START_MESSAGES=5000000  how many messages the log holds, about (default 1,000,000)
#   START_RUNS=3            how often each is measured (default 3)
#   BENCH_BUILD=            measure what is built already
set -euo pipefail
cd "$(dirname "$0")/../.."

messages=${START_MESSAGES:-1000000}
runs=${START_RUNS:-3}
work=$(mktemp -d "${TMPDIR:-/tmp}/longwire-start.XXXXXX")
binaries=${CARGO_TARGET_DIR:-target}/release
ready=$work/ready
pid=
trap '[ -z "$pid" ] || { kill -9 "$pid"; wait "$pid"; } 2>/dev/null || true; rm -rf "$work"' EXIT
[ -z "${BENCH_BUILD-yes}" ] || cargo build --release -p longwire -p load --bins

field() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' "$ready" | head -n 1; }

start() {
  : >"$ready"
  LONGWIRE_READY_JSON=1 LONGWIRE_MQTT__TCP_LISTEN=127.0.0.1:0 LONGWIRE_MQTT__WS_LISTEN=127.0.0.1:0 \
    LONGWIRE_HTTP__LISTEN=127.0.0.1:0 LONGWIRE_OPS__LISTEN=127.0.0.1:0 \
    "$binaries/longwire" all --data "$work/data" >"$ready" 2>>"$work/log" &
  pid=$!
  until grep -q '"mqtt"' "$ready"; do
    kill -0 "$pid" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.01
  done
}

now() { date +%s%3N; }

# Asks until a message is stored, a new one each time; prints the milliseconds since $1.
first_stored() {
  local n=0
  until curl -fsS -o "$work/reply" "http://$(field http)/visitor/api/v1/message/send" -H 'content-type: application/json' -d \
    '{"uid":"first-'"$1-$((n += 1))"'","type":"TEXT","content":"?","user":{"uid":"ann"},"thread":{"topic":"org/agent/df_ag_uid/ann"}}' \
    2>>"$work/log" && grep -q '"code":200' "$work/reply"; do sleep 0.01; done
  echo $(($(now) - $1))
}

start
http="http://$(field http)/visitor/api/v1"
curl -fsS "$http/init" -H 'content-type: application/json' -d '{"orgUid":"df_org_uid","uid":"ann","nickname":"Ann"}' >/dev/null
curl -fsS "$http/thread" -H 'content-type: application/json' -d '{"uid":"ann","orgUid":"df_org_uid","sid":"df_ag_uid","type":"0"}' >/dev/null
appended=0
while [ "$appended" -lt "$messages" ]; do
  "$binaries/longwire-load" pairs-max --payload chat --size 100 --seconds 20 --json --url "mqtt://$(field mqtt)" \
    --secret-file "$work/data/auth.secret" >/dev/null
  appended=$(curl -fsS "http://$(field ops)/metrics" | sed -n 's/^longwire_routing_appended_entries_total[^ ]* //p' | cut -d. -f1)
  echo "$appended messages" >&2
done
du -sh "$work/data/journal" "$work/data/checkpoints" "$work/data/store.db" | cut -f1,2 | sed "s|$work/data/||"
for signal in KILL TERM; do
  for _ in $(seq "$runs"); do
    kill "-$signal" "$pid"
    wait "$pid" 2>/dev/null || true
    from=$(now)
    start
    listening=$(($(now) - from))
    echo "SIG$signal: ready after $listening ms, the first message stored after $(first_stored "$from") ms"
    # What it does behind its back must not be taken into the next.
    sleep 5
  done
done
