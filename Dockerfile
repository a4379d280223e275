FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs config.toml ./
COPY .cargo ./.cargo
COPY src ./src
COPY migrations ./migrations
COPY sdks/rust ./sdks/rust
COPY benches ./benches
RUN cargo build --release --locked --bin k-webhooks

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 k-webhooks && useradd --system --uid 10001 --gid 10001 k-webhooks \
    && install -d -o k-webhooks -g k-webhooks -m 0700 /var/lib/k-webhooks
COPY --from=build /src/target/release/k-webhooks /usr/local/bin/k-webhooks
COPY deploy/image.toml /etc/k-webhooks/config.toml
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /etc/k-webhooks
# Production needs K_WEBHOOKS__SECURITY__ENCRYPTION_KEY, and says so. Nothing is written but below /var/lib/k-webhooks: run it
# with a read-only root file system, without capabilities and with no new privileges.
ENV K_WEBHOOKS__MODE=production \
    K_WEBHOOKS__SERVER__LISTEN=0.0.0.0:8080 \
    K_WEBHOOKS__INTERNAL__LISTEN=0.0.0.0:8081
VOLUME /var/lib/k-webhooks
# The internal listener is not exposed: publish 8081 into a private network alone.
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=4s CMD ["k-webhooks", "healthcheck"]
ENTRYPOINT ["k-webhooks"]
CMD ["serve"]
