-- The headers of the response to an attempt, a line for each. NULL where there was none, and for attempts before.
ALTER TABLE attempts ADD COLUMN response_headers TEXT;
