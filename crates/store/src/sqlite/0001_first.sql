-- The log, what waits, what runs, what was spent, and what came of it.
--
-- Large bytes that never change (leaves, tiles, blobs, outputs) have tables of their own, apart from the small rows that
-- change (proposals). Tables keyed by rowid have rows that may be large; the others are WITHOUT ROWID.
-- Status: 0 running, 1 finished, 2 pending, 3 approved, 4 denied, 5 expired, 6 cancelled, 7 refused. Most partial indexes
-- leave out running and finished rows, which are many, and are found by id or by nonce.

PRAGMA application_id = 0x4353474e;
PRAGMA user_version = 6;

-- What the writer keeps in memory besides the tree; one row.
CREATE TABLE state (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    boundary BLOB,              -- digest of the genesis seal
    seal     BLOB,              -- digest of the seal in force
    version  INTEGER NOT NULL,  -- raised by what can change a verdict
    mark     INTEGER NOT NULL,  -- what expires at or below it is expired, whatever the clock says
    nonces   INTEGER NOT NULL   -- number of rows in nonce: a row that is deleted by hand shows at the next start
) STRICT;
INSERT INTO state (one, version, mark, nonces) VALUES (1, 0, 0, 0);

CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    at   INTEGER NOT NULL,      -- the latest time signed up to here: never decreases
    hash BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
-- A start reads all revocations.
CREATE INDEX leaf_revocation ON leaf (idx) WHERE kind = 6;
-- Old log entries, 256 in a row. The rows of these entries in `leaf` have empty bytes. The row `tile` has the entries
-- tile * 256 to tile * 256 + 255.
CREATE TABLE packed (tile INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

-- Complete hash tiles: 256 hashes of 32 bytes. id = level << 48 | index.
CREATE TABLE tile (id INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;

CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, root BLOB NOT NULL, note TEXT NOT NULL) STRICT;

CREATE TABLE seal (idx INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT;

CREATE TABLE blob (digest BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT;

CREATE TABLE proposal (
    id            BLOB PRIMARY KEY,  -- the 16 bytes of its UUIDv7: the end of the window comes first
    digest        BLOB NOT NULL,     -- of the authorization's payload
    nonce         BLOB NOT NULL,
    request       BLOB,              -- digest of the body that asked for it; none when handed in whole
    step          TEXT NOT NULL,
    step_digest   BLOB NOT NULL,
    params_digest BLOB NOT NULL,
    proposer      TEXT NOT NULL,
    expires_at    INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL,  -- milliseconds since 1970
    approved_at   INTEGER,
    started_at    INTEGER,
    ended_at      INTEGER,
    signed        INTEGER,           -- leaf of its authorization
    spent         INTEGER,           -- leaf << 6 | item of its consumption
    receipt       INTEGER,           -- leaf of its receipt
    detail        BLOB               -- what the status says beyond itself
) STRICT, WITHOUT ROWID;
CREATE INDEX proposal_open ON proposal (proposer, step_digest, params_digest, status, expires_at)
    WHERE status BETWEEN 2 AND 3;
CREATE INDEX proposal_digest ON proposal (digest) WHERE status >= 2;
CREATE INDEX proposal_nonce ON proposal (nonce) WHERE status >= 2;
-- Pages of all proposals, of one step, and of one proposer.
CREATE INDEX proposal_created ON proposal (created_ms);
CREATE INDEX proposal_step ON proposal (step, created_ms);
CREATE INDEX proposal_proposer ON proposal (proposer, created_ms);
-- Denied, expired, cancelled and refused proposals.
CREATE INDEX proposal_stopped ON proposal (created_ms, status) WHERE status >= 4;

-- Expired, cancelled and refused proposals. The boundary refuses a proposal that can no longer run, also before anybody
-- signed it. So unsigned proposals with these three statuses are counted per proposer, and deleted soon after the end of
-- their window.
CREATE INDEX proposal_over ON proposal (proposer, expires_at) WHERE status BETWEEN 5 AND 7;
CREATE INDEX proposal_over_at ON proposal (expires_at) WHERE status BETWEEN 5 AND 7;

-- Runs with one outcome, for the last success of a step, for plans, and for runs whose end nobody saw. The literals
-- are canonical JSON: {"exit_code":0,"status":"succeeded"}, and {"status":"unknown" before the reason.
CREATE INDEX proposal_succeeded ON proposal (step, ended_at, params_digest, proposer)
    WHERE status = 1 AND detail = X'7B22657869745F636F6465223A302C22737461747573223A22737563636565646564227D';
CREATE INDEX proposal_unknown ON proposal (step, ended_at, params_digest, proposer)
    WHERE status = 1 AND substr(detail, 1, 19) = X'7B22737461747573223A22756E6B6E6F776E22';

-- The bytes to sign and the list of programs that they name, until they run. Then the bytes are in the log entry of the
-- authorization, and the list is a blob.
CREATE TABLE payload (proposal BLOB PRIMARY KEY, data BLOB NOT NULL, programs BLOB) STRICT, WITHOUT ROWID;

-- Runs without a receipt. id = leaf << 6 | item of the consumption. All else that a receipt needs is in the log.
CREATE TABLE crossing (id INTEGER PRIMARY KEY, proposal BLOB NOT NULL, exclusive TEXT) STRICT;

-- The nonce alone is the key, whatever else differs. It begins with its end, so old nonces are a range of keys.
CREATE TABLE nonce (
    nonce    BLOB PRIMARY KEY,
    spent    INTEGER NOT NULL,       -- leaf << 6 | item
    proposal BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signature (
    proposal BLOB NOT NULL,
    keyid    TEXT NOT NULL,
    number   INTEGER NOT NULL,       -- order of arrival, from 0
    person   TEXT NOT NULL,
    presence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    sig      BLOB NOT NULL,
    PRIMARY KEY (proposal, keyid)
) STRICT, WITHOUT ROWID;

CREATE TABLE denial (
    authorization BLOB NOT NULL,
    approver      TEXT NOT NULL,
    leaf          INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    ahead         INTEGER NOT NULL CHECK (ahead IN (0, 1)),  -- 1 if it came before its authorization was known here
    PRIMARY KEY (authorization, approver)
) STRICT, WITHOUT ROWID;
CREATE INDEX denial_ahead ON denial (at) WHERE ahead = 1;

-- Recorded bytes by their BLAKE3 name; without data they are a file of that name.
CREATE TABLE output (name BLOB PRIMARY KEY, bytes INTEGER NOT NULL, at INTEGER NOT NULL, data BLOB) STRICT;
CREATE TABLE output_of (
    name     BLOB NOT NULL,
    proposal BLOB NOT NULL,
    PRIMARY KEY (name, proposal)
) STRICT, WITHOUT ROWID;
CREATE TABLE output_order (proposal BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    name       TEXT PRIMARY KEY,
    entry      TEXT NOT NULL,        -- the entry in the seal, JSON
    jwks       TEXT,                 -- keys of the issuer, if an ID token opens the token
    ca         TEXT,                 -- certificate authorities of the issuer
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

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
-- What the boundary says about the jobs that made proposals.
CREATE TABLE admitted (proposal BLOB PRIMARY KEY, job TEXT NOT NULL) STRICT, WITHOUT ROWID;       -- JSON
-- ID tokens that were used, until nobody can use them again.
CREATE TABLE id_token (digest BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX id_token_end ON id_token (expires_at);
