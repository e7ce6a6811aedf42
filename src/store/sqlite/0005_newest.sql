-- A start reads all of the newest entries, so it needs no index of the consumptions.
DROP INDEX leaf_dated;
-- A start reads all revocations.
CREATE INDEX leaf_revocation ON leaf (idx) WHERE kind = 6;

-- What happened, in the order of the commits. kind: the status of the proposal, 8 revocation, 9 frozen, 10 thawed, 11 seal,
-- 12 attention. The newest row is never deleted, because the next number follows from it.
CREATE TABLE event (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    proposal BLOB,
    step     TEXT,
    proposer TEXT,
    entry    INTEGER,           -- index of the log entry
    words    TEXT
) STRICT;
-- The last event that each target of messages got.
CREATE TABLE told (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, given_up INTEGER NOT NULL) STRICT, WITHOUT ROWID;
