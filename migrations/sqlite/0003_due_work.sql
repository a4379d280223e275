-- What is due first, whatever its endpoint: a look for due work costs what is due, not how many endpoints have open work.
CREATE INDEX deliveries_due ON deliveries (claimable_at) WHERE status = 'pending';
-- The few endpoints whose deliveries may be out of line with them.
CREATE INDEX webhook_endpoints_off ON webhook_endpoints (id) WHERE status = 'disabled' OR deleted_at IS NOT NULL;
