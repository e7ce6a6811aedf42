//! What was found out about a statement: its checks, and where it stands.

use serde_json::Value;

use crate::crypto::digest::AuthorizationDigest;
use crate::crypto::sshsig::KeyId;
use crate::record::authorization::Authorization;
use crate::record::document::Statement;
use crate::record::ident::Name;
use crate::record::profile::Profile;
use crate::record::step::{Approvals, StepDefinition};
use crate::review::line::Lines;

/// One thing that was looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewCheck {
    /// What.
    pub what: &'static str,
    /// What came of it.
    pub finding: ReviewFinding,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewFinding {
    /// It holds.
    Holds,
    /// It does not, and why.
    Fails(String),
    /// It could not be looked into, and why.
    NotChecked(String),
}

/// Whether this may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementVerdict {
    /// All that this program derived is what is to be signed.
    Sound,
    /// Nothing contradicts, but there is no trusted roster to check with.
    NoTrust,
    /// Something contradicts, or could not be checked.
    Unsound,
}

/// What was found out.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Digest of the payload: what a signature names.
    pub digest: AuthorizationDigest,
    /// The payload, read strictly.
    pub statement: Option<Statement<Authorization>>,
    /// The payload as JSON, for the exact listing.
    pub payload: Option<Value>,
    /// The definition, when its digest is the signed one.
    pub definition: Option<(StepDefinition, Value)>,
    /// Rules that must all be met, and who makes them.
    pub rules: Vec<(&'static str, Approvals)>,
    /// The sandbox as this program derives it.
    pub profile: Option<Profile>,
    /// People whose signatures over these bytes this program verified.
    pub signers: Vec<(Name, KeyId)>,
    /// Signatures that are of nobody known, or do not verify.
    pub strangers: Vec<String>,
    /// Every check, in order.
    pub checks: Vec<ReviewCheck>,
    /// Whether this may be signed.
    pub standing: StatementVerdict,
    /// What a face draws.
    pub lines: Lines,
}

/// The check that the sandbox follows from what is sealed.
pub const SANDBOX: &str = "the sandbox is what this program derives";

/// The check that boundary and epoch are those of the seal.
pub const SEALED: &str = "boundary and epoch are the seal's";

/// The check that what runs is the script that is shown.
pub const SCRIPT_DIGEST: &str = "the script to run has the signed digest";

/// The check that no signed field is left out.
pub const COVERED: &str = "every signed field is shown, or equals what is shown or a built-in default";

/// The check that the approver trusts the roster in force.
pub const TRUSTED: &str = "the roster in force is the one you trust";
