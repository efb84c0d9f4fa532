#!/usr/bin/env bash
# tests/with-servers.sh COMMAND…: runs a command with a nats-server, a redis-server and a PostgreSQL of its own, told to
# it by LONGWIRE_TEST_NATS, _REDIS and _POSTGRES, and ends with its code. They end with it, whatever happens.
set -euo pipefail

here=$(dirname "$0")
target=$(cd "$here/.." && cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
cargo build --quiet --manifest-path "$here/../Cargo.toml" -p testkit --bin with-servers
exec "$target/debug/with-servers" "$@"
