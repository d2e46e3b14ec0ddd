#!/usr/bin/env bash
# Builds docker/cpu.Dockerfile as it is on a machine where no container runtime may run, and tries the image: the entry
# script, the health check and a score, as the image's user and with a root that cannot be written.
#   docker/build-image.sh [FOLDER]    FOLDER keeps the base image and buildah's storage; about 6 GB
# Needs root, and Debian's packages buildah, debootstrap and util-linux. Takes as long as a release build.
#
# The base is made by debootstrap, with the packages that the image `debian:bookworm-slim` has, instead of being pulled.
# It has the certificate authorities that were added to this machine, for networks that need them.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-build/image}")
mirror=${MIRROR:-http://deb.debian.org/debian}
mkdir -p "$folder"
export TMPDIR=$folder
buildah() { command buildah --root "$folder/storage" --runroot "$folder/run" --storage-driver vfs "$@"; }

base=$folder/bookworm
if [[ ! -e $base/etc/apt/sources.list ]] || ! grep -q security "$base/etc/apt/sources.list"; then
    rm -rf "$base"
    debootstrap --variant=minbase bookworm "$base" "$mirror"
    cat >"$base/etc/apt/sources.list" <<END
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb $mirror-security bookworm-security main
END
    rm -rf "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
    mkdir -p "$base/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$base/usr/local/share/ca-certificates/" 2>/dev/null || true
fi
if ! buildah images --quiet docker.io/library/debian:bookworm-slim 2>/dev/null | grep -q .; then
    from=$(buildah from scratch)
    buildah copy --quiet "$from" "$base" / >/dev/null
    buildah config --cmd bash "$from"
    buildah commit --quiet --rm "$from" docker.io/library/debian:bookworm-slim
fi

started=$SECONDS
buildah build --layers --isolation chroot --format docker --pull-never -f docker/cpu.Dockerfile -t assay:cpu .
echo "built in $((SECONDS - started)) s"

# --- Tries the image ---

container=$(buildah from --pull-never assay:cpu)
trap 'buildah rm "$container" >/dev/null' EXIT
root=$(buildah mount "$container")
echo "size: $(du -sm "$root" | cut -f1) MB"
buildah inspect --type image --format '{{.OCIv1.Config.Labels}} {{.Docker.Config.Healthcheck}}' assay:cpu

# The demo checkpoint takes the place of a volume, and the cache is writable.
mkdir -p "$root/engines"
cp -r engines/demo/. "$root/engines/"
port=$((20000 + RANDOM % 20000))
# A name space of its own for mounts, in which the root is read-only but for the volume and /tmp.
inside() { # COMMAND ...: runs it in the image, as its user
    # shellcheck disable=SC2016 # The inner shell expands the variables.
    unshare --mount --pid --fork --kill-child bash -c '
        root=$1 port=$2; shift 2
        mount --bind "$root" "$root" && mount --bind "$root/cache" "$root/cache"
        mount -o remount,ro,bind "$root" && mount -o remount,rw,bind "$root/cache"
        mount -t tmpfs tmpfs "$root/tmp" && mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/assay ASSAY_CACHE=/cache ASSAY_PORT="$port" \
            /usr/sbin/chroot --userspec=10001:10001 "$root" "$@"
    ' try "$root" "$port" "$@"
}
if inside bash -c 'touch /usr/local/x' 2>/dev/null; then
    echo 'the root file system can be written' >&2
    exit 1
fi
inside entrypoint.sh --host 127.0.0.1 >"$folder/server.log" 2>&1 &
server=$!
for _ in $(seq 300); do
    if healthy=$(ASSAY_PORT=$port bash "$root/usr/local/bin/healthy.sh" 2>&1); then
        break
    fi
    kill -0 "$server" 2>/dev/null || { cat "$folder/server.log" >&2; exit 1; }
    sleep 0.2
done
[[ -z $healthy ]] || { echo "the server did not become healthy: $healthy" >&2; exit 1; }
grep -a ready "$folder/server.log"
body='{"messages": [{"role": "user", "content": "What is 1+1?"}], "responses": ["2", "3"]}'
scores=$(python3 - "$port" "$body" <<'END'
import json, sys, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/rewards", sys.argv[2].encode())
print(json.dumps([item["scores"] for item in json.load(urllib.request.urlopen(request))["data"]]))
END
)
echo "scores: $scores"
kill "$server"
wait "$server" || true
echo 'the image was built, and serves as its user with a read-only root'
