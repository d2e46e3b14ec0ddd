# Base images under the names that the Dockerfiles have, made on this machine. Sourced by build-image.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154 # build-image.sh sets the folder.

# The root of a Debian, with the certificate authorities that were added to this machine, for networks that need them.
# MIRROR replaces debootstrap's own mirror.
debian_root() { # SUITE [PACKAGES]
    local suite=$1 packages=${2-} base=$folder/$1
    if [[ -e $base/.complete ]]; then
        return
    fi
    rm -rf "$base"
    debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$base" ${MIRROR:+"$MIRROR"}
    local mirror
    mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p' "$base/etc/apt/sources.list" | head -n 1)
    cat >"$base/etc/apt/sources.list" <<END
deb $mirror $suite main
deb $mirror $suite-updates main
deb $mirror-security $suite-security main
END
    rm -rf "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
    mkdir -p "$base/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$base/usr/local/share/ca-certificates/" 2>/dev/null || true
    touch "$base/.complete"
}

has_image() { # NAME
    buildah images --quiet "$1" 2>/dev/null | grep -q .
}

image_of() { # NAME DIRECTORY: an image with the directory's content as its root
    local from
    from=$(buildah from scratch)
    buildah copy --quiet "$from" "$2" / >/dev/null
    buildah config --cmd bash "$from"
    buildah commit --quiet --rm "$from" "$1"
}

# With the packages that `debian:bookworm-slim` has.
make_cpu_bases() {
    local name=docker.io/library/debian:bookworm-slim
    debian_root bookworm
    has_image $name || image_of $name "$folder/bookworm"
}

# The Rust of this machine, where the image `rust` has it; and Debian 13 with the stand-ins for TensorRT-LLM, for
# `trtllm-build` and for `mpirun`. The real base is Ubuntu 24.04, which also has oneDNN 3.
make_gpu_bases() {
    local rust toolchain name
    rust=$(sed -n 's/^ARG RUST=//p' docker/gpu.Dockerfile)
    toolchain=$(rustup run "$rust" rustc --print sysroot)
    name=docker.io/library/rust:$rust-slim-bookworm
    has_image "$name" || image_of "$name" "$(rust_root "$rust" "$toolchain")"

    name=$(sed -n 's/^FROM \(nvcr[^ ]*\)$/\1/p' docker/gpu.Dockerfile)
    make stand-in >/dev/null
    debian_root trixie python3-minimal
    local base=$folder/trixie
    rm -rf "$base/app"
    install -d "$base/app"
    cp -r build/trtllm-stand-in "$base/app/tensorrt_llm"
    install tests/it/build_engine/trtllm-build.sh "$base/usr/local/bin/trtllm-build"
    install tests/trtllm/mpirun "$base/usr/local/bin/mpirun"
    # A changed stand-in gives a new image, and with it new layers.
    local content
    content=$(cd "$base" && find app usr/local/bin -type f -exec sha256sum {} + | sort | sha256sum | cut -c1-64)
    if [[ $(cat "$folder/stand-in.sha256" 2>/dev/null) != "$content" ]] || ! has_image "$name"; then
        image_of "$name" "$base"
        echo "$content" >"$folder/stand-in.sha256"
    fi
}

# rustup's layout, without documentation and sources. Prints the directory.
rust_root() { # VERSION TOOLCHAIN
    local base=$folder/rust
    local home=$base/usr/local/rustup bin=$base/usr/local/cargo/bin
    rm -rf "$base"
    mkdir -p "$home/toolchains" "$bin"
    cp -rL "$2" "$home/toolchains/$1"
    rm -rf "$home/toolchains/$1"/share/doc "$home/toolchains/$1"/lib/rustlib/src
    local program
    for program in cargo rustc; do
        ln -s "/usr/local/rustup/toolchains/$1/bin/$program" "$bin/$program"
    done
    echo "$base"
}
