#!/usr/bin/env bash
# Serves the demo engine, scores two responses with the openai client, and leaves the server running:
#   tools/demo.sh ASSAY ENGINE PORT
set -euo pipefail

assay=$1 engine=$2 port=$3
log=build/demo.log
serve="$assay serve --engine $engine --port $port"

mkdir -p build
# shellcheck disable=SC2086 # The command is split into words on purpose.
setsid nohup $serve </dev/null >"$log" 2>&1 &
pid=$!

give_up() {
    echo "$1" >&2
    tail -n 20 "$log" >&2
    kill "$pid" 2>/dev/null || true
    exit 1
}
for _ in $(seq 600); do
    if grep -q ' ready: ' "$log"; then
        break
    fi
    kill -0 "$pid" 2>/dev/null || give_up "The server did not start (to use another port: make demo PORT=8001). Its log ends with:"
    sleep 0.1
done
grep -q ' ready: ' "$log" || give_up "The server was not ready within a minute. Its log ends with:"
echo "$pid" >build/demo.pid

.venv/bin/python tools/demo_client.py "http://localhost:$port/v1"

cat <<END

The server is still running at http://localhost:$port (process $pid, log in $log).
Stop it:        make stop
Start it again: $serve
END
