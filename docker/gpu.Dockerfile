# syntax=docker/dockerfile:1
# The server for NVIDIA GPUs, and build-engine: an engine only runs with the TensorRT version that built it, so one
# image has both. In the root of the repository:
#   docker build -f docker/gpu.Dockerfile -t assay:gpu .
#   docker run --gpus all -v MODELS:/models -v ENGINES:/engines assay:gpu \
#       build-engine --model /models/judge --target h100 --output /engines/judge
#   docker run --gpus all --shm-size 1g -v ENGINES:/engines -p 8000:8000 assay:gpu
# docker/build-image.sh builds the same file without a container runtime, over stand-ins for these base images.
# TensorRT-LLM is pinned to 1.2.1, the last stable release with the engine format that Assay uses.

ARG RUST=1.95.0
FROM rust:${RUST}-slim-bookworm AS rust

FROM nvcr.io/nvidia/tensorrt-llm/release:1.2.1 AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends \
        ca-certificates cmake g++ libdnnl-dev make && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins --features trtllm \
    && install -D -t /out target/release/assay target/release/build-engine

FROM nvcr.io/nvidia/tensorrt-llm/release:1.2.1
# OpenSSH starts the ranks of an engine on other nodes. The entry script makes a host key for each container: one that is
# part of the image would be known to everyone who has the image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libdnnl-dev libgomp1 openssh-client openssh-server \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* && mkdir -p /run/sshd \
    && useradd --uid 10001 --create-home --shell /bin/bash assay
COPY --from=build /out/ /usr/local/bin/
COPY --chmod=755 docker/entrypoint.sh docker/healthy.sh /usr/local/bin/
# Python looks up the user name, and a user id set with --user has none.
ENV USER=assay
USER 10001
WORKDIR /home/assay
# One or more engine directories. Only /tmp is written besides (by mpirun and trtllm-build): with a read-only root
# file system, mount a tmpfs there.
VOLUME /engines
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Assay" \
      org.opencontainers.image.description="An inference server for LLM reward models, with TensorRT-LLM" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD ["healthy.sh"]
# Replaces the entry point of the base image, which checks the driver and prints a banner.
ENTRYPOINT ["entrypoint.sh"]
