-- A start reads all of the newest entries, so it needs no index of the consumptions.
DROP INDEX leaf_dated;
-- A start reads all revocations.
CREATE INDEX leaf_revocation ON leaf (idx) WHERE kind = 6;
