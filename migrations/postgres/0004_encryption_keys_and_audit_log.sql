-- What an encryption key has sealed, so that it can be moved to another.
CREATE INDEX signing_secrets_sealed ON signing_secrets (key_id, id);

-- Who did what to endpoints and keys.
CREATE TABLE audit_entries (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created_at  BIGINT           NOT NULL,
    merchant_id TEXT COLLATE "C",              -- set where it is about a merchant's object
    livemode    BOOLEAN,                       -- set beside it
    actor_kind  TEXT             NOT NULL,     -- merchant_key, service_key, bootstrap_key, command_line, service
    actor_id    TEXT COLLATE "C",
    actor_name  TEXT,
    action      TEXT             NOT NULL,     -- such as webhook_endpoint.created
    object_id   TEXT COLLATE "C" NOT NULL,
    changes     TEXT             NOT NULL,     -- JSON: old and new values by name, never secrets
    request_id  TEXT COLLATE "C"
);
CREATE INDEX audit_entries_of_tenant ON audit_entries (merchant_id, livemode, id);
