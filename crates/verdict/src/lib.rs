//! Computes verdicts from the sealed state and an envelope: who may approve a run, and whether the history in a log is
//! sound.
//!
//! - `trust`: the people and their public keys
//! - `decision`: pure functions that compute a verdict from the sealed state and an envelope
//! - `audit`: offline verification
#![forbid(unsafe_code)]

mod audit;
mod decision;
mod trust;

pub use audit::{
    bundle_check::{self, MAY_BE_OPEN, RosterTrust, Untrusted, VerifyOptions, verify},
    entry::{self, LogEntry},
    finding::{
        AuditCounts, AuditEvent, DecisionLine, DenialLine, EntryVerdict, Finding, FindingKind,
        GrantLine, OpenRun, ReviewedLine, RevocationLine, RunReviewState, Summary,
    },
    history::{Auditor, Expected},
    lost_run::{LostRun, decide_lost, sealed_at},
    newer_roster::leave_to,
    report::{
        self, ApprovedFacts, BundleReport, Check, CheckFinding, CheckName, Facts, UsedGrant,
        VersionFacts,
    },
    saved_state::SavedAudit,
    seal_in_force::{
        SealInForce,
        rosters::{LoggedRosters, rosters_in},
    },
    seen_head::SeenHead,
    tiles::{EvidenceFiles, Unreadable},
};
pub use decision::{
    Objection,
    emergency::rules_of_run,
    exclusion::{self, ExcludedSigners, Tokens},
    grant_error::GrantError,
    granted_parameters::check_usable,
    grants::{
        Authority, Covered, GrantContext, PreparedGrant, Stands, check_grantee, covers,
        judge_excluded, revocable, stands, verify_grant,
    },
    in_force::{
        StepInForce, StepsInForce, parse_scripts, share_needs, steps_in_force, steps_to_seal,
    },
    parameters::{ParametersError, ParametersFit, check_parameters},
    passkeys::{SigningProgram, signing_program},
    permissions::{
        PermissionsCovered, PermissionsError, ProfileHolds, check_permissions, check_profile,
    },
    place::{AtThisBoundary, check_place},
    plan::{PlanFacts, PlannedRun, check_plan},
    quorum,
    quorum_rules::QuorumRules,
    reach::EligibleApprovers,
    reviews::{
        CountedReview, ReviewContext, ReviewError, ReviewOpinion, ReviewRules, RunReviews,
        Settlement, check_reviewer, excluded_words,
    },
    revocations::{
        NotRevoked, RevocableGrant, RevocationContext, Revocations, RevokedRun, check_may_revoke,
        check_not_revoked,
    },
    sealed_tokens::{MayPropose, SealedTokens},
    signature_count::{self, NotCounted, SignatureCount, count, count_unrevoked},
    step::{HashedStep, StepError, StepSealed, check_step},
    window::{RunWindow, TimeLimits, WindowBounds, WithinWindow, check_window},
};
pub use trust::{
    chain::{Chain, Pinned},
    chain_error::{ChainError, MAX_VERSIONS},
    key_history::KeyHistory,
    succession::{SuccessionTallies, ThresholdTally},
    trusted_roster::{KeyHolder, RosterError, TrustedRoster},
    version_file::{self, FileWritten, MAX_FILE_BYTES, directory_of},
    version_reading::payload_of,
};

pub(crate) use audit::{
    check_ledger::{CheckOutcome, CheckStop, Checked},
    decided::{check_each_counts, check_outcome, check_sandbox},
    documents::{LogProofs, SealedRoster, check_included, verify_authorization},
    entry::EntryParts,
    finding::UncheckedQuestion,
    history::LATE_S,
    report::{TrustBasis, WitnessFacts},
    runs::Runs,
    seal_in_force::{
        Seals,
        named_documents::SealedState,
        rosters::{Rosters, part_of, read_part},
    },
    seen_head::verify_head,
    tiles::Tiles,
    used_values::{Place, UsedValues},
    witness_check::check_witnesses,
};
pub(crate) use decision::{
    emergency::EmergencyError,
    exclusion::ExclusionError,
    passkeys::PasskeyError,
    place::PlaceError,
    quorum::{QuorumError, QuorumMet},
    quorum_rules::{RuleError, RuleSigner},
    revocations::RevokedBefore,
    signature_count::UncountedSignature,
    step::check_recorded_step,
};
