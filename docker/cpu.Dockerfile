# syntax=docker/dockerfile:1
# The server for CPUs. In the root of the repository:
#   docker build -f docker/cpu.Dockerfile -t assay:cpu .
#   docker run -p 8000:8000 -v ./CHECKPOINT:/engines:ro -v assay-cache:/cache assay:cpu
# docker/build-image.sh builds the same file without a container runtime, and tries the image.

FROM debian:bookworm-slim AS build
# Debian keeps a Rust for its browsers up to date: 1.96 at the time of writing; Cargo.toml has the oldest that works.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends \
        ca-certificates cargo-web cmake g++ libdnnl-dev make rustc-web && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/opt/cargo
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/opt/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins && install -D -t /out target/release/assay target/release/build-engine

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates libdnnl2 libgomp1 \
    && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --create-home --shell /bin/bash assay \
    && install -d -o assay -g assay /cache
COPY --from=build /out/ /usr/local/bin/
COPY --chmod=755 docker/entrypoint.sh docker/healthy.sh /usr/local/bin/
USER 10001
WORKDIR /home/assay
# Engine directories, or a checkpoint, whose engine is then built into the cache. Nothing else is read or written, so the
# root file system may be read-only.
ENV ASSAY_CACHE=/cache
VOLUME ["/engines", "/cache"]
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Assay" \
      org.opencontainers.image.description="An inference server for LLM reward models" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD ["healthy.sh"]
ENTRYPOINT ["entrypoint.sh"]
