//! Callers create, show, reset and end sessions.

use std::sync::Arc;

use crate::{Caller, Surroundings};
use crossing::{Crossing, Refusal, SessionFacts, SessionUser, Sessions, Stopped, session_user};
use documents::{Code, Scope, SessionId, SessionUse};
use wire::{SessionList, SessionRunView, SessionView};

/// Lets callers use their sessions.
pub struct SessionAccess {
    pub(crate) crossing: Arc<Crossing>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) surroundings: Surroundings,
}

impl SessionAccess {
    /// Begins a session for the steps of a runbook.
    ///
    /// # Errors
    /// Returns `unknown-step` if the caller may propose no step of the runbook that uses a session, and the refusals of
    /// [`Sessions::create`].
    pub fn create(&self, caller: &Caller, runbook: &str) -> Result<SessionView, Stopped> {
        let name = caller.demand(Scope::Propose, None)?;
        self.demand_step(caller, runbook)?;
        let sealed = self.crossing.state();
        let id = SessionId::new((self.surroundings.millis)(), self.surroundings.bytes());
        let user = session_user(&sealed, name);
        let facts = self.sessions.create(
            id,
            self.surroundings.bytes(),
            &user,
            runbook.to_owned(),
            self.crossing.now(),
        )?;
        Ok(view(facts))
    }

    /// Checks that the caller may propose a step of the runbook that uses a session.
    fn demand_step(&self, caller: &Caller, runbook: &str) -> Result<(), Stopped> {
        let sealed = self.crossing.state();
        let usable = sealed.registry.steps().any(|step| {
            let reference = &step.definition.reference;
            reference.path() == runbook
                && step.definition.session != SessionUse::None
                && caller.may_step(Scope::Propose, reference)
        });
        if !usable {
            let detail = format!(
                "no step of the runbook {runbook:?} that this caller may propose uses a session: a step declares \
                 session=read or session=write"
            );
            return Err(Refusal::new(Code::UnknownStep, detail)
                .at("/runbook", "no such step")
                .into());
        }
        Ok(())
    }

    /// Returns the sessions that the caller may use. Callers with the scope `read` or `operate` see all sessions.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name.
    pub fn list(&self, caller: &Caller) -> Result<SessionList, Stopped> {
        let _ = self.sessions.expire();
        let found = self.sessions.list(self.viewer(caller)?.as_ref());
        Ok(SessionList {
            sessions: found.into_iter().map(view).collect(),
        })
    }

    /// Returns one session.
    ///
    /// # Errors
    /// Returns `not-found` if the session is over or the caller may not use the session.
    pub fn show(&self, caller: &Caller, id: &SessionId) -> Result<SessionView, Stopped> {
        let _ = self.sessions.expire();
        Ok(view(self.sessions.show(id, self.viewer(caller)?.as_ref())?))
    }

    /// Ends a session and creates a new session for the same runbook.
    ///
    /// # Errors
    /// Returns the same refusals as [`Self::show`] and [`Self::create`].
    pub fn reset(&self, caller: &Caller, id: &SessionId) -> Result<SessionView, Stopped> {
        let user = self.user(caller)?;
        // The new session must be possible before the old one ends.
        self.demand_step(caller, &self.sessions.show(id, Some(&user))?.runbook)?;
        let ended = self.sessions.end(id, &user)?;
        self.create(caller, &ended.runbook)
    }

    /// Ends a session and removes its files.
    ///
    /// # Errors
    /// Returns the same refusals as [`Self::show`].
    pub fn end(&self, caller: &Caller, id: &SessionId) -> Result<SessionView, Stopped> {
        let user = self.user(caller)?;
        self.demand_step(caller, &self.sessions.show(id, Some(&user))?.runbook)?;
        Ok(view(self.sessions.end(id, &user)?))
    }

    fn user(&self, caller: &Caller) -> Result<SessionUser, Stopped> {
        Ok(session_user(
            &self.crossing.state(),
            caller.demand(Scope::Propose, None)?,
        ))
    }

    /// Returns the party whose sessions the caller may see, or `None` for a caller who may see all sessions, for a review
    /// or for an operator.
    fn viewer(&self, caller: &Caller) -> Result<Option<SessionUser>, Stopped> {
        let sees_all =
            (caller.may(Scope::Read) || caller.may(Scope::Operate)) && !caller.is_limited();
        if sees_all {
            Ok(None)
        } else {
            self.user(caller).map(Some)
        }
    }
}

fn view(facts: SessionFacts) -> SessionView {
    let runs = facts.runs.into_iter().map(|run| SessionRunView {
        proposal: run.proposal,
        step: run.step,
        at: run.at,
    });
    SessionView {
        id: facts.reference.id,
        state: facts.reference.state,
        runbook: facts.runbook,
        creator: facts.creator,
        created_at: facts.created_at,
        idle_left_s: facts.idle_left_s,
        variables: facts.variables,
        unset: facts.unset,
        directory: facts.directory,
        running: facts.running,
        runs: runs.collect(),
        run_count: facts.run_count,
    }
}
