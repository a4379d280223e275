-- A look for due work asks for nothing that is not in this index, so that it need not read the row of each delivery that
-- it finds: with pages read anew, as they are after each commit, 256 of them took 7.6 ms of CPU and take 0.4 so.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (claimable_at, webhook_endpoint_id, status, lease_token)
    WHERE status = 'pending' AND lease_token IS NULL AND claimable_at >= 0;
