//! Sessions: the environment, the directory and the files that runs carry from one run to the next.
//!
//! A session lives in the memory of the service and ends with the service. The authorization of a step with a session
//! binds the digest of the session's state, so a run always starts in the state that the approvers signed. Each run
//! changes the digest, even a run that changes no variable, because the digest of the authorization is part of the
//! state.

pub mod claim;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{Refusal, Sealed};
use documents::{
    Code, ContentDigest, MAX_SESSION_S, Name, ProposalId, SessionId, SessionReference, SessionUse,
    StepDefinition, StepRef, Timestamp, locked,
};
use sandbox::{PlannedSession, SessionTree, ShellState, wrapper_for};

/// Maximum number of sessions of one creator.
const MOST_OF_CREATOR: usize = 8;
/// Maximum number of sessions of a boundary. Each session may keep up to 128 MiB of files in memory.
const MOST_SESSIONS: usize = 64;
/// Number of ended sessions whose end the boundary can still explain.
const REMEMBERED_ENDS: usize = 1024;
/// Directories that each run gets new and empty.
const NEW_FOR_EACH_RUN: [&str; 4] = ["/tmp", "/dev/shm", "/run", "/proc"];

/// The sessions of a boundary.
pub struct Sessions {
    idle: Duration,
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Default)]
struct Held {
    living: BTreeMap<SessionId, Session>,
    ended: VecDeque<(SessionId, &'static str)>,
    /// Sessions that ended or got another state, until [`Sessions::changed`] returns them.
    changed: BTreeSet<SessionId>,
}

struct Session {
    creator: SessionUser,
    runbook: String,
    created_at: Timestamp,
    begun: Instant,
    used: Instant,
    salt: [u8; 32],
    digest: ContentDigest,
    state: Arc<ShellState>,
    tree: Option<Arc<SessionTree>>,
    tree_bytes: u64,
    running: Option<ProposalId>,
    runs: VecDeque<SessionRun>,
    run_count: u64,
    /// The run for which the session was reserved while it was new.
    reserved: Option<ProposalId>,
}

/// A run of a session.
#[derive(Clone)]
pub struct SessionRun {
    /// The proposal of the run.
    pub proposal: ProposalId,
    /// The step.
    pub step: StepRef,
    /// Time at which the run ended.
    pub at: Timestamp,
}

/// What a caller may know about a session. Values of variables are never shown, because a step may have stored a
/// password in one.
pub struct SessionFacts {
    /// Id and digest of the state.
    pub reference: SessionReference,
    /// The creator.
    pub creator: Name,
    /// The runbook whose steps may use the session.
    pub runbook: String,
    /// Time of the creation.
    pub created_at: Timestamp,
    /// Seconds until the session ends if no proposal and no run uses it.
    pub idle_left_s: u64,
    /// Names of the variables that the runs set.
    pub variables: Vec<String>,
    /// Names of the variables that the runs removed.
    pub unset: Vec<String>,
    /// The directory in which the next run starts, or `None` for the work directory.
    pub directory: Option<String>,
    /// The run in progress.
    pub running: Option<ProposalId>,
    /// The last runs, oldest first.
    pub runs: Vec<SessionRun>,
    /// Number of all runs.
    pub run_count: u64,
}

/// A party that may use a session: the name of a proposer, and the people who control it.
#[derive(Clone)]
pub struct SessionUser {
    /// Name of the token or proposer.
    pub name: Name,
    /// People who control it.
    pub owners: Vec<Name>,
}

/// Returns the party of a proposer: its name, and the people who control the proposer.
pub fn session_user(sealed: &Sealed, name: &Name) -> SessionUser {
    SessionUser {
        name: name.clone(),
        owners: sealed.owners(name).unwrap_or_default().to_vec(),
    }
}

impl SessionUser {
    /// Returns true if both parties have a name in common: the name of the proposer, or of a person who controls the
    /// proposer.
    pub fn shares_with(&self, other: &Self) -> bool {
        self.parties()
            .any(|one| other.parties().any(|other| one == other))
    }

    fn parties(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.name).chain(&self.owners)
    }
}

impl Session {
    /// Returns true if this party may use the session. Without a `user`, every session is open.
    fn is_open_to(&self, user: Option<&SessionUser>) -> bool {
        user.is_none_or(|user| self.creator.shares_with(user))
    }

    fn facts(&self, id: &SessionId, idle: Duration) -> SessionFacts {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        SessionFacts {
            reference: SessionReference {
                id: id.clone(),
                state: self.digest,
            },
            creator: self.creator.name.clone(),
            runbook: self.runbook.clone(),
            created_at: self.created_at,
            idle_left_s: idle.saturating_sub(self.used.elapsed()).as_secs(),
            variables: self.state.env.keys().map(text).collect(),
            unset: self.state.unset.iter().map(text).collect(),
            directory: self.state.cwd.as_ref().map(text),
            running: self.running.clone(),
            runs: self.runs.iter().cloned().collect(),
            run_count: self.run_count,
        }
    }
}

impl Sessions {
    /// Creates the sessions of a boundary. A session without a run or a proposal for the time `idle` ends.
    pub fn new(idle: Duration) -> Self {
        Self {
            idle,
            held: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Waits until a session ends or gets another state. Returns all such sessions since the last call.
    pub async fn changed(&self) -> BTreeSet<SessionId> {
        loop {
            let changed = std::mem::take(&mut locked(&self.held).changed);
            if !changed.is_empty() {
                return changed;
            }
            self.changed.notified().await;
        }
    }

    /// Checks that the session still has the signed state. A run in progress is no error, although the session gets
    /// another state when this run ends.
    ///
    /// # Errors
    /// Returns `session-stale` if the session has ended or has another state.
    pub fn check_state(
        &self,
        signed: &SessionReference,
        user: &SessionUser,
    ) -> Result<(), Refusal> {
        let _ = self.expire();
        locked(&self.held).at_state(signed, user).map(drop)
    }

    /// Begins a session for the steps of one runbook, and returns its facts.
    ///
    /// # Errors
    /// Returns `rate-limited` if the creator has too many sessions, and `busy` if the boundary has too many.
    pub fn create(
        &self,
        id: SessionId,
        salt: [u8; 32],
        user: &SessionUser,
        runbook: String,
        now: Timestamp,
    ) -> Result<SessionFacts, Refusal> {
        let mut held = locked(&self.held);
        let own = held
            .living
            .values()
            .filter(|session| session.creator.name == user.name)
            .count();
        if own >= MOST_OF_CREATOR {
            let detail = format!(
                "{} has {own} sessions, and more are not possible: end one (`POST /v1/sessions/{{id}}/end`)",
                user.name
            );
            return Err(Refusal::new(Code::RateLimited, detail).retry_after(60));
        }
        if held.living.len() >= MOST_SESSIONS {
            let detail = format!(
                "the boundary has {MOST_SESSIONS} sessions, and more are not possible: try again later"
            );
            return Err(Refusal::new(Code::Busy, detail).retry_after(60));
        }
        let state = ShellState::default();
        let session = Session {
            creator: user.clone(),
            runbook,
            created_at: now,
            begun: Instant::now(),
            used: Instant::now(),
            salt,
            digest: state.canonical_digest(&salt, None, None),
            state: Arc::new(state),
            tree: None,
            tree_bytes: 0,
            running: None,
            runs: VecDeque::new(),
            run_count: 0,
            reserved: None,
        };
        let facts = session.facts(&id, self.idle);
        held.living.insert(id, session);
        Ok(facts)
    }

    /// Returns the sessions that a party may use, in the order of their creation. Without a `user`, returns all sessions.
    pub fn list(&self, user: Option<&SessionUser>) -> Vec<SessionFacts> {
        let held = locked(&self.held);
        let found = held
            .living
            .iter()
            .filter(|(_, session)| session.is_open_to(user));
        found
            .map(|(id, session)| session.facts(id, self.idle))
            .collect()
    }

    /// Returns the facts of a session. Without a `user`, the session may belong to anyone.
    ///
    /// # Errors
    /// Returns `not-found` if the session has ended, never existed, or belongs to other people.
    pub fn show(
        &self,
        id: &SessionId,
        user: Option<&SessionUser>,
    ) -> Result<SessionFacts, Refusal> {
        let held = locked(&self.held);
        Ok(held.find(id, user)?.facts(id, self.idle))
    }

    /// Reserves a session for a run that needs a new one. Returns false if another run used or reserved the session.
    pub fn reserve_new(&self, id: &SessionId, proposal: &ProposalId) -> bool {
        let mut held = locked(&self.held);
        let Some(session) = held
            .living
            .get_mut(id)
            .filter(|session| session.run_count == 0)
        else {
            return false;
        };
        session.reserved.get_or_insert_with(|| proposal.clone()) == proposal
    }

    /// Returns false if the session belongs to other people.
    pub fn is_open_to(&self, id: &SessionId, user: &SessionUser) -> bool {
        locked(&self.held)
            .living
            .get(id)
            .is_none_or(|session| session.is_open_to(Some(user)))
    }

    /// Ends a session and removes its files. A run in progress goes on to its end.
    ///
    /// # Errors
    /// Returns the same refusals as [`Sessions::show`].
    pub fn end(&self, id: &SessionId, user: &SessionUser) -> Result<SessionFacts, Refusal> {
        let mut held = locked(&self.held);
        let facts = held.find(id, Some(user))?.facts(id, self.idle);
        held.end(id, "its owner ended it");
        self.changed.notify_one();
        Ok(facts)
    }

    /// Ends the sessions that were idle for too long or have reached their end, and returns their ids.
    pub fn expire(&self) -> Vec<SessionId> {
        let mut held = locked(&self.held);
        let longest = Duration::from_secs(MAX_SESSION_S.unsigned_abs());
        let why_over = |session: &Session| {
            if session.running.is_some() {
                None
            } else if session.begun.elapsed() >= longest {
                Some("a session ends 7 days after it was made")
            } else {
                let idle = session.used.elapsed() >= self.idle;
                idle.then_some("no run and no proposal used it for too long")
            }
        };
        let over: Vec<_> = held
            .living
            .iter()
            .filter_map(|(id, one)| Some((id.clone(), why_over(one)?)))
            .collect();
        over.iter().for_each(|(id, why)| held.end(id, why));
        if !over.is_empty() {
            self.changed.notify_one();
        }
        over.into_iter().map(|(id, _)| id).collect()
    }

    /// Returns the state that the authorization of a step binds, or `None` for a step without a session.
    ///
    /// # Errors
    /// Returns `malformed` if the step needs a session and none is given, or the reverse. Returns `not-found` for a
    /// session that the proposer can't use, and `wrong-state` for a session of another runbook.
    pub fn reference(
        &self,
        given: Option<&SessionId>,
        step: &StepDefinition,
        user: &SessionUser,
    ) -> Result<Option<SessionReference>, Refusal> {
        let _ = self.expire();
        let id = match (given, step.session) {
            (None, SessionUse::None) => return Ok(None),
            (Some(id), SessionUse::Read | SessionUse::Write) => id,
            (None, SessionUse::Read | SessionUse::Write) => {
                let runbook = step.reference.path();
                let detail = format!(
                    "{} runs in a session: make one for the runbook {runbook} with `POST /v1/sessions`, then propose with \
                     its id as `session`",
                    step.reference
                );
                return Err(Refusal::new(Code::Malformed, detail).at("/session", "missing"));
            }
            (Some(_), SessionUse::None) => {
                let detail = format!("{} uses no session: leave the session out", step.reference);
                return Err(
                    Refusal::new(Code::Malformed, detail).at("/session", "not used by this step")
                );
            }
        };
        let mut held = locked(&self.held);
        let session = held.find(id, Some(user))?;
        demand_runbook(session, id, step)?;
        let state = session.digest;
        // A proposal uses the session, so that the approvers have time to sign.
        if let Some(session) = held.living.get_mut(id) {
            session.used = Instant::now();
        }
        Ok(Some(SessionReference {
            id: id.clone(),
            state,
        }))
    }

    /// Returns the input of a run that starts in the signed state, before its nonce is spent.
    ///
    /// # Errors
    /// Returns `session-stale` if the session has ended, runs another step, has another state, or if its directory is
    /// gone.
    pub fn admit(
        &self,
        signed: &SessionReference,
        step: &StepDefinition,
        user: &SessionUser,
        disk_bytes: u64,
    ) -> Result<PlannedSession, Refusal> {
        let _ = self.expire();
        let held = locked(&self.held);
        let session = held.free_at_state(signed, user)?;
        demand_runbook(session, &signed.id, step)?;
        if session.tree_bytes > disk_bytes {
            let detail = format!(
                "the files of the session {} have {} bytes, and the step may use {disk_bytes} bytes of disk: delete files, \
                 reset the session, or declare a larger disk",
                signed.id, session.tree_bytes
            );
            return Err(Refusal::new(Code::SessionStale, detail));
        }
        let cwd = session.state.cwd.clone();
        if let Some(cwd) = &cwd
            && !directory_exists(cwd, session.tree.as_deref())
        {
            let detail = format!(
                "the directory {:?} of the session {} is gone: reset the session (`POST /v1/sessions/{{id}}/reset`)",
                String::from_utf8_lossy(cwd),
                signed.id
            );
            return Err(Refusal::new(Code::SessionStale, detail));
        }
        Ok(PlannedSession {
            env: session.state.env.clone().into_iter().collect(),
            unset: session.state.unset.iter().cloned().collect(),
            cwd,
            tree: session.tree.clone(),
            wrapper: if step.session == SessionUse::Write {
                wrapper_for(step.source.as_bytes(), &step.interpreter)
            } else {
                None
            },
        })
    }
}

impl Held {
    fn end(&mut self, id: &SessionId, why: &'static str) {
        self.living.remove(id);
        self.changed.insert(id.clone());
        if self.ended.len() == REMEMBERED_ENDS {
            self.ended.pop_front();
        }
        self.ended.push_back((id.clone(), why));
    }

    fn find(&self, id: &SessionId, user: Option<&SessionUser>) -> Result<&Session, Refusal> {
        if let Some(session) = self
            .living
            .get(id)
            .filter(|session| session.is_open_to(user))
        {
            return Ok(session);
        }
        match self.ended.iter().find(|(ended, _)| ended == id) {
            Some((_, why)) => Err(Refusal::gone(format!(
                "the session {id} is over, because {why}: create a new session"
            ))),
            None => {
                let detail = format!(
                    "there is no session {id}, or this caller has no access to the session: sessions also end when the \
                     boundary restarts; create a new session"
                );
                Err(Refusal::new(Code::NotFound, detail))
            }
        }
    }

    fn at_state(&self, signed: &SessionReference, user: &SessionUser) -> Result<&Session, Refusal> {
        let stale = |detail: String| Refusal::new(Code::SessionStale, detail);
        let session = self
            .find(&signed.id, Some(user))
            .map_err(|refusal| stale(refusal.detail))?;
        if session.digest != signed.state {
            return Err(stale(format!(
                "the session {} changed after this proposal, because another run used it: propose the step again",
                signed.id
            )));
        }
        Ok(session)
    }

    fn free_at_state(
        &self,
        signed: &SessionReference,
        user: &SessionUser,
    ) -> Result<&Session, Refusal> {
        let session = self.at_state(signed, user)?;
        let Some(running) = &session.running else {
            return Ok(session);
        };
        let detail = format!(
            "the session {} runs {running}, which changes its state: propose the step again after this run",
            signed.id
        );
        Err(Refusal::new(Code::SessionStale, detail))
    }
}

fn demand_runbook(session: &Session, id: &SessionId, step: &StepDefinition) -> Result<(), Refusal> {
    if session.runbook == step.reference.path() {
        return Ok(());
    }
    let detail = format!(
        "the session {id} belongs to the runbook {}, and {} is a step of another runbook: create a session for {}",
        session.runbook,
        step.reference,
        step.reference.path()
    );
    Err(Refusal::new(Code::WrongState, detail).at("/session", "of another runbook"))
}

/// Returns true if a run can start in this directory: a directory of the session's work directory, or a directory of the
/// host that no run gets new and empty.
fn directory_exists(cwd: &[u8], tree: Option<&SessionTree>) -> bool {
    let path = Path::new(OsStr::from_bytes(cwd));
    if let Some(exists) = tree.and_then(|tree| tree.can_start_in(path)) {
        return exists;
    }
    match NEW_FOR_EACH_RUN.iter().find(|new| path.starts_with(new)) {
        Some(new) => path == Path::new(new),
        None => path.is_dir(),
    }
}
