#!/usr/bin/env bash
# Installs the peers into .cache beside this script: Node 22 with the packages of
# package-lock.json, Python environments with those of requirements*.txt (of the two lines
# of the SDK and of FastMCP one each: they exclude each other), and the peers on the Rust SDK.
# A second run finds the stamps of the first and does nothing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$here/.cache
mkdir -p "$cache"

# Several test processes may want the peers at once; one installs, the others wait.
exec 9>"$cache/lock"
flock 9

fail() {
    echo "peers: $1" >&2
    exit 1
}

# Runs one step without its chatter; shows it only where the step fails.
step() {
    local log
    log=$(mktemp "$cache/log.XXXXXX")
    "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "failed: $*"; }
    rm -f "$log"
}

command -v npm >/dev/null || fail "npm is missing (apt-get install npm)"
command -v git >/dev/null || fail "git is missing (apt-get install git)"
command -v cargo >/dev/null || fail "cargo is missing (https://rustup.rs)"
python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "python3 >= 3.10 with venv is missing (apt-get install python3-venv)"

# Has part $1 made by the rest of the line, unless it is there, made by the same script from the same files $2.
part() {
    local name=$1 stamp
    stamp=$(cd "$here" && eval "cat setup.sh $2" | sha256sum | cut -d' ' -f1)
    shift 2
    [ "$(cat "$cache/$name.stamp" 2>/dev/null || true)" = "$stamp" ] && return
    rm -f "$cache/$name.stamp"
    "$@"
    echo "$stamp" >"$cache/$name.stamp"
}

install_npm() {
    rm -rf "$cache/npm"
    mkdir "$cache/npm"
    cp "$here/package.json" "$here/package-lock.json" "$cache/npm/"
    step npm --prefix "$cache/npm" ci --no-audit --no-fund --loglevel=error
    # The package `node` fetches its binary in an install script, which npm may be told to skip.
    [ -x "$cache/npm/node_modules/node/bin/node" ] ||
        step env -C "$cache/npm/node_modules/node" node installArchSpecificPackage.js
    step "$cache/npm/node_modules/node/bin/node" --eval \
        'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)'
}

# The environment $1 with the packages of the file $2; it is good if $3 can be imported.
install_python() {
    rm -rf "${cache:?}/$1"
    step python3 -m venv "$cache/$1"
    # Only what is imported gets compiled, by the first who does.
    step "$cache/$1/bin/pip" install --quiet --disable-pip-version-check --no-compile --requirement "$here/$2"
    step "$cache/$1/bin/python" -c "import $3"
}

build_rust() {
    step cargo build --quiet --locked --manifest-path "$here/rmcp/Cargo.toml" --target-dir "$cache/rmcp"
}

# What is downloaded waits for the network, what is built for the processor.
part rmcp "rmcp/Cargo.* rmcp/src/*.rs" build_rust &
rust=$!
part npm "package-lock.json" install_npm &
npm=$!
part venv "requirements.txt" install_python venv requirements.txt mcp,mcp_server_git,mcp_server_time
part venv-mcp1 "requirements-mcp1.txt" install_python venv-mcp1 requirements-mcp1.txt mcp,mcp_server_sqlite
part venv-fastmcp "requirements-fastmcp.txt" install_python venv-fastmcp requirements-fastmcp.txt fastmcp
wait "$npm"
wait "$rust"
