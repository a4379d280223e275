-- Ids are TEXT that sorts by time, bytewise; instants are BIGINT milliseconds since the Unix epoch.
-- The tables and columns are those of the embedded engine.

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE api_keys (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    merchant_id     TEXT COLLATE "C",              -- set for a merchant's key
    livemode        BOOLEAN,                       -- set for a merchant's key
    service         TEXT,                          -- set for an internal service's key
    publishable_key TEXT,
    secret_hash     BYTEA   NOT NULL UNIQUE,
    last4           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT
);
CREATE INDEX api_keys_of_merchant ON api_keys (merchant_id, id);

CREATE TABLE webhook_endpoints (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    merchant_id     TEXT COLLATE "C" NOT NULL,
    livemode        BOOLEAN NOT NULL,
    url             TEXT    NOT NULL,
    enabled_events  TEXT    NOT NULL,              -- a JSON list of types, or ["*"]
    description     TEXT,
    status          TEXT    NOT NULL,              -- enabled, disabled
    disabled_reason TEXT,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    deleted_at      BIGINT
);
CREATE INDEX webhook_endpoints_of_tenant ON webhook_endpoints (merchant_id, livemode, id) WHERE deleted_at IS NULL;
CREATE INDEX webhook_endpoints_deleted ON webhook_endpoints (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE signing_secrets (
    id                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    webhook_endpoint_id TEXT COLLATE "C" NOT NULL,
    key_id              TEXT   NOT NULL,           -- the encryption key it is sealed with
    ciphertext          BYTEA  NOT NULL,
    created_at          BIGINT NOT NULL,
    expires_at          BIGINT
);
CREATE INDEX signing_secrets_of_endpoint ON signing_secrets (webhook_endpoint_id, id);
CREATE INDEX signing_secrets_ending ON signing_secrets (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE events (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    merchant_id TEXT COLLATE "C" NOT NULL,
    livemode    BOOLEAN NOT NULL,
    type        TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,                  -- as the publisher dates it; the id says when it was accepted
    body        BYTEA   NOT NULL                   -- the bytes that every attempt sends
);
CREATE INDEX events_of_tenant ON events (merchant_id, livemode, id);

CREATE TABLE idempotency_keys (
    merchant_id TEXT COLLATE "C" NOT NULL,
    livemode    BOOLEAN NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA   NOT NULL,
    event_id    TEXT COLLATE "C" NOT NULL,
    expires_at  BIGINT  NOT NULL,
    PRIMARY KEY (merchant_id, livemode, key)
);
CREATE INDEX idempotency_keys_ending ON idempotency_keys (expires_at);

CREATE TABLE deliveries (
    id                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    merchant_id         TEXT COLLATE "C" NOT NULL,
    livemode            BOOLEAN NOT NULL,
    event_id            TEXT COLLATE "C" NOT NULL,
    webhook_endpoint_id TEXT COLLATE "C" NOT NULL,
    status              TEXT    NOT NULL,          -- pending, held, succeeded, abandoned
    abandoned_reason    TEXT,
    attempt_count       INTEGER NOT NULL,
    ladder_failures     INTEGER NOT NULL,          -- failures on the present ladder
    window_started_at   BIGINT  NOT NULL,          -- when the present ladder began
    next_attempt_at     BIGINT,                    -- set while pending
    claimable_at        BIGINT,                    -- set while pending: next_attempt_at, or the end of the lease
    lease_token         TEXT,
    created_at          BIGINT  NOT NULL
);
-- The queue: open work only, so finished rows cost it nothing; by endpoint first, so that claims are fair.
CREATE INDEX deliveries_pending ON deliveries (webhook_endpoint_id, claimable_at) WHERE status = 'pending';
CREATE INDEX deliveries_held ON deliveries (webhook_endpoint_id, window_started_at) WHERE status = 'held';
CREATE INDEX deliveries_of_event ON deliveries (event_id, id);
CREATE INDEX deliveries_of_endpoint ON deliveries (webhook_endpoint_id, id);

CREATE TABLE attempts (
    delivery_id     TEXT COLLATE "C" NOT NULL,
    number          INTEGER NOT NULL,
    id              TEXT COLLATE "C" NOT NULL,
    started_at      BIGINT  NOT NULL,
    duration_ms     BIGINT  NOT NULL,
    response_status INTEGER,
    failure_code    TEXT,
    failure_message TEXT,
    response_body   BYTEA,
    address         TEXT,
    PRIMARY KEY (delivery_id, number)
);
