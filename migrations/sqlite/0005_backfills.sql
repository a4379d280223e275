-- Deliveries of past events to one endpoint, made on request at a pace.
CREATE TABLE backfills (
    id                  TEXT    NOT NULL PRIMARY KEY,
    merchant_id         TEXT    NOT NULL,
    livemode            BOOLEAN NOT NULL,
    webhook_endpoint_id TEXT    NOT NULL,
    created_from        BIGINT  NOT NULL,          -- the events' dates, both ends included
    created_to          BIGINT  NOT NULL,
    types               TEXT    NOT NULL,          -- a JSON list of types, or ["*"]
    scope               TEXT    NOT NULL,          -- undelivered, all
    per_second          INTEGER NOT NULL,
    status              TEXT    NOT NULL,          -- running, paused, completed, canceled
    status_reason       TEXT,                      -- where the service paused or canceled it
    matched             BIGINT  NOT NULL,          -- events found when it was made
    counted_all         BOOLEAN NOT NULL,          -- whether all events were looked at for that
    sent                BIGINT  NOT NULL,          -- deliveries made so far
    place_created_at    BIGINT  NOT NULL,          -- how far it is in the order of the events' dates
    place_event_id      TEXT    NOT NULL,          -- the last event of that date that was looked at, or empty
    ends_with           TEXT    NOT NULL,          -- the event that was accepted last when it was made, or empty
    second_began_at     BIGINT  NOT NULL,          -- the second that is paced
    made_in_second      INTEGER NOT NULL,
    created_at          BIGINT  NOT NULL,
    updated_at          BIGINT  NOT NULL,
    finished_at         BIGINT
);
-- One at a time for an endpoint, whoever asks.
CREATE UNIQUE INDEX backfills_unfinished ON backfills (webhook_endpoint_id) WHERE status IN ('running', 'paused');
CREATE INDEX backfills_running ON backfills (id) WHERE status = 'running';
CREATE INDEX backfills_of_endpoint ON backfills (webhook_endpoint_id, id);
CREATE INDEX backfills_finished ON backfills (finished_at) WHERE finished_at IS NOT NULL;

-- Which backfill made a delivery.
ALTER TABLE deliveries ADD COLUMN backfill_id TEXT;
CREATE INDEX deliveries_of_backfill ON deliveries (backfill_id, status, next_attempt_at) WHERE backfill_id IS NOT NULL;

-- The only endpoint that an event is for: a test, which no backfill may send to another.
ALTER TABLE events ADD COLUMN only_endpoint_id TEXT;

-- A merchant's events in the order of their dates: what looks at those of a range costs what the range has, however many
-- there are. The comparison with zero is always true: only statements that make it too can go by this index, and none that
-- ask for an event by its id.
CREATE INDEX events_dated ON events (merchant_id, livemode, created_at, id) WHERE created_at >= 0;
