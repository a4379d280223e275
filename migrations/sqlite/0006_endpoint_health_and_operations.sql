-- Endpoints that fail: a row from the first failure after the last success until the next success.
CREATE TABLE failing_endpoints (
    webhook_endpoint_id TEXT   NOT NULL PRIMARY KEY,
    failing_since       BIGINT NOT NULL,           -- when the first of these failures was made
    counted_from        BIGINT NOT NULL,           -- since when attempts were made all along
    step                TEXT   NOT NULL,           -- quiet, told, warned, warned_last, disabled
    next_step_at        BIGINT                     -- the first failure from then on takes the next step
) WITHOUT ROWID;

-- What was seen last of each endpoint.
CREATE TABLE latest_outcomes (
    webhook_endpoint_id  TEXT NOT NULL PRIMARY KEY,
    last_success_at      BIGINT,
    last_failure_at      BIGINT,
    last_failure_code    TEXT,
    last_failure_message TEXT
) WITHOUT ROWID;

-- How many attempts and deliveries came to what, by endpoint and time.
CREATE TABLE statistics (
    merchant_id              TEXT NOT NULL,
    livemode                 BOOLEAN NOT NULL,
    webhook_endpoint_id      TEXT NOT NULL,
    starts_at                BIGINT NOT NULL,
    length_ms                BIGINT NOT NULL,      -- of the bucket: it is rolled up into a longer one as it ages
    succeeded                BIGINT NOT NULL,      -- attempts, here and below by failure code
    failed_http_status       BIGINT NOT NULL,
    failed_redirect          BIGINT NOT NULL,
    failed_timeout           BIGINT NOT NULL,
    failed_dns               BIGINT NOT NULL,
    failed_connection        BIGINT NOT NULL,
    failed_tls               BIGINT NOT NULL,
    failed_address_forbidden BIGINT NOT NULL,
    failed_protocol          BIGINT NOT NULL,
    deliveries_succeeded     BIGINT NOT NULL,
    deliveries_abandoned     BIGINT NOT NULL,
    within_5_ms              BIGINT NOT NULL,      -- attempts that were answered, by how long that took
    within_10_ms             BIGINT NOT NULL,
    within_20_ms             BIGINT NOT NULL,
    within_35_ms             BIGINT NOT NULL,
    within_50_ms             BIGINT NOT NULL,
    within_75_ms             BIGINT NOT NULL,
    within_100_ms            BIGINT NOT NULL,
    within_150_ms            BIGINT NOT NULL,
    within_200_ms            BIGINT NOT NULL,
    within_350_ms            BIGINT NOT NULL,
    within_500_ms            BIGINT NOT NULL,
    within_750_ms            BIGINT NOT NULL,
    within_1000_ms           BIGINT NOT NULL,
    within_2000_ms           BIGINT NOT NULL,
    within_5000_ms           BIGINT NOT NULL,
    within_10000_ms          BIGINT NOT NULL,
    within_30000_ms          BIGINT NOT NULL,
    longer                   BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms)
) WITHOUT ROWID;
CREATE INDEX statistics_by_age ON statistics (length_ms, starts_at);

-- Abandoned deliveries, for who polls them: each gets its place in their order once it is committed, one process at a
-- time, so that none is passed over whose transaction ended late.
ALTER TABLE deliveries ADD COLUMN abandoned_at BIGINT;
ALTER TABLE deliveries ADD COLUMN abandoned_position BIGINT;
CREATE INDEX deliveries_abandoned_anew ON deliveries (abandoned_at)
    WHERE status = 'abandoned' AND abandoned_position IS NULL;
CREATE INDEX deliveries_abandoned ON deliveries (abandoned_position)
    WHERE status = 'abandoned' AND abandoned_position IS NOT NULL;
CREATE INDEX deliveries_abandoned_of_tenant ON deliveries (merchant_id, livemode, abandoned_position)
    WHERE status = 'abandoned' AND abandoned_position IS NOT NULL;
