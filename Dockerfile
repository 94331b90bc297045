# syntax=docker/dockerfile:1
# SQLite and ring are compiled with the C compiler that this image has for its linker.
FROM rust:1.95-slim-bookworm AS manifest
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# A stand-in for every file that the manifest names, so that what follows depends on the manifest and the lock file alone.
RUN mkdir -p src benches \
    && for bench in $(sed -n '/^\[\[bench\]\]/,/^name/s/^name = "\(.*\)"/\1/p' Cargo.toml); do \
        echo 'fn main() {}' > "benches/$bench.rs"; \
    done \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs

# What is in the program: every crate with its version, digest and licence, from the lock file.
FROM manifest AS sbom
RUN CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install --locked --root /usr/local --version =0.5.9 cargo-cyclonedx
# Offline behind the fetch: the lock file is taken as it is.
RUN cargo fetch --locked \
    && CARGO_NET_OFFLINE=true SOURCE_DATE_EPOCH=0 \
        cargo cyclonedx --format json --spec-version 1.5 --override-filename sbom.cdx

FROM manifest AS build
# The dependencies alone first: they change seldom, and this layer is kept as long as they do not.
RUN cargo build --release --locked && rm -rf src benches
COPY src src
COPY benches benches
COPY config config
# Newer than the stand-ins above, or cargo would take those for up to date.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/extender-facade --shell /usr/sbin/nologin facade \
    && install -d -o facade -g facade -m 0700 /var/lib/extender-facade \
    && install -d -m 0755 /etc/extender-facade
# Replaced by the file that is mounted over it. No variables: they would outrank that file.
COPY config/container.toml /etc/extender-facade/facade.toml
COPY --from=build /src/target/release/extender-facade /usr/local/bin/extender-facade
COPY --from=sbom /src/sbom.cdx.json /usr/share/doc/extender-facade/sbom.cdx.json
COPY LICENSE /usr/share/doc/extender-facade/LICENSE
USER 10001
WORKDIR /var/lib/extender-facade
EXPOSE 8090
VOLUME ["/var/lib/extender-facade"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["extender-facade", "healthcheck", "--config", "/etc/extender-facade/facade.toml"]
ENTRYPOINT ["extender-facade"]
CMD ["serve", "--config", "/etc/extender-facade/facade.toml"]
