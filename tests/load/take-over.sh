#!/usr/bin/env bash
# How long a replica of routing takes from the lease of a partition until it serves it, with a log of so many messages inside
# its retention: of two replicas one is killed with -9, or stopped in order, and the other takes over what it had. Measured once
# a run: filling the log takes longer than measuring.
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

# scrape REPLICA: its series of routing, without labels.
scrape() { curl -fsS "http://$(jq -r ".ops_of.routing[$1]" "$ready")/metrics" | sed -n 's/^longwire_routing_//p'; }
# value NAME: of a scrape.
value() { sed -n "s/^$1[^ ]* //p"; }
appended() { for n in 0 1; do scrape $n | value appended_entries_total; done | jq -s add; }
owned() { scrape "$1" | value partitions; }

while [ "$(appended)" -lt "$messages" ]; do
  "$binaries/longwire-load" pairs-max --payload chat --size 100 --seconds 20 --json --url "mqtt://$(jq -r .mqtt "$ready")" \
    --secret-file "$(jq -r .secret "$ready")" >/dev/null
  echo "$(appended) messages" >&2
done

stays=$(scrape 1)
before=$(value take_over_duration_seconds_count <<<"$stays")
sum=$(value take_over_duration_seconds_sum <<<"$stays")
goes=$(owned 0)
kill "-${TAKE_OVER_SIGNAL:-KILL}" "$(jq -r '.pids.routing[0]' "$ready")"
for try in $(seq 600); do
  stays=$(scrape 1)
  count=$(($(value take_over_duration_seconds_count <<<"$stays") - before))
  [ "$count" -lt "$goes" ] || break
  [ "$try" -lt 600 ] || { echo "only $count of $goes partitions were taken over within a minute" >&2; exit 1; }
  sleep 0.1
done
jq -nr --argjson n "$count" --argjson sum "$(value take_over_duration_seconds_sum <<<"$stays")" --argjson before "$sum" \
  '"\($n) partitions taken over; served \(($sum - $before) / $n * 1000 | floor) ms after their leases on average"'
