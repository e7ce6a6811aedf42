-- The log, what waits, what runs, what was spent, and what came of it.
--
-- Big immutable bytes (leaves, tiles, blobs, outputs) stand apart from small mutable rows (proposals).
-- Tables keyed by rowid hold rows that may be large; the others are WITHOUT ROWID.
-- Status: 0 running, 1 finished, 2 pending, 3 approved, 4 denied, 5 expired, 6 cancelled, 7 refused. Every partial
-- index leaves out running and finished rows: those are many, and found by id or by nonce.

-- What the writer keeps in memory besides the tree; one row.
CREATE TABLE state (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    boundary BLOB,              -- digest of the genesis seal
    seal     BLOB,              -- digest of the seal in force
    version  INTEGER NOT NULL,  -- raised by what can change a verdict
    mark     INTEGER NOT NULL   -- what expires at or below it is expired, whatever the clock says
) STRICT;
INSERT INTO state (one, version, mark) VALUES (1, 0, 0);

CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    at   INTEGER NOT NULL,      -- the latest time signed up to here: never decreases
    hash BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- Complete hash tiles: 256 hashes of 32 bytes. id = level << 48 | index.
CREATE TABLE tile (id INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;

CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, root BLOB NOT NULL, note TEXT NOT NULL) STRICT;

CREATE TABLE seal (idx INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT;

CREATE TABLE blob (digest BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT;

CREATE TABLE proposal (
    id            BLOB PRIMARY KEY,  -- the 16 bytes of its UUIDv7
    digest        BLOB NOT NULL,     -- of the authorization's payload
    nonce         BLOB NOT NULL,
    request       BLOB,              -- digest of the body that asked for it; none when handed in whole
    step          TEXT NOT NULL,
    step_digest   BLOB NOT NULL,
    params_digest BLOB NOT NULL,
    proposer      TEXT NOT NULL,
    expires_at    INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    approved_at   INTEGER,
    started_at    INTEGER,
    ended_at      INTEGER,
    spent         INTEGER,           -- leaf << 6 | item of its consumption
    receipt       INTEGER,           -- leaf of its receipt
    detail        BLOB               -- what the status says beyond itself
) STRICT, WITHOUT ROWID;
CREATE INDEX proposal_open ON proposal (proposer, step_digest, params_digest, status, expires_at)
    WHERE status BETWEEN 2 AND 3;
CREATE INDEX proposal_digest ON proposal (digest) WHERE status >= 2;
CREATE INDEX proposal_nonce ON proposal (nonce) WHERE status >= 2;

-- The bytes to sign, until they run; then they stand in the envelope, then in the receipt.
CREATE TABLE payload (proposal BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- What runs, or ran when the process died: what recovery needs to write the receipt. id = leaf << 6 | item.
CREATE TABLE crossing (
    id        INTEGER PRIMARY KEY,
    proposal  BLOB NOT NULL,
    seal      BLOB NOT NULL,
    exclusive TEXT,
    envelope  BLOB NOT NULL,
    decision  BLOB NOT NULL
) STRICT;

-- The nonce alone is the key, whatever else differs.
CREATE TABLE nonce (
    nonce      BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    spent      INTEGER NOT NULL,     -- leaf << 6 | item
    proposal   BLOB NOT NULL
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
    PRIMARY KEY (authorization, approver)
) STRICT, WITHOUT ROWID;

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
    secret     BLOB NOT NULL UNIQUE, -- SHA-256 of the secret
    owners     TEXT NOT NULL,        -- JSON array
    scopes     TEXT NOT NULL,        -- JSON array
    patterns   TEXT NOT NULL,        -- JSON array
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
