# Running commands in a mounted image without a container runtime. Sourced by build-image.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154 # build-image.sh sets the folder and the root.

port=$((20000 + RANDOM % 20000))
# What writable volumes there are besides /tmp, and variables for the command, as `docker run` would have them.
volumes=()
variables=()

fail() { # MESSAGE
    echo "$1" >&2
    exit 1
}

# Runs a command in the image as its user. In a name space of its own for mounts, the root is read-only except for the
# volumes and /tmp.
inside() { # COMMAND ...
    local names=${volumes[*]-}
    # shellcheck disable=SC2016 # The inner shell expands the variables.
    unshare --mount --pid --fork --kill-child bash -c '
        root=$1 volumes=$2; shift 2
        mount --bind "$root" "$root"
        for volume in $volumes; do mount --bind "$root$volume" "$root$volume"; done
        mount -o remount,ro,bind "$root"
        for volume in $volumes; do mount -o remount,rw,bind "$root$volume"; done
        mount -t tmpfs tmpfs "$root/tmp" && mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec /usr/sbin/chroot --userspec=10001:10001 "$root" "$@"
    ' try "$root" "$names" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/assay \
        ASSAY_PORT="$port" "${variables[@]}" "$@"
}

# Starts the entry script and waits until the health check succeeds.
serve() { # OPTION ...
    inside entrypoint.sh --host 127.0.0.1 "$@" >"$folder/server.log" 2>&1 &
    server=$!
    local healthy
    for _ in $(seq 1500); do
        if healthy=$(ASSAY_PORT=$port bash "$root/usr/local/bin/healthy.sh" 2>&1); then
            grep -a ready "$folder/server.log"
            return
        fi
        kill -0 "$server" 2>/dev/null || { cat "$folder/server.log" >&2; exit 1; }
        sleep 0.2
    done
    fail "the server did not become healthy: $healthy"
}

# Asks for the scores of two responses, and prints them.
score() {
    python3 - "$port" <<'END'
import json, sys, urllib.request
body = {"messages": [{"role": "user", "content": "What is 1+1?"}], "responses": ["2", "3"]}
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/rewards", json.dumps(body).encode())
print(json.dumps([item["scores"] for item in json.load(urllib.request.urlopen(request))["data"]]))
END
}

# Stops the server as `docker stop` does, by SIGTERM to the first process, which must end with status 0.
stop() {
    local outer first ended=0
    outer=$(pgrep --parent "$server" --exact unshare || echo "$server")
    first=$(pgrep --parent "$outer")
    kill "$first"
    wait "$server" || ended=$?
    [[ $ended == 0 ]] || fail "the server ended with status $ended: $(tail -n 5 "$folder/server.log")"
}
