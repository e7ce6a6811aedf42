-- The boundary refuses a proposal that can no longer run, also before anybody signed it. So refused proposals without a
-- signature are counted and deleted early, as expired and cancelled ones are.
DROP INDEX proposal_over;
CREATE INDEX proposal_over ON proposal (proposer, expires_at) WHERE status BETWEEN 5 AND 7;
