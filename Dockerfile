# syntax=docker/dockerfile:1
# The server by itself: no shell, no package manager, not root.
#
#   docker build -t redvault .
#   docker run -d --name vault -p 127.0.0.1:6379:6379 -v vault:/data redvault /etc/redvault/redvault.conf --requirepass SECRET
#   docker exec -it -e REDISCLI_AUTH=SECRET vault redvault cli
#
# Without a password, and with protected-mode as it is, only `docker exec` reaches it.

FROM rust:1.89-slim-bookworm AS build
# make and a C compiler are for the allocator and Lua.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
# Cargo.toml names the tests; their sources are not needed.
RUN mkdir -p tests/it tests/sim \
    && touch tests/it/main.rs tests/sim/main.rs tests/tidy.rs \
    && cargo build --release --locked --bin redvault \
    && strip --strip-debug target/release/redvault
COPY redvault.conf ./
# The container's own addresses are the only ones there are.
RUN mkdir -p /image/usr/local/bin /image/etc/redvault /image/data \
    && cp target/release/redvault /image/usr/local/bin/ \
    && ln -s redvault /image/usr/local/bin/redvault-cli \
    && sed -e 's|^dir .*|dir /data|' -e 's|^bind .*|bind * -::*|' redvault.conf >/image/etc/redvault/redvault.conf

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr/local/bin /usr/local/bin
COPY --from=build --chown=65532:65532 /image/etc/redvault /etc/redvault
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 6379
STOPSIGNAL SIGTERM
# A server that loads its data set is starting; one that asks for a password is well.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/redvault", "ping"]
ENTRYPOINT ["/usr/local/bin/redvault"]
CMD ["/etc/redvault/redvault.conf"]
