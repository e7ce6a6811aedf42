//! The documents that are hashed and signed.
//!
//! - `crypto`: digests, strict JSON, signatures and Merkle trees
//! - `record`: the documents
#![forbid(unsafe_code)]

#[macro_use]
mod words;

mod crypto;
mod mutex;
mod record;

pub use crypto::{
    canonical::{self, canonical_of, parse_canonical, to_canonical},
    digest::{
        AuthorizationDigest, Blake3Digest, Blake3Stream, BlobDigest, ContentDigest,
        DigestFormatError, InputDigest, LeafHash, ParamsDigest, PolicyDigest, RegistryRoot,
        RenderedDigest, RosterDigest, SealDigest, Sha256Stream, StepDigest, hex, sha256, unhex,
        unhex32,
    },
    json::{self, JsonError, ReadError, Reason, parse_as},
    key_file::{MAX_KEY_FILE_BYTES, public_key_line},
    key_id::KeyId,
    merkle::{self, Frontier, Hash, leaf_hash, node_hash, root_of},
    note::{
        self, MAX_ENTRY_BYTES, MAX_NOTE_BYTES, Note, NoteSignature, TILE_HEIGHT, TILE_WIDTH,
        TileKind, TilePath, TlogProof, WitnessKey, key_hash, lines_of_others, parse_signatures,
        push_entry, sign_note, split_entries, verify_note, vkey,
    },
    passkey::{PASSKEY, Passkey},
    passkey_signing::{BrowserAnswer, PasskeyMessage, enrolled},
    secret_value::SecretValue,
    signature::{PAYLOAD_TYPE, PemError, PublicKey, SIGNATURE_BYTES, SecretKey, pae},
    ssh_key::{ForeignKey, SshKey, SshKeyError},
    ssh_wire::WireReader,
    sshsig::{
        self, MAX_SIGNATURE_BYTES, NAMESPACE, Presence, SignatureError, StatementKey,
        is_of_synced_passkey,
    },
};
pub use mutex::locked;
pub use record::{
    authorization::{
        Authorization, BoundaryRef, MAX_AUTHORIZATION_BYTES, MAX_PARAMS_BYTES,
        MAX_PERMISSION_BYTES, MAX_PERMISSIONS, MAX_REASON_BYTES, MAX_REASON_CHARS, Permission,
        PermissionKind, PermissionReason, StepReference, TokenUse, check_end, check_reason,
    },
    bundle::{
        self, Bundle, BundledRosters, MAX_BUNDLE_BYTES, MAX_MADE_BYTES, MEDIA_TYPE, StepProof,
    },
    checkpoint::{self, Checkpoint, origin},
    code::Code,
    consumption::{AuthorizationRef, Consumption, MAX_ITEMS, Spent},
    declared::{self, DeclaredLimits, DeclaredNetwork, DeclaredSandbox, Limit},
    denial::{Denial, denied},
    document::{
        Malformed, PREDICATE_BASE, Predicate, Statement, Subject, check_no_null, check_sorted,
        predicate_type,
    },
    enforcement::{
        self, Capabilities, Enforcement, FilesystemFacts, HeldLimit, LandlockFacts, LandlockStatus,
        Level, LimitFacts, LimitHolder, MAX_REFUSED_HOSTS, Masks, RefusedHost, Root, SeccompFacts,
        UNBOUNDED, UNBOUNDED_WORDS,
    },
    envelope::{
        self, Base64, Envelope, EnvelopeSignature, MAX_SIGNATURES, Signed, Verified,
        VerifiedSignature, VerifyError,
    },
    grant::{Grant, GrantRate, GrantedSession, GrantedStep, Grantee, KeyGrantee, TokenGrantee},
    hidden_character::{HiddenCharacter, push_escape, push_visible, visible},
    ident::{
        ArtifactName, BoundaryName, Epoch, GenesisSalt, GrantId, GroupName, HostPath, IdentError,
        Name, Nonce, OWN_PROGRAMS, OutputName, Program, ProposalId, ProposalIdEnding, ReceiptId,
        RelativePath, SecretName, SessionId, StepRef, Variable, listed_name,
    },
    joined::{first_of, joined},
    kinds::{self, Carrier, KINDS, LeafKind, StatementKind, schema_of},
    network_host::{
        AllowedHost, HostRefusal, MAX_HOSTS, check_host, check_origin, check_reach,
        check_unresolved, check_user, is_localhost, shortened,
    },
    parameter::{Parameter, ParameterType, parameter_variable, secret_name},
    profile::{ISOLATED, Layer, Limits, Network, NetworkMode, Proc, Profile, STRICT, Workdir},
    program_list::{ListedProgram, MAX_PROGRAMS, MAX_PROGRAMS_BYTES, ProgramList},
    receipt::{
        ConsumptionRef, Decision, Files, Outcome, Output, Receipt, ReceiptBoundary, Status, Stream,
        Usage,
    },
    refusal_statement::{RefusalStatement, RefusingBoundary},
    refused_parts::{RefusedPart, refused_parts, refused_words},
    review_statement::{ObservedEnd, ReviewStatement, ReviewVerdict, reviewed},
    revocation::{Revocation, RevokedSubject, revoked},
    roster::{
        Approver, Group, KeyList, MAX_ROSTER_BYTES, PresenceRule, Proposer, Roster,
        RosteredApprover, UserConfiguration, Witness,
    },
    roster_version::{PatchedRoster, RosterVersion, merge, patch_between, patched},
    run_extensions::{
        Artifact, Artifacts, Emergency, Execution, Executions, GrantUse, MAX_ARTIFACTS_BYTES,
        MAX_GRANT_S, MAX_MANIFEST_BYTES, MAX_MANIFEST_ENTRIES, MAX_NAMED_PROGRAMS, MAX_PLAN_AGE_S,
        MAX_PROGRAM_FACTS_BYTES, MAX_REFUSED, MAX_STARTED, MAX_USES, Manifest, ManifestEntry,
        OUTPUTS_PATH, PlanReference, ProgramFacts, ProgramMode, SEARCHED, SessionChange,
        SessionReference,
    },
    schema::{self, settings},
    seal::{
        ENGINE, FollowedLog, Genesis, MAX_BLOB_BYTES, MAX_SEALED_ROSTERS_BYTES, Seal,
        SealedBoundary, is_own_engine, parses_alike,
    },
    sealed_token::{OidcBinding, Scope, SealedToken},
    step_definition::{
        Approvals, Configuration, ConfiguredLimits, ConfiguredSandbox, Format, GroupSource,
        MAX_DEFINITION_BYTES, MAX_EACH_GROUPS, MAX_FILE_BYTES, MAX_FILES, MAX_FILES_BYTES,
        MAX_SOURCE_BYTES, OUTPUT_TYPES, OWN_VARIABLES, RegistryLeaf, SCRIPT_NAMES, SecretAs,
        SessionUse, StepDefinition, StepFile, StepOutput, StepPlan, StepSecret, Template,
        check_files, inside_a_file,
    },
    stream_name::StreamName,
    validity::{
        DEFAULT_WINDOW_S, MAX_SESSION_S, MAX_WINDOW_S, OpenWindow, SKEW_S, Timestamp, WindowError,
        judge,
    },
};

pub(crate) use crypto::{json::MAX_INTEGER, passkey::ASSERTION};
pub(crate) use record::{
    document::{check_by, check_bytes, check_count, check_range, check_subjects, only_subject},
    run_extensions::MAX_NAMED_PROGRAMS_BYTES,
};
