//! Authorization: the statement that approvers sign for one proposal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::{
    Artifacts, AuthorizationDigest, BoundaryName, ContentDigest, Emergency, Epoch, KeyId,
    Malformed, Name, Nonce, ParamsDigest, PlanReference, Predicate, Profile, ProgramList,
    ProposalId, RenderedDigest, SealDigest, SessionReference, Statement, StepDigest, StepRef,
    Subject, Timestamp, Verified, canonical, check_sorted, check_subjects,
};

/// Maximum size of an authorization's payload, in bytes.
pub const MAX_AUTHORIZATION_BYTES: usize = 25 << 10;
/// Maximum size of the parameter object, in bytes of canonical JSON.
pub const MAX_PARAMS_BYTES: usize = 16 << 10;
/// Maximum number of characters of a reason.
pub const MAX_REASON_CHARS: usize = 1 << 10;
/// Maximum size of a reason, in bytes of canonical JSON without the quotes.
pub const MAX_REASON_BYTES: usize = 6 << 10;
/// Maximum number of permissions in one authorization.
pub const MAX_PERMISSIONS: usize = 64;
/// Maximum length of the name of a permission, in bytes.
pub const MAX_PERMISSION_BYTES: usize = 128;

/// Maximum length of the claim `jti` in an authorization, in bytes.
const MAX_JTI_BYTES: usize = 128;

/// The statement that approvers sign for one proposal: one step with these parameters and this nonce, at one boundary,
/// for one run.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The only boundary that may execute the run.
    pub boundary: BoundaryRef,
    /// Id of the proposal: `prp_` and a UUID of version 7. Its first 48 bits are `expires_at` in milliseconds since 1970.
    pub proposal: ProposalId,
    /// The nonce, which the boundary accepts once. Its first 8 bytes are `expires_at` in seconds since 1970.
    pub nonce: Nonce,
    /// The step.
    pub step: StepReference,
    /// All parameters, including the defaults that the boundary added. Not encrypted.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Digest of the script that runs. For a template, this is the script with the parameters.
    pub rendered: RenderedDigest,
    /// The permissions that policy requires, sorted. The signatures grant them for this run.
    #[schemars(length(max = MAX_PERMISSIONS), extend("uniqueItems" = true))]
    pub permissions: Vec<Permission>,
    /// The sandbox of the run.
    pub sandbox: Profile,
    /// Token or proposer that made the proposal.
    pub proposer: Name,
    /// Reason for the run, as the proposer wrote it.
    #[schemars(length(max = MAX_REASON_CHARS))]
    pub reason: String,
    /// Time at which the statement was made.
    pub issued_at: Timestamp,
    /// The nonce can be spent from this time on.
    pub not_before: Timestamp,
    /// The nonce can be spent before this time, and no longer from this time on.
    pub expires_at: Timestamp,
    /// The session of the run, with the state that the approvers saw. Present if the step uses a session.
    pub session: Option<SessionReference>,
    /// The uploaded files that the run receives.
    pub artifacts: Option<Artifacts>,
    /// The plan that the run applies. Present if the step has a plan.
    pub plan: Option<PlanReference>,
    /// Digest of the payload of the grant that the run uses. Then only the grantee signs.
    pub grant: Option<ContentDigest>,
    /// The token that uses the grant. Then the boundary signs: it says that the caller presented the token.
    pub by: Option<TokenUse>,
    /// True for an emergency. Then the rule `emergency` of policy takes the place of its approval rule.
    pub emergency: Option<Emergency>,
}

/// A use of a grant by a token.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenUse {
    /// Name of the token.
    pub token: Name,
    /// Claim `jti` of the ID token that opened the token, if its jobs have ID tokens.
    #[schemars(length(min = 1, max = MAX_JTI_BYTES))]
    pub jti: Option<String>,
}

impl TokenUse {
    /// Checks the claim `jti`.
    ///
    /// # Errors
    /// Returns an error if the claim is empty or too long, or has control characters.
    pub fn check(&self) -> Result<(), Malformed> {
        let jti = self.jti.as_deref().unwrap_or("-");
        if jti.is_empty() || jti.len() > MAX_JTI_BYTES || jti.chars().any(char::is_control) {
            let why = format!(
                "expected a claim jti of 1 to {MAX_JTI_BYTES} bytes without control characters"
            );
            return Err(Malformed::at("/jti", why));
        }
        Ok(())
    }
}

/// The boundary for which a statement is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundaryRef {
    /// Name of the boundary. Several boundaries can have the same name.
    pub name: BoundaryName,
    /// Id of the boundary: the digest of the first seal of its log. No two boundaries have the same id.
    pub id: SealDigest,
    /// Epoch of the seal in force. With another epoch, the boundary refuses the statement as `revoked`.
    pub epoch: Epoch,
}

/// A step, by its ref and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepReference {
    /// Ref of the step: `PATH:ID`.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Digest of the step's definition.
    pub digest: StepDigest,
}

/// A permission that policy requires. The signatures of the approvers grant it for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// What the permission is about.
    #[serde(rename = "type")]
    pub kind: PermissionKind,
    /// The command, path or variable, at most 128 bytes. If `why` is `unknown`: the text in the script, and `@` with
    /// the number of its line.
    #[schemars(length(max = MAX_PERMISSION_BYTES))]
    pub what: String,
    /// Why policy requires the permission.
    pub why: PermissionReason,
}

words! {
    /// What a permission or a grant is about.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum PermissionKind {
        /// A command that the script starts.
        Run = "run",
        /// A path that the script reads.
        Read = "read",
        /// A path that the script writes.
        Write = "write",
        /// An environment variable that the script uses.
        Env = "env",
    }
}

words! {
    /// Why policy requires a permission.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum PermissionReason {
        /// No list of the policy names the command, path or variable.
        Unlisted = "unlisted",
        /// A built-in deny list names the command, path or variable.
        BuiltInDeny = "built-in-deny",
        /// The boundary cannot know the command or path before the run.
        Unknown = "unknown",
    }
}

impl Verified<Authorization> {
    /// Adds the list of programs that the profile names.
    ///
    /// # Errors
    /// Returns an error if the list is missing, or if the profile names another list or none.
    pub fn add_programs(&mut self, list: Option<&ProgramList>) -> Result<(), Malformed> {
        let added = self.predicate_mut().sandbox.add_programs(list);
        added.map_err(|error| error.below("/predicate/sandbox"))
    }

    /// Returns the digest that names this authorization.
    pub fn digest_as(&self) -> AuthorizationDigest {
        AuthorizationDigest::from_bytes(self.digest())
    }
}

impl Authorization {
    /// Returns the statement with its subjects.
    ///
    /// # Errors
    /// Returns an error if the parameters cannot be written as canonical JSON.
    pub fn into_statement(self) -> Result<Statement<Self>, Malformed> {
        let subjects = self.subjects_of(self.params_digest()?);
        Ok(Statement::new(self, subjects))
    }

    /// Returns the digest of the parameters.
    ///
    /// # Errors
    /// Returns an error if the parameters cannot be written as canonical JSON.
    pub fn params_digest(&self) -> Result<ParamsDigest, Malformed> {
        let bytes = canonical::canonical_of(&self.params)
            .map_err(|error| Malformed::at("/predicate/params", error))?;
        Ok(ParamsDigest::of(&bytes))
    }

    fn subjects_of(&self, params: ParamsDigest) -> Vec<Subject> {
        let mut subjects = vec![
            Subject::new(self.step.reference.as_str(), self.step.digest.as_bytes()),
            Subject::new("params", params.as_bytes()),
        ];
        subjects.extend(self.artifacts.iter().flat_map(Artifacts::subjects));
        subjects
    }
}

impl Predicate for Authorization {
    const KIND: &'static str = "authorization";
    const MAX_BYTES: usize = MAX_AUTHORIZATION_BYTES;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        check_end("/predicate/nonce", &self.nonce, self.expires_at)?;
        if self.proposal.millis() != self.expires_at.unix().unsigned_abs() * 1000 {
            let message = "the first 48 bits of the id must be expires_at in milliseconds";
            return Err(Malformed::at("/predicate/proposal", message));
        }
        if let Some(session) = &self.session {
            session.check_end("/predicate/session", self.expires_at)?;
        }
        if !self.params.is_object() {
            return Err(Malformed::at("/predicate/params", "expected an object"));
        }
        let params = canonical::canonical_of(&self.params)
            .map_err(|error| Malformed::at("/predicate/params", error))?;
        if params.len() > MAX_PARAMS_BYTES {
            let bytes = params.len();
            let message = format!("{bytes} bytes, at most {MAX_PARAMS_BYTES} are allowed");
            return Err(Malformed::too_large("/predicate/params", message));
        }
        check_reason("/predicate/reason", &self.reason)?;
        check_permissions("/predicate/permissions", &self.permissions)?;
        self.sandbox.check("/predicate/sandbox")?;
        if let Some(emergency) = &self.emergency {
            emergency
                .check()
                .map_err(|error| error.below("/predicate/emergency"))?;
            if self.grant.is_some() {
                let why = "an emergency cannot use a grant: leave out one of the two";
                return Err(Malformed::at("/predicate/emergency", why));
            }
        }
        if let Some(by) = &self.by {
            if self.grant.is_none() || by.token != self.proposer {
                let why = "expected the proposer, and a field `grant`";
                return Err(Malformed::at("/predicate/by/token", why));
            }
            by.check().map_err(|error| error.below("/predicate/by"))?;
        }
        if let Some(artifacts) = &self.artifacts {
            artifacts
                .check()
                .map_err(|error| error.below("/predicate/artifacts"))?;
        }
        check_subjects(subjects, &self.subjects_of(ParamsDigest::of(&params)))
    }

    fn check_signatures(&self, keyids: &[&KeyId]) -> Result<(), Malformed> {
        if self.grant.is_none() || keyids.len() == 1 {
            return Ok(());
        }
        let found = keyids.len();
        Err(Malformed::at(
            "/signatures",
            format!(
                "found {found} signatures, expected one: only the grantee, or the boundary for a token, signs the use of a grant"
            ),
        ))
    }
}

/// Checks that a nonce carries the end that the document states.
///
/// # Errors
/// Returns an error with both times.
pub fn check_end(pointer: &str, nonce: &Nonce, expires_at: Timestamp) -> Result<(), Malformed> {
    if nonce.end() == expires_at {
        return Ok(());
    }
    let message = format!(
        "the nonce ends at {}, and expires_at is {expires_at}: both must be the same time",
        nonce.end()
    );
    Err(Malformed::at(pointer, message))
}

/// Checks the size of a reason.
///
/// # Errors
/// Returns an error that names the size of the reason.
pub fn check_reason(pointer: &str, reason: &str) -> Result<(), Malformed> {
    let chars = reason.chars().count();
    if chars > MAX_REASON_CHARS {
        let message = format!("{chars} characters, at most {MAX_REASON_CHARS} are allowed");
        return Err(Malformed::too_large(pointer, message));
    }
    let bytes = canonical::canonical_of(reason).map_err(|error| Malformed::at(pointer, error))?;
    // The quotes do not count towards the size.
    let bytes = bytes.len().saturating_sub(2);
    if bytes > MAX_REASON_BYTES {
        let message = format!(
            "{bytes} bytes as JSON, at most {MAX_REASON_BYTES} are allowed (an emoji takes 12): shorten the text"
        );
        return Err(Malformed::too_large(pointer, message));
    }
    Ok(())
}

/// Checks the number, the length and the order of the permissions. No permission may occur twice.
///
/// # Errors
/// Returns an error for the first permission that breaks a rule.
pub fn check_permissions(pointer: &str, permissions: &[Permission]) -> Result<(), Malformed> {
    if permissions.len() > MAX_PERMISSIONS {
        return Err(Malformed::too_large(
            pointer,
            format!("at most {MAX_PERMISSIONS} are allowed"),
        ));
    }
    for (at, permission) in permissions.iter().enumerate() {
        if permission.what.len() > MAX_PERMISSION_BYTES {
            return Err(Malformed::too_large(
                format!("{pointer}/{at}/what"),
                format!("at most {MAX_PERMISSION_BYTES} bytes are allowed"),
            ));
        }
    }
    check_sorted(pointer, permissions)
}
