-- Which span of the publisher's trace an event was accepted in, as the header `traceparent` writes it.
ALTER TABLE events ADD COLUMN traceparent TEXT;
