#!/usr/bin/env bash
# Installs the peers into .cache beside this script: Node 22 with the packages of
# package-lock.json, and a Python environment with those of requirements.txt.
# A second run finds the stamp of the first and does nothing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$here/.cache
mkdir -p "$cache"

# Several test processes may want the peers at once; one installs, the others wait.
exec 9>"$cache/lock"
flock 9

stamp=$(cat "$here/package-lock.json" "$here/requirements.txt" "$here/setup.sh" | sha256sum | cut -d' ' -f1)
[ "$(cat "$cache/stamp" 2>/dev/null || true)" = "$stamp" ] && exit 0
rm -rf "$cache/stamp" "$cache/npm" "$cache/venv"

fail() {
    echo "peers: $1" >&2
    exit 1
}

# Runs one step without its chatter; shows it only where the step fails.
step() {
    "$@" >"$cache/log" 2>&1 || { cat "$cache/log" >&2; fail "failed: $*"; }
}

command -v npm >/dev/null || fail "npm is missing (apt-get install npm)"
command -v git >/dev/null || fail "git is missing (apt-get install git)"
python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "python3 >= 3.10 with venv is missing (apt-get install python3-venv)"

mkdir "$cache/npm"
cp "$here/package.json" "$here/package-lock.json" "$cache/npm/"
step npm --prefix "$cache/npm" ci --no-audit --no-fund --loglevel=error
# The package `node` fetches its binary in an install script, which npm may be told to skip.
[ -x "$cache/npm/node_modules/node/bin/node" ] ||
    step env -C "$cache/npm/node_modules/node" node installArchSpecificPackage.js

step python3 -m venv "$cache/venv"
step "$cache/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"

step "$cache/npm/node_modules/node/bin/node" --eval 'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)'
step "$cache/venv/bin/python" -c 'import mcp, mcp_server_git'
rm -f "$cache/log"
echo "$stamp" >"$cache/stamp"
