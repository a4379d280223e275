FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock config.toml ./
COPY .cargo ./.cargo
COPY src ./src
COPY migrations ./migrations
COPY benches ./benches
RUN cargo build --release --locked --bin k-webhooks

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 k-webhooks && install -d -o k-webhooks /var/lib/k-webhooks
COPY --from=build /src/target/release/k-webhooks /usr/local/bin/k-webhooks
USER k-webhooks
WORKDIR /var/lib/k-webhooks
ENV K_WEBHOOKS__DATABASE__URL=sqlite:///var/lib/k-webhooks/k-webhooks.db \
    K_WEBHOOKS__SERVER__LISTEN=0.0.0.0:8080 \
    K_WEBHOOKS__INTERNAL__LISTEN=0.0.0.0:8081
VOLUME /var/lib/k-webhooks
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s CMD curl -fsS http://127.0.0.1:8081/readyz || exit 1
ENTRYPOINT ["k-webhooks"]
CMD ["serve"]
