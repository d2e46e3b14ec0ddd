# syntax=docker/dockerfile:1
# The server for CPUs. In the root of the repository:
#   docker build -f docker/cpu.Dockerfile -t assay:cpu .
#   docker run -v ENGINES:/engines -p 8000:8000 assay:cpu

FROM debian:bookworm-slim AS build
ARG RUST=1.95.0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends \
        ca-certificates cmake curl g++ libdnnl-dev make && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/opt/cargo RUSTUP_HOME=/opt/rustup PATH=/opt/cargo/bin:$PATH
RUN curl -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path --profile minimal --default-toolchain "$RUST"
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/opt/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins && install -D -t /out target/release/assay target/release/build-engine

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates libdnnl2 libgomp1 \
    && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --create-home --shell /bin/bash assay
COPY --from=build /out/ /usr/local/bin/
COPY --chmod=755 docker/entrypoint.sh docker/healthy.sh /usr/local/bin/
USER 10001
WORKDIR /home/assay
# One or more engine directories. Nothing else is read or written, so the root file system may be read-only.
VOLUME /engines
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD ["healthy.sh"]
ENTRYPOINT ["entrypoint.sh"]
