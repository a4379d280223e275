-- Deliveries that wait are apart from those that are leased: most are leased as they are made and finished before the
-- lease ends, so they cost the index by endpoint, which has a place for each, nothing.
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_waiting ON deliveries (webhook_endpoint_id, claimable_at)
    WHERE status = 'pending' AND lease_token IS NULL;
-- What is due first, whatever its endpoint: a look for due work costs what is due, not how many endpoints have open work.
-- The comparison with zero, here and below, is always true: only statements that make it too can go by these indexes.
CREATE INDEX deliveries_due ON deliveries (claimable_at)
    WHERE status = 'pending' AND lease_token IS NULL AND claimable_at >= 0;
-- Which leases end first, and whose they are.
CREATE INDEX deliveries_leased ON deliveries (claimable_at, webhook_endpoint_id)
    WHERE status = 'pending' AND lease_token IS NOT NULL AND claimable_at >= 0;
-- The few endpoints whose deliveries may be out of line with them.
CREATE INDEX webhook_endpoints_off ON webhook_endpoints (id) WHERE status = 'disabled' OR deleted_at IS NOT NULL;

-- Every delivery is updated when it is recorded. Without vacuum the indexes of open work fill with entries of finished
-- work, which every look for due work passes: it runs by number, not by share of a table that may have grown large.
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000,
                            autovacuum_vacuum_cost_delay = 0);
