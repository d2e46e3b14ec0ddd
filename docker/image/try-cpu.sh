# Tries the image for CPUs: the demo checkpoint takes the place of a volume, and the cache is writable.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # build-image.sh sets the root; inside.sh reads the rest.
volumes=(/cache)
variables=(ASSAY_CACHE=/cache)
mkdir -p "$root/engines"
cp -r engines/demo/. "$root/engines/"
serve
echo "scores: $(score)"
stop
