-- Indexes for lookups whose time must not depend on how many other runs the store has.

-- Pages of one step, and pages of one proposer.
CREATE INDEX proposal_step ON proposal (step);
CREATE INDEX proposal_proposer ON proposal (proposer);
-- Denied, expired, cancelled and refused proposals.
CREATE INDEX proposal_stopped ON proposal (id, status) WHERE status >= 4;

-- Expired, cancelled and refused proposals. The boundary refuses a proposal that can no longer run, also before anybody
-- signed it. So unsigned proposals with these three statuses are counted per proposer, and deleted soon after the end of
-- their window.
DROP INDEX proposal_over;
CREATE INDEX proposal_over ON proposal (proposer, expires_at) WHERE status BETWEEN 5 AND 7;
CREATE INDEX proposal_over_at ON proposal (expires_at) WHERE status BETWEEN 5 AND 7;

-- Runs with one outcome, for the last success of a step, for plans, and for runs whose end nobody saw. The literals
-- are canonical JSON: {"exit_code":0,"status":"succeeded"}, and {"status":"unknown" before the reason.
CREATE INDEX proposal_succeeded ON proposal (step, ended_at, params_digest, proposer)
    WHERE status = 1 AND detail = X'7B22657869745F636F6465223A302C22737461747573223A22737563636565646564227D';
CREATE INDEX proposal_unknown ON proposal (step, ended_at, params_digest, proposer)
    WHERE status = 1 AND substr(detail, 1, 19) = X'7B22737461747573223A22756E6B6E6F776E22';

-- Log entries that begin like a consumption: the base64 `OnsiYXQi` is `:{"at"`, the first field of the statement. The
-- bytes of the entry decide, because a person can change the column `kind` by hand.
CREATE INDEX leaf_dated ON leaf (idx) WHERE substr(data, 85, 8) = X'4F6E736959585169';
