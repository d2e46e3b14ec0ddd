#!/usr/bin/env bash
# Builds an image from its Dockerfile as it is, on a machine where no container runtime may run, and tries it: the entry
# script, the health check and scores, as the image's user and with a root that cannot be written.
#   docker/build-image.sh cpu [FOLDER]
#   docker/build-image.sh gpu [FOLDER]
# FOLDER, by default build/image, keeps the base images and buildah's storage: up to 6 GB for cpu and 12 GB for gpu.
# Needs root, and Debian's packages buildah, debootstrap and util-linux; gpu also needs cmake, g++ and rustup. Takes as
# long as a release build.
#
# No image is pulled: bases.sh makes images with the names of the bases. Those for gpu hold the stand-in for TensorRT-LLM
# of tests/trtllm instead of the library, so that no GPU is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1-}
if [[ $kind != cpu && $kind != gpu ]]; then
    echo 'usage: docker/build-image.sh cpu|gpu [FOLDER]' >&2
    exit 2
fi
folder=$(realpath -m "${2:-build/image}")
mkdir -p "$folder"
export TMPDIR=$folder
buildah() { command buildah --root "$folder/storage" --runroot "$folder/run" --storage-driver vfs "$@"; }

# shellcheck source=docker/image/bases.sh
. docker/image/bases.sh
# shellcheck source=docker/image/inside.sh
. docker/image/inside.sh

"make_${kind}_bases"
started=$SECONDS
buildah build --isolation chroot --format docker --pull-never -f "docker/$kind.Dockerfile" -t "assay:$kind" .
echo "built in $((SECONDS - started)) s"

container=$(buildah from --pull-never "assay:$kind")
trap 'buildah rm "$container" >/dev/null' EXIT
root=$(buildah mount "$container")
echo "size: $(du -sm "$root" | cut -f1) MB"
buildah inspect --type image --format '{{.OCIv1.Config.Labels}} {{.Docker.Config.Healthcheck}}' "assay:$kind"
if inside bash -c 'touch /usr/local/x' 2>/dev/null; then
    fail 'the root file system can be written'
fi
# shellcheck source=docker/image/try-cpu.sh
. "docker/image/try-$kind.sh"
echo 'the image was built, and serves as its user with a read-only root'
