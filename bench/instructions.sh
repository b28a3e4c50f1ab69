#!/usr/bin/env bash
# Instructions that the gateway and the floor spend on a call, by the processor's own counters. Unlike times they hardly
# move with whatever else the machine does, so that a change of a few per cent can be seen on a busy one.
#
#     bench/instructions.sh target/release [seconds]
#
# Needs `perf` and the right to count other processes (kernel.perf_event_paranoid <= 0, or root).
set -euo pipefail

bin=$(realpath "${1:?directory of lockgate and lockgate-bench}")
seconds=${2:-3}
home=$(mktemp -d)
children=()
trap 'kill "${children[@]}" 2>/dev/null || true; rm -rf "$home"' EXIT
export BENCH_KEY=lg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA TOKIO_WORKER_THREADS=1

# first_line FILE: what a program has said once it listens.
first_line() {
    for _ in $(seq 100); do
        [ -s "$1" ] && head -n 1 "$1" && return
        sleep 0.1
    done
    echo "nothing in $1" >&2
    exit 1
}

"$bin/lockgate-bench" echo --print-addr --cpu 1 >"$home/echo" &
children+=($!)
echo_address=$(first_line "$home/echo")
"$bin/lockgate-bench" floor --print-addr --cpu 0 --to "http://$echo_address" >"$home/floor" &
floor=$!
children+=($floor)
floor_address=$(first_line "$home/floor")
cat >"$home/lockgate.yaml" <<YAML
listen: 127.0.0.1:0
admin: { listen: 127.0.0.1:0 }
data_dir: $home/data
identity:
  api_keys:
    - { id: bench, key_env: BENCH_KEY, principal: bench, roles: [all] }
roles:
  all: { allow: ["*"] }
servers:
  echo: { url: "http://$echo_address/mcp" }
YAML
taskset -c 0 "$bin/lockgate" serve --config "$home/lockgate.yaml" --ready-json >"$home/gateway" 2>/dev/null &
gateway=$!
children+=($gateway)
listen=$(first_line "$home/gateway" | sed 's/.*"listen":"\([^"]*\)".*/\1/')
sleep 1

# count NAME PID TARGET SCENARIO ERA: warms up, then counts.
count() {
    local run=("$bin/lockgate-bench" run --cpu 1 --scenario "$4" --era "$5" --connections 16 --rounds 1 --warmup 0
        --target "$1=http://$3" --out "$home/out")
    "${run[@]}" --measure 0.5 >/dev/null
    perf stat -x, -e instructions:u,instructions:k -p "$2" -o "$home/counts" -- \
        "${run[@]}" --measure "$seconds" >/dev/null
    local calls
    calls=$(grep -o '"n_calls": *[0-9]*' "$home/out/results.json" | grep -o '[0-9]*')
    awk -F, -v calls="$calls" -v what="$1 $4 $5" '
        $3 == "instructions:u" { user = $1 }
        $3 == "instructions:k" { kernel = $1 }
        END { printf "%-26s %8d calls %8d user %8d kernel\n", what, calls, user / calls, kernel / calls }
    ' "$home/counts"
}

through="$listen/mcp,pid=$gateway,header=Authorization:Bearer $BENCH_KEY,prefix=echo_"
for scenario in "small session" "small stateless" "blob session"; do
    read -r kind era <<<"$scenario"
    count floor "$floor" "$floor_address/mcp,pid=$floor" "$kind" "$era"
    count gateway "$gateway" "$through" "$kind" "$era"
done
