-- A start reads all of the newest entries, so it needs no index of the consumptions.
DROP INDEX leaf_dated;
-- A start reads all revocations.
CREATE INDEX leaf_revocation ON leaf (idx) WHERE kind = 6;

-- What happened, in the order of the commits. kind: the status of the proposal, 8 revocation, 9 frozen, 10 thawed, 11 seal,
-- 12 attention, 13 draft of a grant, 14 grant. The newest row is never deleted, because the next number follows from it.
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

-- Standing grants, from the draft on. `envelope` has the signatures so far; that of an active grant is the log entry `leaf`.
CREATE TABLE standing (
    id         BLOB PRIMARY KEY,  -- the 16 bytes of its UUIDv7
    digest     BLOB NOT NULL,     -- of the payload
    envelope   BLOB NOT NULL,
    proposer   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    leaf       INTEGER,           -- none for a draft
    paused     INTEGER            -- leaf of the first receipt with an unknown end
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX standing_digest ON standing (digest);
CREATE INDEX standing_end ON standing (expires_at);
CREATE INDEX standing_draft ON standing (expires_at) WHERE leaf IS NULL;
-- The uses of each grant. The key claims a use.
CREATE TABLE standing_use (
    digest BLOB NOT NULL,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    spent  INTEGER NOT NULL,      -- leaf << 6 | item of its consumption
    PRIMARY KEY (digest, number)
) STRICT, WITHOUT ROWID;
