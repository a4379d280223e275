-- A merchant's browser in the portal. Until its link has been opened, secret_hash is that of the link; then of the cookie.
CREATE TABLE portal_sessions (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    merchant_id TEXT COLLATE "C" NOT NULL,
    livemode    BOOLEAN          NOT NULL,
    access      TEXT             NOT NULL,     -- read_only, full
    accent      TEXT,                          -- #rrggbb
    appearance  TEXT             NOT NULL,     -- light, dark, auto
    secret_hash BYTEA            NOT NULL UNIQUE,
    created_at  BIGINT           NOT NULL,
    opened_at   BIGINT,                        -- set when the link was opened
    expires_at  BIGINT           NOT NULL
);
CREATE INDEX portal_sessions_of_merchant ON portal_sessions (merchant_id, id);
CREATE INDEX portal_sessions_ending ON portal_sessions (expires_at);
