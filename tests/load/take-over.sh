#!/usr/bin/env bash
# How long a replica of routing takes from the lease of a partition until it serves it, with a log of so many messages inside
# its retention: two replicas, one of which is killed with -9, or stopped in order. Each time in a cluster of its own would
# take hours to fill, so the replica that is left takes over what the other had, in the same one.
#
#   TAKE_OVER_MESSAGES=5000000  how many messages the log holds, about (default 500,000)
#   TAKE_OVER_SIGNAL=TERM       how the other replica ends (default KILL)
#   BENCH_BUILD=                measure what is built already
set -euo pipefail
cd "$(dirname "$0")/../.."

messages=${TAKE_OVER_MESSAGES:-500000}
work=$(mktemp -d "${TMPDIR:-/tmp}/longwire-take-over.XXXXXX")
binaries=${CARGO_TARGET_DIR:-target}/release
ready=$work/ready
pid=
trap '[ -z "$pid" ] || { kill "$pid"; wait "$pid"; } 2>/dev/null || true; rm -rf "$work"' EXIT
[ -z "${BENCH_BUILD-yes}" ] || cargo build --release -p longwire -p load -p testkit --bins

: >"$ready"
LONGWIRE_READY_JSON=1 LONGWIRE_CLUSTER_REPLICAS=2 LONGWIRE_BIN=$(realpath "$binaries/longwire") \
  "$binaries/cluster" >"$ready" 2>"$work/log" &
pid=$!
until grep -q '"mqtt"' "$ready"; do
  kill -0 "$pid" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done

# series REPLICA NAME: a series of a replica of routing, without labels.
series() {
  curl -fsS "http://$(jq -r ".ops_of.routing[$1]" "$ready")/metrics" | sed -n "s/^longwire_routing_$2[^ ]* //p" | cut -d. -f1-2
}
appended() { echo $(($(series 0 appended_entries_total | cut -d. -f1) + $(series 1 appended_entries_total | cut -d. -f1))); }

while [ "$(appended)" -lt "$messages" ]; do
  "$binaries/longwire-load" pairs-max --payload chat --size 100 --seconds 20 --json --url "mqtt://$(jq -r .mqtt "$ready")" \
    --secret-file "$(jq -r .secret "$ready")" >/dev/null
  echo "$(appended) messages" >&2
done
before=$(series 1 take_over_duration_seconds_count)
sum=$(series 1 take_over_duration_seconds_sum)
all=$(($(series 0 partitions) + $(series 1 partitions)))
kill "-${TAKE_OVER_SIGNAL:-KILL}" "$(jq -r .pids.routing[0] "$ready")"
until [ "$(series 1 partitions)" = "$all" ]; do sleep 0.1; done
count=$(($(series 1 take_over_duration_seconds_count) - before))
jq -n --argjson n "$count" --argjson sum "$(series 1 take_over_duration_seconds_sum)" --argjson before "$sum" \
  '"\($n) partitions taken over, each served \(($sum - $before) / $n * 1000 | floor) ms after its lease on average"'
curl -fsS "http://$(jq -r '.ops_of.routing[1]' "$ready")/metrics" | grep '^longwire_routing_take_over_duration_seconds_bucket'
