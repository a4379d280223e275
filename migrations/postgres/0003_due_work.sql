-- What is due first, whatever its endpoint: a look for due work costs what is due, not how many endpoints have open work.
CREATE INDEX deliveries_due ON deliveries (claimable_at) WHERE status = 'pending';
-- The few endpoints whose deliveries may be out of line with them.
CREATE INDEX webhook_endpoints_off ON webhook_endpoints (id) WHERE status = 'disabled' OR deleted_at IS NOT NULL;

-- Every delivery is updated when it is recorded. Without vacuum the indexes of open work fill with entries of finished
-- work, which every look for due work passes: it runs by number, not by share of a table that may have grown large.
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000,
                            autovacuum_vacuum_cost_delay = 0);
