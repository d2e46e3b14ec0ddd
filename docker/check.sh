#!/usr/bin/env bash
# Checks the images as far as possible without a container engine: what the entry script starts, with stand-ins for
# `assay` and `mpirun`, and the files with shellcheck and hadolint where those are installed.
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cat >"$tmp/assay" <<'END'
#!/usr/bin/env bash
if [[ $* == *--print-ranks* ]]; then
    [[ $RANKS == refused ]] && { echo 'assay: no engine runs here' >&2; exit 1; }
    echo "$RANKS"
else
    echo "assay $*"
fi
END
cat >"$tmp/mpirun" <<'END'
#!/usr/bin/env bash
words=" $* "
while [[ $words =~ ' -x '[A-Z_]+' ' ]]; do words=${words/"${BASH_REMATCH[0]}"/ }; done
echo "mpirun${words% }"
exit "${STATUS-0}"
END
printf '#!/usr/bin/env bash\n' >"$tmp/ssh"
chmod +x "$tmp/assay" "$tmp/mpirun" "$tmp/ssh"

expect() { # OUTPUT VARIABLE=VALUE ... -- ARGUMENT ...: runs the entry script and compares its output
    local expected=$1 variables=()
    shift
    while [[ $1 != -- ]]; do
        variables+=("$1")
        shift
    done
    shift
    local printed
    printed=$(env "PATH=$tmp:$PATH" "${variables[@]}" bash entrypoint.sh "$@" 2>&1) || printed+=" (status $?)"
    if [[ $printed != "$expected" ]]; then
        printf 'entrypoint.sh %s: expected\n  %s\nand got\n  %s\n' "$*" "$expected" "$printed" >&2
        exit 1
    fi
}
expect 'assay serve' RANKS=1 --
expect 'assay serve --profile a b' RANKS=1 -- --profile 'a b'
expect 'mpirun --bind-to none -n 8 assay serve --port 9' RANKS=8 -- --port 9
expect 'mpirun --bind-to none -n 8 assay serve (status 3)' RANKS=8 STATUS=3 --
expect 'assay serve --port 9' RANKS=8 OMPI_COMM_WORLD_SIZE=8 -- --port 9
expect 'assay: no engine runs here (status 1)' RANKS=refused --
# shellcheck disable=SC2016 # The inner shell expands the variable.
engines='echo "${NIM_CACHE_PATH-none}"'
expect /engines RANKS=1 -- bash -c "$engines"
expect /mine RANKS=1 NIM_CACHE_PATH=/mine -- bash -c "$engines"
expect none RANKS=1 ASSAY_CONFIG=/etc/assay.yaml -- bash -c "$engines"
expect 'build-engine: --help' RANKS=8 -- echo build-engine: --help
expect 'assay serve /models/judge' RANKS=1 -- serve /models/judge
expect 'assay serve --help' RANKS='Usage: assay serve' -- --help
ssh='-p 2222 -i /etc/assay-ssh/ssh-privatekey -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR'
nodes=(LWS_GROUP_SIZE=3 LWS_LEADER_ADDRESS=judge-0.judge.here)
hosts=$(hostname):4,judge-0-1.judge.here:4,judge-0-2.judge.here:4
expect "mpirun --bind-to none -n 12 --map-by slot --host $hosts --prefix $(dirname "$tmp") --mca orte_keep_fqdn_hostnames 1 --mca plm_rsh_args $ssh assay serve" \
    "${nodes[@]}" LWS_WORKER_INDEX=0 ASSAY_GPUS_PER_NODE=4 RANKS=refused --
expect 'the engine has 16 ranks, and 3 pods with 4 GPUs each have room for 12; set nodes and gpus so that their product is 16 (status 2)' \
    "${nodes[@]}" LWS_WORKER_INDEX=0 ASSAY_GPUS_PER_NODE=4 RANKS=16 --
expect 'assay serve' "${nodes[@]}" OMPI_COMM_WORLD_SIZE=12 RANKS=12 --

# An image is built only from what .dockerignore lets through, including the files that sources include.
while IFS=: read -r source included; do
    path=$(realpath --relative-to=.. "$(dirname "$source")/$included")
    if ! grep -qx "!${path%%/*}" ../.dockerignore; then
        echo "$source includes $path, but .dockerignore excludes it from the images" >&2
        exit 1
    fi
done < <(grep -rEo 'include_(str|bytes)!\("[^"]+"' ../src | sed -E 's/:include_[a-z]+!\("/:/; s/"$//')

# The image for GPUs is built with the toolchain that the project is checked with. That for CPUs has Debian's.
channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' ../rust-toolchain.toml)
if ! grep -qx "ARG RUST=$channel" gpu.Dockerfile; then
    echo "gpu.Dockerfile does not build with Rust $channel, which rust-toolchain.toml names" >&2
    exit 1
fi
version=$(sed -n '0,/^version/s/^version = "\(.*\)"/\1/p' ../Cargo.toml)
for file in ./*.Dockerfile; do
    if ! grep -qx "ARG VERSION=$version" "$file"; then
        echo "$file is not labelled with version $version, which Cargo.toml has" >&2
        exit 1
    fi
done

# The health check asks the port that the server has.
answer() { # PORT: a server that is ready
    python3 - "$1" <<'END'
import http.server, sys, threading
class Ready(http.server.BaseHTTPRequestHandler):
    do_GET = lambda self: (self.send_response(200), self.end_headers())
    log_message = lambda *_: None
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).handle_request()
END
}
port=$((20000 + RANDOM % 20000))
printf 'engine: /engines\nport: "%s"\n' "$port" >"$tmp/assay.yaml"
for source in "ASSAY_PORT=$port" "NIM_SERVER_PORT=$port" "ASSAY_CONFIG=$tmp/assay.yaml" \
    "--port $port" "--port=$port" "--config $tmp/assay.yaml" "--config=$tmp/assay.yaml"; do
    # Takes the place of the command line of the first process.
    read -ra words <<<"$source"
    variable=UNUSED=
    if [[ $source == --* ]]; then
        printf '%s\0' assay serve "${words[@]}" --log-format json >"$tmp/cmdline"
    else
        printf '%s\0' assay serve >"$tmp/cmdline"
        variable=$source
    fi
    answer "$port" &
    server=$!
    healthy=no
    for _ in $(seq 100); do
        if env -u ASSAY_PORT "$variable" bash healthy.sh "$tmp/cmdline" 2>/dev/null; then
            healthy=yes
            break
        fi
        sleep 0.1
    done
    [[ $healthy == yes ]] || kill "$server"
    wait "$server" || true
    if [[ $healthy == no ]]; then
        echo "healthy.sh does not follow $source" >&2
        exit 1
    fi
done

command -v shellcheck >/dev/null && (cd .. && shellcheck -x docker/*.sh docker/image/*.sh tests/gpu/*.sh)
command -v hadolint >/dev/null && hadolint ./*.Dockerfile
echo 'docker/: all checks passed'
