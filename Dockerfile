# syntax=docker/dockerfile:1
# SQLite and ring are compiled with the C compiler that this image has for its linker.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# The dependencies alone first: they change seldom, and this layer is kept as long as they do not.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs benches/store.rs benches/lookups.rs > benches/identity.rs \
    && touch src/lib.rs \
    && cargo build --release --locked \
    && rm -rf src benches
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
USER 10001
WORKDIR /var/lib/extender-facade
EXPOSE 8090
VOLUME ["/var/lib/extender-facade"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["extender-facade", "healthcheck", "--config", "/etc/extender-facade/facade.toml"]
ENTRYPOINT ["extender-facade"]
CMD ["serve", "--config", "/etc/extender-facade/facade.toml"]
