-- An operator's browser in the console, in place of the service key that opened it; it ends with that key.
CREATE TABLE console_sessions (
    id          TEXT   NOT NULL PRIMARY KEY,
    service     TEXT,                          -- what the key's service is called; none for the bootstrap key
    key_hash    BLOB   NOT NULL,               -- the keyed hash of that key
    secret_hash BLOB   NOT NULL UNIQUE,        -- the keyed hash of the cookie
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX console_sessions_ending ON console_sessions (expires_at);

-- The processes on this database, as each says of itself every few seconds.
CREATE TABLE processes (
    id         TEXT   NOT NULL PRIMARY KEY,
    role       TEXT   NOT NULL,                -- all, api, worker
    version    TEXT   NOT NULL,
    host       TEXT   NOT NULL,                -- what its machine is called, or empty
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    load       TEXT   NOT NULL                 -- JSON: what it has in hand
);

-- What each process counted, of all merchants together.
CREATE TABLE process_statistics (
    process_id TEXT   NOT NULL,
    starts_at  BIGINT NOT NULL,
    length_ms  BIGINT NOT NULL,
    counts     TEXT   NOT NULL,                -- JSON: numbers by name
    PRIMARY KEY (length_ms, starts_at, process_id)
);

-- When a part of the upkeep was last done.
ALTER TABLE upkeep_turns ADD COLUMN succeeded_at BIGINT;

-- Endpoints that fail, by since when.
CREATE INDEX failing_endpoints_by_time ON failing_endpoints (failing_since, webhook_endpoint_id);

-- What was done to one object.
CREATE INDEX audit_entries_of_object ON audit_entries (object_id, id);
