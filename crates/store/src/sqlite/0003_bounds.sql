-- What bounds the rows that one approver or proposer can leave.

-- 1 for a denial that came before its authorization was known here.
ALTER TABLE denial ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0 CHECK (ahead IN (0, 1));
CREATE INDEX denial_ahead ON denial (at) WHERE ahead = 1;

-- Expired and cancelled proposals: what nobody signed of them is counted and deleted early.
CREATE INDEX proposal_over ON proposal (proposer, expires_at) WHERE status BETWEEN 5 AND 6;
