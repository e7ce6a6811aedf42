//! The caller of a request, with the caller's rights, the facts from the ID token of a CI job, and the caller's
//! sessions.

use std::sync::Arc;

use serde_json::Value;

use crate::{Surroundings, fail, fail_at};
use crossing::{
    Crossing, Refusal, RequestResult, Sealed, SessionFacts, SessionUser, Sessions, refuse,
    session_user,
};
use documents::{
    Code, ContentDigest, MAX_SESSION_S, Name, Scope, SealedToken, SessionId, SessionUse, StepRef,
    Timestamp, TokenGrantee, TokenUse,
};
use reading::Pattern;
use wire::{SessionList, SessionRunView, SessionView};

/// Caller of a request, with the caller's rights. The default is a caller who presented neither a token nor an answered
/// challenge.
#[derive(Clone, Default)]
pub struct Caller {
    name: Option<Name>,
    scopes: Vec<Scope>,
    patterns: Vec<Pattern>,
    /// Credential of the token that the caller presented. `None` for a caller whose key answered a challenge.
    credential: Option<ContentDigest>,
    /// Facts from the caller's ID token. `None` if the caller was not admitted by an ID token.
    admitted: Option<Arc<AdmittedCaller>>,
}

impl Caller {
    /// Returns a caller whose key answered a challenge.
    pub fn of_key(name: Name, scopes: Vec<Scope>) -> Self {
        Self {
            name: Some(name),
            scopes,
            ..Self::default()
        }
    }

    /// Returns a caller who presented the credential of this token. The scopes apply only to the steps that match the
    /// patterns. An empty list of patterns means every step.
    pub fn of_token(token: &SealedToken) -> Self {
        // The patterns were checked when the token was created. If this version can't parse a pattern that a later
        // version stored, the caller gets no scopes.
        let patterns: Result<Vec<_>, _> = token
            .patterns
            .iter()
            .map(|text| Pattern::parse(text))
            .collect();
        let scopes = patterns.as_ref().map(|_| token.scopes.clone());
        Self {
            name: Some(token.name.clone()),
            scopes: scopes.unwrap_or_default(),
            patterns: patterns.unwrap_or_default(),
            credential: Some(token.credential),
            admitted: None,
        }
    }

    /// Returns the caller's name, or `None` for a caller without a name.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Returns true if the caller has this scope for at least one step.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Returns true if the caller has this scope for this step.
    pub fn may_step(&self, scope: Scope, step: &StepRef) -> bool {
        self.may(scope) && self.reaches(step)
    }

    /// Returns true if the patterns of the caller's token match this step.
    pub fn reaches(&self, step: &StepRef) -> bool {
        let mut patterns = self.patterns.iter();
        !self.is_limited() || patterns.any(|pattern| pattern.matches(step.as_str()))
    }

    /// Returns true if the caller may see a proposal of `proposer` for `step`. All callers may see their own proposals.
    /// Callers with the scope `read` or `operate` may also see the proposals of other callers.
    pub fn may_see(&self, proposer: &Name, step: &StepRef) -> bool {
        self.may_step(Scope::Read, step)
            || self.may_step(Scope::Operate, step)
            || self.name.as_ref() == Some(proposer)
    }

    /// Returns true if the caller may use only some of the steps.
    pub fn is_limited(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Marks the caller as admitted by the ID token of a job.
    pub fn with_id_token(self, admitted: AdmittedCaller) -> Self {
        Self {
            admitted: Some(Arc::new(admitted)),
            ..self
        }
    }

    /// Checks the parameters of a proposal against the caller's ID token. Returns the description of the caller's job,
    /// or `None` if no ID token admitted the caller.
    ///
    /// # Errors
    /// Returns `invalid-params` if a parameter differs from the claim that states it.
    pub fn job_of(&self, params: &Value) -> Result<Option<Arc<str>>, Refusal> {
        self.admitted
            .as_ref()
            .map(|admitted| admitted.check(params))
            .transpose()
    }

    /// Returns the part of an authorization that names the token of the caller, who uses a grant to this token.
    ///
    /// # Errors
    /// Returns `not-granted` if the caller did not present the token, and `malformed` if an authorization can't name the
    /// claim `jti` of the ID token.
    pub fn token_use(&self, grantee: &TokenGrantee) -> Result<TokenUse, Refusal> {
        if self.name.as_ref() != Some(&grantee.token) || self.credential != Some(grantee.credential)
        {
            let detail = format!(
                "the grant is to the token {}, which this call did not present: use the token, or ask for a grant",
                grantee.token
            );
            return fail_at(Code::NotGranted, detail, "/grant", "of another token");
        }
        let used = TokenUse {
            token: grantee.token.clone(),
            jti: self.admitted.as_ref().map(|admitted| admitted.jti.clone()),
        };
        used.check()
            .map_err(|error| Refusal::malformed("/grant", error.message))?;
        Ok(used)
    }

    /// Returns true if the caller's token is still valid. Responses that take a long time repeat this check.
    pub fn still(&self, sealed: &Sealed, now: Timestamp) -> bool {
        let is_own = |token: &&SealedToken| {
            Some(&token.name) == self.name.as_ref() && Some(token.credential) == self.credential
        };
        let mut own = sealed.tokens.iter().filter(is_own);
        self.credential.is_none() || own.any(|token| token.expires_at.is_none_or(|end| now < end))
    }

    /// Returns true if the caller may see that a step exists.
    pub fn may_know(&self, step: &StepRef) -> bool {
        Scope::ALL
            .into_iter()
            .any(|scope| self.may_step(scope, step))
    }

    /// Returns the name of the caller.
    ///
    /// # Errors
    /// Returns `unauthenticated` for a caller without a name.
    pub fn demand_name(&self) -> RequestResult<&Name> {
        self.name.as_ref().ok_or_else(|| {
            let detail = "send Authorization: Bearer cst_...; an operator makes tokens with `countersign token create`, \
                 and a key of the roster can answer a challenge";
            refuse(Code::Unauthenticated, detail)
        })
    }

    /// Returns the caller's name, if the caller has this scope for this step.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name, and `forbidden` if the caller lacks the scope.
    pub fn demand(&self, scope: Scope, step: Option<&StepRef>) -> RequestResult<&Name> {
        let name = self.demand_name()?;
        match step {
            _ if !self.may(scope) => fail(
                Code::Forbidden,
                format!(
                    "{name} does not have the scope {}: ask an operator for another token",
                    scope.word()
                ),
            ),
            Some(step) if !self.may_step(scope, step) => Err(self.outside(name, step).into()),
            _ => Ok(name),
        }
    }

    /// Checks that the caller may read data about all steps. `about` says in the message why a token for some steps is
    /// refused.
    ///
    /// # Errors
    /// Returns the errors of [`Self::demand`], and `forbidden` if the caller's token is for some steps only.
    pub fn demand_read_of_all(&self, about: &str) -> RequestResult {
        let name = self.demand(Scope::Read, None)?;
        if self.is_limited() {
            let detail = format!(
                "the token of {name} is limited to some steps, and {about}: ask an operator for a token with the scope read \
                 and without patterns"
            );
            return fail(Code::Forbidden, detail);
        }
        Ok(())
    }

    /// Returns the refusal of a request about a step that no pattern of the caller's token matches. The refusal does
    /// not reveal whether the step exists.
    fn outside(&self, name: &Name, step: &StepRef) -> Refusal {
        let patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        Refusal::new(
            Code::Forbidden,
            format!(
                "{name} may not use {step}, because its token is only for {}: ask an operator for a token for this step \
                 (`countersign token create NAME --step '{step}'`)",
                patterns.join(", ")
            ),
        )
    }

    /// Checks that the caller may see whether this step exists.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name, and `forbidden` if the caller's token is for other steps.
    pub fn demand_known(&self, step: &StepRef) -> RequestResult {
        match &self.name {
            Some(name) if !self.scopes.is_empty() && !self.may_know(step) => {
                Err(self.outside(name, step).into())
            }
            _ => Ok(()),
        }
    }
}

/// The facts that an ID token states about a caller.
pub struct AdmittedCaller {
    /// The boundary's description of the job, as JSON.
    pub job: Arc<str>,
    /// Claim `jti` of the ID token.
    pub jti: String,
    /// The parameters that a proposal of the job must have.
    pub bound: Vec<BoundParameter>,
}

/// A parameter whose value a claim states.
pub struct BoundParameter {
    /// Name of the parameter.
    pub name: String,
    /// Name of the claim.
    pub claim: String,
    /// The value: a text, a number or a truth value.
    pub value: Value,
}

impl AdmittedCaller {
    /// Checks that the parameters have the values that the claims state. Returns the description of the job.
    ///
    /// # Errors
    /// Returns `invalid-params` for the first parameter that differs. The refusal does not repeat the given value,
    /// which may be a secret.
    pub fn check(&self, params: &Value) -> Result<Arc<str>, Refusal> {
        for BoundParameter { name, claim, value } in &self.bound {
            let given = &params[name.as_str()];
            // GitHub and GitLab state numbers as texts, but the parameter of a step may be a number.
            let as_text = || claim_text(given).is_some_and(|text| value.as_str() == Some(&text));
            if given != value && !as_text() {
                let detail = format!(
                    "the parameter must be {value}, which the claim `{claim}` of the job's ID token states"
                );
                return fail_at(
                    Code::InvalidParams,
                    format!("/{name}: {detail}"),
                    format!("/params/{name}"),
                    detail,
                );
            }
        }
        Ok(self.job.clone())
    }
}

/// Returns the text of a string, and the JSON of a number or a truth value. Other values have no text.
pub fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Lets callers use their sessions.
pub struct SessionAccess {
    pub crossing: Arc<Crossing>,
    pub sessions: Arc<Sessions>,
    pub surroundings: Surroundings,
}

impl SessionAccess {
    /// Begins a session for the steps of a runbook.
    ///
    /// # Errors
    /// Returns `unknown-step` if the caller may propose no step of the runbook that uses a session, and the refusals of
    /// [`Sessions::create`].
    pub fn create(&self, caller: &Caller, runbook: &str) -> RequestResult<SessionView> {
        let name = caller.demand(Scope::Propose, None)?;
        self.demand_step(caller, runbook)?;
        let sealed = self.crossing.state();
        let now = self.crossing.now();
        let end_ms = self.surroundings.millis_of(now) + MAX_SESSION_S.unsigned_abs() * 1000;
        let id = SessionId::new(end_ms, self.surroundings.bytes());
        let user = session_user(&sealed, name);
        let facts = self.sessions.create(
            id,
            self.surroundings.bytes(),
            &user,
            runbook.to_owned(),
            now,
        )?;
        Ok(view(facts))
    }

    /// Checks that the caller may propose a step of the runbook that uses a session.
    fn demand_step(&self, caller: &Caller, runbook: &str) -> RequestResult {
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
            return fail_at(Code::UnknownStep, detail, "/runbook", "no such step");
        }
        Ok(())
    }

    /// Returns the sessions that the caller may use. Callers with the scope `read` or `operate` see all sessions.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name.
    pub fn list(&self, caller: &Caller) -> RequestResult<SessionList> {
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
    pub fn show(&self, caller: &Caller, id: &SessionId) -> RequestResult<SessionView> {
        let _ = self.sessions.expire();
        Ok(view(self.sessions.show(id, self.viewer(caller)?.as_ref())?))
    }

    /// Ends a session and creates a new session for the same runbook.
    ///
    /// # Errors
    /// Returns the same refusals as [`Self::show`] and [`Self::create`].
    pub fn reset(&self, caller: &Caller, id: &SessionId) -> RequestResult<SessionView> {
        // `end` also checks the runbook, so the new session is possible before the old one ends.
        let ended = self.end(caller, id)?;
        self.create(caller, &ended.runbook)
    }

    /// Ends a session and removes its files.
    ///
    /// # Errors
    /// Returns the same refusals as [`Self::show`].
    pub fn end(&self, caller: &Caller, id: &SessionId) -> RequestResult<SessionView> {
        let user = self.user(caller)?;
        self.demand_step(caller, &self.sessions.show(id, Some(&user))?.runbook)?;
        Ok(view(self.sessions.end(id, &user)?))
    }

    fn user(&self, caller: &Caller) -> RequestResult<SessionUser> {
        Ok(session_user(
            &self.crossing.state(),
            caller.demand(Scope::Propose, None)?,
        ))
    }

    /// Returns the user whose sessions the caller may see, or `None` if the caller may see all sessions.
    fn viewer(&self, caller: &Caller) -> RequestResult<Option<SessionUser>> {
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

#[cfg(test)]
mod admitted_caller_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_parameter_has_exactly_the_text_of_the_claim() {
        let stated = |value: Value| AdmittedCaller {
            job: "{}".into(),
            jti: "1".to_owned(),
            bound: vec![BoundParameter {
                name: "n".into(),
                claim: "sha".into(),
                value,
            }],
        };
        let bound = |text: &str| stated(text.into());
        assert!(stated(json!(7)).check(&json!({"n": 7})).is_ok());
        assert!(
            stated(json!(7)).check(&json!({"n": "7"})).is_err(),
            "a number is no text"
        );
        assert!(
            stated(json!(true)).check(&json!({"n": "true"})).is_err(),
            "a truth value is no text"
        );
        for (value, good) in [
            ("ab", json!("ab")),
            ("7", json!(7)),
            ("7", json!("7")),
            ("true", json!(true)),
        ] {
            assert!(
                bound(value).check(&json!({"n": good, "other": 1})).is_ok(),
                "{value}"
            );
        }
        for bad in [
            json!("AB"),
            json!("ab "),
            json!(null),
            json!(["ab"]),
            json!({"ab": 1}),
            json!(1),
        ] {
            let refusal = bound("ab")
                .check(&json!({"n": bad}))
                .expect_err("another value");
            assert_eq!(
                (refusal.code, &*refusal.places[0].pointer),
                (Code::InvalidParams, "/params/n")
            );
        }
        assert!(
            bound("ab")
                .check(&json!({}))
                .is_err_and(|refusal| refusal.detail.contains("`sha`")),
            "no parameter"
        );
        assert!(bound("ab").check(&json!([])).is_err());
    }
}
