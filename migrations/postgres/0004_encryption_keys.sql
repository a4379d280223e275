-- What an encryption key has sealed, so that it can be moved to another.
CREATE INDEX signing_secrets_by_key ON signing_secrets (key_id, id);
