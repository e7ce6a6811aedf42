-- A start reads all of the newest entries, so it needs no index of the consumptions.
DROP INDEX leaf_dated;
-- A start reads all revocations.
CREATE INDEX leaf_revocation ON leaf (idx) WHERE kind = 6;

-- What happened, in the order of the commits. kind: the status of the proposal, 8 revocation, 9 frozen, 10 thawed, 11 seal,
-- 12 attention, 13 draft of a grant, 14 grant,
-- 15 review, 16 emergency, 17 signature of a person. The newest row is never deleted, because the next number follows from it.
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
    leaf       INTEGER            -- none for a draft
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
-- Runs that need a review: emergencies, and runs with an unknown end. No row is ever deleted.
CREATE TABLE owed (
    proposal  BLOB PRIMARY KEY,
    receipt   INTEGER,            -- leaf; none while an emergency runs
    emergency INTEGER NOT NULL,
    unknown   INTEGER NOT NULL,
    standing  BLOB,               -- digest of the grant that pauses
    reviewed  INTEGER,            -- leaf of the review that closed the emergency
    settled   INTEGER             -- leaf of the review that settled the end
) STRICT, WITHOUT ROWID;
CREATE INDEX owed_open ON owed (proposal)
    WHERE emergency = 1 AND reviewed IS NULL OR unknown = 1 AND settled IS NULL;
CREATE INDEX owed_emergency ON owed (proposal) WHERE emergency = 1 AND reviewed IS NULL;
CREATE INDEX owed_pause ON owed (standing) WHERE unknown = 1 AND settled IS NULL;
-- Runs of earlier versions whose end nobody saw: the text is that of the index proposal_unknown.
INSERT INTO owed (proposal, receipt, emergency, unknown) SELECT id, receipt, 0, 1 FROM proposal
    WHERE status = 1 AND substr(detail, 1, 19) = X'7B22737461747573223A22756E6B6E6F776E22';
-- The reviews of the log.
CREATE TABLE review (
    leaf          INTEGER PRIMARY KEY,
    receipt       INTEGER NOT NULL,   -- leaf of the receipt
    proposal      BLOB NOT NULL,
    reviewer      TEXT NOT NULL,
    accepted      INTEGER NOT NULL,
    observed      INTEGER,            -- 0 succeeded, 1 failed, 2 not_started, 3 partly
    counts_review INTEGER NOT NULL,   -- for the end of an emergency
    counts_settle INTEGER NOT NULL    -- for the end of a run
) STRICT;
CREATE INDEX review_receipt ON review (receipt, leaf);
-- Tokens without a secret: the jobs whose ID tokens open them. The row in `token` has random bytes as its secret.
CREATE TABLE token_binding (name TEXT PRIMARY KEY, binding TEXT NOT NULL) STRICT, WITHOUT ROWID;  -- JSON
-- What the boundary says about the jobs that made proposals.
CREATE TABLE admitted (proposal BLOB PRIMARY KEY, job TEXT NOT NULL) STRICT, WITHOUT ROWID;       -- JSON
-- ID tokens that were used, until nobody can use them again.
CREATE TABLE id_token (digest BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX id_token_end ON id_token (expires_at);
-- Old log entries, 256 in a row. The rows of these entries in `leaf` have empty bytes. The row `tile` has the entries
-- tile * 256 to tile * 256 + 255.
CREATE TABLE packed (tile INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
