-- The tables of a boundary in PostgreSQL. They are the tables of SQLite (src/sqlite), and the tables that
-- several nodes need. `countersign store migrate` executes this file inside the new schema.
--
-- Status: 0 running, 1 finished, 2 pending, 3 approved, 4 denied, 5 expired, 6 cancelled, 7 refused.

-- Version of this schema.
CREATE TABLE meta (one smallint PRIMARY KEY CHECK (one = 1), schema integer NOT NULL);
INSERT INTO meta (one, schema) VALUES (1, 2);

-- The state of the writer, in one row. Updates of this row need free space in its page.
CREATE TABLE state (
    one      smallint PRIMARY KEY CHECK (one = 1),
    boundary bytea,                      -- digest of the first seal
    seal     bytea,                      -- digest of the seal in force
    version  bigint NOT NULL,            -- raised by each change that can alter a verdict
    mark     bigint NOT NULL,            -- low-water mark: an authorization that expires at or before it is expired
    term     bigint NOT NULL,            -- raised by each takeover
    server   text,                       -- start, identity and timeline of the server whose heads were compared last
    lost     text                        -- a lost node whose head was not compared: no run starts before a new epoch
) WITH (fillfactor = 50);
INSERT INTO state (one, version, mark, term) VALUES (1, 0, 0, 0);

-- One row for each committed batch. The key lets only one writer commit the batch with the number n.
CREATE TABLE batch (
    n    bigint PRIMARY KEY,
    term bigint NOT NULL,
    node text NOT NULL,
    id   bytea NOT NULL UNIQUE           -- chosen by the writer, which searches for it after a lost connection
);

CREATE TABLE leaf (
    idx  bigint PRIMARY KEY,
    kind smallint NOT NULL,
    at   bigint NOT NULL,                -- the latest time that this leaf or an earlier leaf states
    hash bytea NOT NULL,
    data bytea NOT NULL
);
-- Compression would take longer than the write.
ALTER TABLE leaf ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX leaf_revocation ON leaf (idx) WHERE kind = 6;

-- Complete hash tiles: 256 hashes of 32 bytes. id = level << 48 | index.
CREATE TABLE tile (id bigint PRIMARY KEY, hashes bytea NOT NULL);

CREATE TABLE checkpoint (size bigint PRIMARY KEY, root bytea NOT NULL, note text NOT NULL);

CREATE TABLE seal (idx bigint PRIMARY KEY, digest bytea NOT NULL);

CREATE TABLE blob (digest bytea PRIMARY KEY, data bytea NOT NULL);

CREATE TABLE proposal (
    id            bytea PRIMARY KEY,     -- the 16 bytes of the UUIDv7: the end of the window comes first
    digest        bytea NOT NULL,        -- digest of the authorization's payload
    nonce         bytea NOT NULL,
    request       bytea,                 -- digest of the HTTP request body
    step          text NOT NULL,
    step_digest   bytea NOT NULL,
    params_digest bytea NOT NULL,
    proposer      text NOT NULL,
    expires_at    bigint NOT NULL,
    status        smallint NOT NULL,
    created_ms    bigint NOT NULL,       -- milliseconds since 1970
    approved_at   bigint,
    started_at    bigint,
    ended_at      bigint,
    signed        bigint,                -- leaf of the authorization
    spent         bigint,                -- leaf << 6 | item of the consumption
    receipt       bigint,                -- leaf of the receipt
    detail        bytea
);
CREATE INDEX proposal_open ON proposal (proposer, step_digest, params_digest, status, expires_at)
    WHERE status BETWEEN 2 AND 3;
CREATE INDEX proposal_due ON proposal (expires_at) WHERE status BETWEEN 2 AND 3;
CREATE INDEX proposal_digest ON proposal (digest) WHERE status >= 2;
CREATE INDEX proposal_nonce ON proposal (nonce) WHERE status >= 2;
CREATE INDEX proposal_created ON proposal (created_ms, id);
CREATE INDEX proposal_step ON proposal (step, created_ms, id);
CREATE INDEX proposal_proposer ON proposal (proposer, created_ms, id);
CREATE INDEX proposal_stopped ON proposal (created_ms, id) WHERE status >= 4;
CREATE INDEX proposal_over ON proposal (proposer, expires_at) WHERE status BETWEEN 5 AND 7;
CREATE INDEX proposal_over_at ON proposal (expires_at) WHERE status BETWEEN 5 AND 7;
-- The literals are canonical JSON: {"exit_code":0,"status":"succeeded"}, and {"status":"unknown" before the reason.
CREATE INDEX proposal_succeeded ON proposal (step, ended_at, params_digest, proposer)
    WHERE status = 1 AND detail = '\x7b22657869745f636f6465223a302c22737461747573223a22737563636565646564227d'::bytea;
CREATE INDEX proposal_unknown ON proposal (step, ended_at, params_digest, proposer)
    WHERE status = 1 AND substring(detail from 1 for 19) = '\x7b22737461747573223a22756e6b6e6f776e22'::bytea;

-- The bytes that approvers sign and the list of programs that they name, until the proposal runs.
CREATE TABLE payload (proposal bytea PRIMARY KEY, data bytea NOT NULL, programs bytea);

-- Runs without a receipt. id = leaf << 6 | item of the consumption. All else that a receipt needs is in the log.
CREATE TABLE crossing (
    id        bigint PRIMARY KEY,
    proposal  bytea NOT NULL,
    exclusive text,
    node      text NOT NULL,             -- the node that executes the run
    deadline  bigint NOT NULL            -- after this time, another node can close the run
);
CREATE UNIQUE INDEX crossing_exclusive ON crossing (exclusive) WHERE exclusive IS NOT NULL;

-- A nonce begins with its end, so old nonces are a range of keys.
CREATE TABLE nonce (
    nonce    bytea PRIMARY KEY,
    spent    bigint NOT NULL,            -- leaf << 6 | item
    proposal bytea NOT NULL
);

CREATE TABLE signature (
    proposal bytea NOT NULL,
    keyid    text NOT NULL,
    number   integer NOT NULL,           -- order of arrival, from 0
    person   text NOT NULL,
    presence smallint NOT NULL,
    at       bigint NOT NULL,
    sig      bytea NOT NULL,
    PRIMARY KEY (proposal, keyid)
);

CREATE TABLE denial (
    "authorization" bytea NOT NULL,
    approver        text NOT NULL,
    leaf            bigint NOT NULL,
    at              bigint NOT NULL,
    ahead           boolean NOT NULL,    -- true if the boundary did not know the authorization
    PRIMARY KEY ("authorization", approver)
);
CREATE INDEX denial_ahead ON denial (at) WHERE ahead;

-- Recorded outputs by their BLAKE3 names. The bytes of a large output are rows of `piece`.
CREATE TABLE output (
    name   bytea PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,  -- order of recording
    bytes  bigint NOT NULL,
    at     bigint NOT NULL,
    data   bytea
);
CREATE TABLE output_of (name bytea NOT NULL, proposal bytea NOT NULL, PRIMARY KEY (name, proposal));
CREATE TABLE output_order (proposal bytea PRIMARY KEY, data bytea NOT NULL);

-- Large outputs and uploaded files in pieces of 1 MiB. The name is the digest of the whole.
CREATE TABLE piece (
    name   bytea NOT NULL,
    number integer NOT NULL,
    data   bytea NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),   -- last write: pieces without a reference are deleted an hour later
    PRIMARY KEY (name, number)
);

-- The files that proposers uploaded.
CREATE TABLE artifact (
    proposer text NOT NULL,
    digest   bytea NOT NULL,             -- SHA-256 of the content, which is the name of its pieces
    bytes    bigint NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (proposer, digest)
);
CREATE INDEX artifact_digest ON artifact (digest);

-- The cosignatures of the newest checkpoints.
CREATE TABLE cosignature (
    size    bigint NOT NULL,
    witness text NOT NULL,               -- verifier key of the witness
    note    text NOT NULL,               -- the checkpoint with the signature of the boundary
    lines   text NOT NULL,               -- the signature lines that the witness answered
    PRIMARY KEY (size, witness)
);

CREATE TABLE token (
    name       text COLLATE "C" PRIMARY KEY,
    entry      text NOT NULL,            -- the entry in the seal, JSON
    jwks       text,                     -- keys of the issuer, if an ID token opens the token
    ca         text,                     -- certificate authorities of the issuer
    created_at bigint NOT NULL,
    revoked_at bigint
);

-- The services of this boundary.
CREATE TABLE node (
    name       text PRIMARY KEY,
    keyid      text NOT NULL,
    beat       timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    version    text NOT NULL,
    lost_at    timestamptz
);

-- The newest signed checkpoint that each node keeps on its own disk.
CREATE TABLE kept_head (
    node   text PRIMARY KEY,
    server text NOT NULL,                -- start, identity and timeline of the server when the node wrote this row
    size   bigint NOT NULL,              -- 0 if the node keeps no checkpoint
    root   bytea NOT NULL
);

-- What happened, in the order of the commits. kind: the status of the proposal, 8 revocation, 9 frozen, 10 thawed, 11 seal,
-- 12 attention, 13 draft of a grant, 14 grant,
-- 15 review, 16 emergency, 17 signature of a person. The newest row is never deleted, because the next number follows from it.
CREATE TABLE event (
    seq      bigint PRIMARY KEY,
    at       bigint NOT NULL,
    kind     smallint NOT NULL,
    proposal bytea,
    step     text,
    proposer text,
    entry    bigint,                     -- index of the log entry
    words    text
);
-- The last event that each target of messages got.
CREATE TABLE told (name text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL, given_up bigint NOT NULL);

-- Standing grants, from the draft on. `envelope` has the signatures so far; that of an active grant is the log entry `leaf`.
CREATE TABLE standing (
    id         bytea PRIMARY KEY,        -- the 16 bytes of its UUIDv7
    digest     bytea NOT NULL,           -- of the payload
    envelope   bytea NOT NULL,
    proposer   text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    leaf       bigint                    -- none for a draft
);
CREATE UNIQUE INDEX standing_digest ON standing (digest);
CREATE INDEX standing_end ON standing (expires_at);
CREATE INDEX standing_draft ON standing (expires_at) WHERE leaf IS NULL;
-- The uses of each grant. The key claims a use.
CREATE TABLE standing_use (
    digest bytea NOT NULL,
    number bigint NOT NULL,
    at     bigint NOT NULL,
    spent  bigint NOT NULL,              -- leaf << 6 | item of its consumption
    PRIMARY KEY (digest, number)
);
-- Runs that need a review: emergencies, and runs with an unknown end. No row is ever deleted.
CREATE TABLE owed (
    proposal  bytea PRIMARY KEY,
    receipt   bigint,                    -- leaf; none while an emergency runs
    emergency boolean NOT NULL,
    unknown   boolean NOT NULL,
    standing  bytea,                     -- digest of the grant that pauses
    reviewed  bigint,                    -- leaf of the review that closed the emergency
    settled   bigint                     -- leaf of the review that settled the end
);
CREATE INDEX owed_open ON owed (proposal)
    WHERE emergency AND reviewed IS NULL OR unknown AND settled IS NULL;
CREATE INDEX owed_emergency ON owed (proposal) WHERE emergency AND reviewed IS NULL;
CREATE INDEX owed_pause ON owed (standing) WHERE unknown AND settled IS NULL;
-- The reviews of the log.
CREATE TABLE review (
    leaf          bigint PRIMARY KEY,
    receipt       bigint NOT NULL,       -- leaf of the receipt
    proposal      bytea NOT NULL,
    reviewer      text NOT NULL,
    accepted      boolean NOT NULL,
    observed      smallint,              -- 0 succeeded, 1 failed, 2 not_started, 3 partly
    counts_review boolean NOT NULL,      -- for the end of an emergency
    counts_settle boolean NOT NULL       -- for the end of a run
);
CREATE INDEX review_receipt ON review (receipt, leaf);
-- What the boundary says about the jobs that made proposals.
CREATE TABLE admitted (proposal bytea PRIMARY KEY, job text NOT NULL);                  -- JSON
-- ID tokens that were used, until nobody can use them again.
CREATE TABLE id_token (digest bytea PRIMARY KEY, expires_at bigint NOT NULL);
CREATE INDEX id_token_end ON id_token (expires_at);
