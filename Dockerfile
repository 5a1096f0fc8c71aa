# syntax=docker/dockerfile:1
# Two images from one build: `--target tieline` (the default) and `--target tieline-sim`. No container engine runs where tieline is
# tested, so no image was ever built there.

# The oldest Rust that the project promises (rust-version in Cargo.toml); the image brings the C compiler, OpenSSL and zlib.
FROM rust:1.89-bookworm AS build
WORKDIR /src
COPY . .
# The demo carries the simulator and the scripts of the tests' servers, so the service is built without it.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release -p tieline --no-default-features --features kafka,nats \
 && cargo build --locked --release -p tieline-sim \
 && install -D --strip --target-directory=/out target/release/tieline target/release/tieline-sim

FROM debian:bookworm-slim AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/tieline tieline \
 && install -d -o tieline -g tieline -m 0700 /var/lib/tieline
USER tieline
WORKDIR /var/lib/tieline

FROM runtime AS tieline-sim
COPY --from=build /out/tieline-sim /usr/local/bin/
ENTRYPOINT ["tieline-sim"]

FROM runtime AS tieline
COPY --from=build /out/tieline /usr/local/bin/
# Dead letters: events that a sink can never take, with the reason.
VOLUME /var/lib/tieline
# SIGTERM drains; give it the time: docker stop --time 60.
ENTRYPOINT ["tieline"]
CMD ["run", "/etc/tieline/tieline.toml"]
