-- Which parts of the upkeep are taken, so that of several processes one at a time does each.

CREATE TABLE upkeep_turns (
    name    TEXT   NOT NULL PRIMARY KEY,
    free_at BIGINT NOT NULL                        -- from then on, any process may take it
);
