//! The use of a session by one run.

use std::{collections::BTreeMap, os::unix::ffi::OsStrExt as _, sync::Arc, time::Instant};

use crate::{
    Refusal, ResultsBasis, SessionUser, Sessions,
    carried::sessions::{SessionRun, directory_exists},
};
use documents::{
    AuthorizationDigest, ProposalId, SessionChange, SessionReference, StepRef, Timestamp, locked,
};
use sandbox::{GivenToRun, SessionTree, ShellState, StateTooLarge};

/// Number of runs that a session lists. Earlier runs are only counted.
const LISTED_RUNS: usize = 50;
/// Number of variables that a note names.
const LISTED_NAMES: usize = 20;
/// Directories of the host that each run can see.
const SHARED: [&str; 2] = ["/usr", "/etc"];

/// A session that one run uses. If the claim is dropped before [`SessionClaim::settle`], the session is free again and
/// keeps the state from before the run.
#[must_use]
pub struct SessionClaim {
    sessions: Arc<Sessions>,
    signed: SessionReference,
    proposal: ProposalId,
    before: Arc<ShellState>,
}

impl SessionClaim {
    /// Returns the state after the run, from the bytes that the shell wrote. `tree` is the work directory of the run. Adds a
    /// note for what the session does not carry.
    ///
    /// # Errors
    /// Returns an error if the state is too large. The session then keeps its earlier state.
    pub fn state_after(
        &self,
        captured: &[u8],
        tree: Option<&SessionTree>,
        run: &ResultsBasis,
        notes: &mut Vec<String>,
    ) -> Result<ShellState, StateTooLarge> {
        let bytes = |path: &str| path.as_bytes().to_vec();
        let locale = ["LANG", "LC_ALL"].map(|name| (bytes(name), bytes("C.UTF-8")));
        let shared = SHARED.iter().map(|path| bytes(path));
        let given = GivenToRun {
            env: BTreeMap::from(locale),
            fixed: run
                .secret_variables
                .iter()
                .map(|name| bytes(name))
                .collect(),
            work: tree.map(|tree| tree.path().as_os_str().as_bytes().to_vec()),
            directories: shared
                .chain(run.directories.iter().map(|path| bytes(path)))
                .collect(),
        };
        let mut state = self.before.after(captured, &given)?;
        let carries = |name: &[u8]| {
            run.carried
                .as_ref()
                .is_some_and(|carried| carried.contains(name))
        };
        let dropped: Vec<_> = state
            .env
            .keys()
            .filter(|name| !carries(name))
            .cloned()
            .collect();
        if !dropped.is_empty() {
            let names = dropped
                .iter()
                .take(LISTED_NAMES)
                .map(|name| String::from_utf8_lossy(name));
            let names: Vec<_> = names
                .chain((dropped.len() > LISTED_NAMES).then(|| "...".into()))
                .collect();
            notes.push(format!(
                "the session does not carry {}: write `export NAME` in the script, or name the variable in env.allow of \
                 policy",
                names.join(", ")
            ));
        }
        state.env.retain(|name, _| carries(name));
        // The step can write any directory into the record, so check that the directory exists.
        let gone = state.cwd.take_if(|cwd| !directory_exists(cwd, tree));
        if let Some(directory) = gone.or_else(|| ShellState::lost_directory(captured, &given)) {
            let directory = String::from_utf8_lossy(&directory).into_owned();
            notes.push(format!(
                "the step ended in {directory:?}, which the next run does not see: the next run starts in its work directory"
            ));
        }
        Ok(state)
    }

    /// Puts the state after the run in force, and returns the change for the receipt. `authorization` is the digest of
    /// the run's authorization.
    ///
    /// `state` is the state that the shell wrote, and `tree` the work directory after the run with its size in bytes.
    /// Without one of them, the session keeps its earlier state or directory.
    pub fn settle(
        self,
        state: Option<ShellState>,
        tree: Option<(Arc<SessionTree>, u64)>,
        authorization: &AuthorizationDigest,
        step: &StepRef,
        at: Timestamp,
    ) -> SessionChange {
        let mut held = locked(&self.sessions.held);
        let before = self.signed.state;
        // If the session ended during the run, there is no state after the run, and the receipt repeats the state before.
        let Some(session) = held.living.get_mut(&self.signed.id) else {
            return SessionChange {
                before,
                after: before,
            };
        };
        if let Some(state) = state {
            session.state = Arc::new(state);
        }
        if let Some((tree, bytes)) = tree {
            session.tree = Some(tree);
            session.tree_bytes = bytes;
        }
        session.digest =
            session
                .state
                .canonical_digest(&session.salt, Some(before), Some(*authorization));
        let digest = session.digest;
        if session.runs.len() == LISTED_RUNS {
            session.runs.pop_front();
        }
        session.runs.push_back(SessionRun {
            proposal: self.proposal.clone(),
            step: step.clone(),
            at,
        });
        session.run_count += 1;
        held.changed.insert(self.signed.id.clone());
        self.sessions.changed.notify_one();
        SessionChange {
            before,
            after: digest,
        }
    }
}

impl Drop for SessionClaim {
    fn drop(&mut self) {
        let mut held = locked(&self.sessions.held);
        if let Some(session) = held.living.get_mut(&self.signed.id)
            && session.running.as_ref() == Some(&self.proposal)
        {
            session.running = None;
            session.used = Instant::now();
        }
    }
}

impl Sessions {
    /// Reserves a session for one run, at the commit of the nonce. No other run can begin in the session until the claim
    /// is settled or dropped.
    ///
    /// # Errors
    /// Returns `session-stale` as [`Sessions::admit`].
    pub fn claim(
        self: &Arc<Self>,
        signed: &SessionReference,
        user: &SessionUser,
        proposal: &ProposalId,
    ) -> Result<SessionClaim, Refusal> {
        let mut held = locked(&self.held);
        let before = held.free_at_state(signed, user)?.state.clone();
        if let Some(session) = held.living.get_mut(&signed.id) {
            session.running = Some(proposal.clone());
            // The log can contain the nonce although the commit reported a failure. So from now on, no other run can
            // use the session as a new session.
            session.reserved.get_or_insert_with(|| proposal.clone());
        }
        drop(held);
        Ok(SessionClaim {
            sessions: self.clone(),
            signed: signed.clone(),
            proposal: proposal.clone(),
            before,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use documents::{SessionId, Timestamp};

    #[test]
    fn a_run_whose_commit_is_unknown_leaves_no_new_session_for_another_run() {
        let sessions = Arc::new(Sessions::new(Duration::from_secs(60)));
        let user = SessionUser {
            name: "agent".parse().expect("a name"),
            owners: Vec::new(),
        };
        let now = Timestamp::from_unix(1_800_000_000);
        let id = SessionId::new(1, [1; 10]);
        let facts = sessions
            .create(id.clone(), [0; 32], &user, "say".to_owned(), now)
            .expect("a session");
        let (first, second) = (ProposalId::new(1, [1; 10]), ProposalId::new(1, [2; 10]));
        drop(
            sessions
                .claim(&facts.reference, &user, &first)
                .expect("free"),
        );
        assert!(sessions.reserve_new(&id, &first) && !sessions.reserve_new(&id, &second));
    }
}
