#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, as far as it may, and says what is missing where it may not.
# Nothing goes into the system but Debian packages, and those only for root.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()

# need COMMAND PACKAGE: the command is there, or comes with a Debian package.
need() {
  command -v "$1" > /dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing the package $2"
    apt-get install -y --no-install-recommends "$2" > /dev/null && return
  fi
  missing+=("$2 (for the command $1)")
}

need cc gcc
need curl curl
need mount mount
need python3 python3

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

# The clients in Python: an environment of their own in the target folder.
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
venv="$target/e2e-python"
if ! [ "$venv/installed" -nt "$clients/requirements.txt" ]; then
  echo "installing the Python packages of $clients"
  if ! python3 -m venv --clear "$venv" > /dev/null 2>&1; then
    # Debian keeps the module apart.
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
      apt-get install -y --no-install-recommends python3-venv > /dev/null
      python3 -m venv --clear "$venv"
    else
      echo "missing, and not to be installed from here: python3-venv" >&2
      exit 1
    fi
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$clients/requirements.txt"
  touch "$venv/installed"
fi
