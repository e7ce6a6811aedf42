//! Receipt: the boundary's signed statement about one run and its outcome.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    AuthorizationRef, Blake3Digest, BoundaryName, ContentDigest, Enforcement, GroupName, KeyId,
    LeafHash, Limit, Malformed, Manifest, Name, PolicyDigest, Predicate, ProgramFacts, SealDigest,
    SessionChange, Statement, Subject, Timestamp, canonical, check_sorted, check_subjects,
};

/// The boundary's statement about one run: its approvers, the sandbox, the outcome and the digests of the output.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The log entry which states that the nonce was spent.
    pub consumption: ConsumptionRef,
    /// The log entry of the authorization, which has the signatures that counted.
    pub authorization: AuthorizationRef,
    /// The approvers who counted, and the people who could not count.
    pub decision: Decision,
    /// How the run ended.
    pub outcome: Outcome,
    /// Time at which the run started. For the outcome `unknown`, the time at which the boundary wrote the receipt after
    /// a restart.
    pub started_at: Timestamp,
    /// Time at which the run ended. For the outcome `unknown`, the same as `started_at`.
    pub finished_at: Timestamp,
    /// Duration of the run in milliseconds, by a clock that never goes back.
    pub duration_ms: u64,
    /// Digests of the output of the run.
    pub output: Output,
    /// The files that the run left.
    pub files: Files,
    /// The parts of the sandbox that were enforced.
    pub sandbox: Enforcement,
    /// The programs that the run executed. Present if the profile has a list of programs and the run started.
    pub programs: Option<ProgramFacts>,
    /// The resources that the run used.
    pub usage: Usage,
    /// The states of the session before and after the run. Present if the authorization has a session.
    pub session: Option<SessionChange>,
    /// Digest of the seal in force when the nonce was spent.
    pub seal: SealDigest,
    /// The boundary that signs the receipt.
    pub boundary: ReceiptBoundary,
}

/// One item of a consumption in the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumptionRef {
    /// Index of the consumption's log entry, from 0.
    pub index: u64,
    /// Leaf hash of this log entry (RFC 6962).
    pub leaf: LeafHash,
    /// Index of the item in `spent` of the consumption, from 0.
    pub item: u64,
}

/// The approvers who counted, and the people who could not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Names of the approvers whose signatures counted, sorted.
    #[schemars(extend("uniqueItems" = true))]
    pub approvers: Vec<Name>,
    /// Groups of the approval rules for which a counted approver counts, sorted.
    #[schemars(extend("uniqueItems" = true))]
    pub groups: Vec<GroupName>,
    /// Names of everyone whose signature does not count, sorted: the proposer, the token or person that submitted the
    /// envelope, and the owners of both.
    #[schemars(extend("uniqueItems" = true))]
    pub excluded: Vec<Name>,
    /// Name of the token or person that submitted the envelope.
    pub handed_in_by: Name,
    /// Digest of the policy in force.
    pub policy: PolicyDigest,
}

/// Maximum size of the decision in a receipt, in bytes of canonical JSON. The rest of the receipt always has space for
/// the facts that are known only after the run, so no receipt can be too large after the nonce is spent.
const MAX_DECISION_BYTES: usize = 2 << 10;

impl Decision {
    /// Checks before a nonce is spent that the decision fits into a receipt.
    ///
    /// # Errors
    /// Returns `too-large` if the decision names so many groups or people that no receipt could be written.
    pub fn check_room(&self) -> Result<RoomInReceipt, Malformed> {
        let bytes = canonical::canonical_of(self)?.len();
        if bytes <= MAX_DECISION_BYTES {
            return Ok(RoomInReceipt(()));
        }
        let message = format!(
            "{} approvers, {} groups and {} excluded people take {bytes} bytes of a receipt, but at most \
             {MAX_DECISION_BYTES} are allowed: name fewer groups in the rule, or fewer owners",
            self.approvers.len(),
            self.groups.len(),
            self.excluded.len()
        );
        Err(Malformed::too_large("", message))
    }
}

/// Proof that a decision fits into a receipt. Only [`Decision::check_room`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct RoomInReceipt(());

/// How a run ended.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The status of the run.
    pub status: Status,
    /// Exit code of the step. Present if the step exited.
    pub exit_code: Option<u8>,
    /// Number of the signal that ended the step. Present if a signal ended the step.
    pub signal: Option<u8>,
    /// Name of the limit in the profile that ended the run. Present if the status is `killed`.
    #[schemars(extend("enum" = Limit::ALL.map(Limit::field)))]
    pub limit: Option<String>,
}

words! {
    /// The status of a run that has ended.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub enum Status {
        /// The exit code was 0.
        Succeeded = "succeeded",
        /// The exit code was 2, which means success with a warning.
        Warned = "warned",
        /// The exit code was neither 0 nor 2, or a signal ended the step.
        Failed = "failed",
        /// The run took longer than its limit `wall_ms`.
        TimedOut = "timed_out",
        /// A person or a token cancelled the run.
        Cancelled = "cancelled",
        /// A limit of the profile ended the run.
        Killed = "killed",
        /// Nothing was executed, and the boundary has proof of this.
        NotStarted = "not_started",
        /// The nonce was spent, but the boundary did not see the end of the run, for example because of a crash.
        Unknown = "unknown",
    }
}

impl Outcome {
    /// Returns the outcome of a step that exited with the code `code`.
    pub fn exited(code: u8) -> Self {
        let status = match code {
            0 => Status::Succeeded,
            2 => Status::Warned,
            _ => Status::Failed,
        };
        Self {
            exit_code: Some(code),
            ..Self::of(status)
        }
    }

    /// Returns the outcome of a step that `signal` ended.
    pub fn signalled(signal: u8) -> Self {
        Self {
            signal: Some(signal),
            ..Self::of(Status::Failed)
        }
    }

    /// Returns an outcome without an exit code.
    pub fn of(status: Status) -> Self {
        Self {
            status,
            exit_code: None,
            signal: None,
            limit: None,
        }
    }

    /// Checks that status, exit code, signal and limit do not contradict each other.
    ///
    /// # Errors
    /// Returns an error for the fields that contradict each other.
    pub fn check(&self) -> Result<(), Malformed> {
        let expected = match (self.status, self.exit_code, self.signal) {
            (Status::Failed, None, Some(_)) => self.signal.map(Self::signalled),
            (Status::Succeeded | Status::Warned | Status::Failed, Some(code), None) => {
                Some(Self::exited(code))
            }
            (Status::Killed, None, None) => {
                let is_known = self.limit.as_deref().is_some_and(is_limit);
                is_known.then(|| self.clone())
            }
            (
                Status::TimedOut | Status::Cancelled | Status::NotStarted | Status::Unknown,
                None,
                None,
            ) => Some(Self::of(self.status)),
            _ => None,
        };
        if expected.as_ref() == Some(self) {
            Ok(())
        } else {
            Err(Malformed::at(
                "/predicate/outcome",
                format!(
                    "the status {} contradicts the exit code, the signal or the limit",
                    self.status
                ),
            ))
        }
    }
}

fn is_limit(name: &str) -> bool {
    Limit::ALL.iter().any(|limit| limit.field() == name)
}

/// The output of a run, by stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// The bytes that a run wrote to one stream. The digests are over the recorded bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Number of bytes that the run wrote.
    pub bytes: u64,
    /// Number of bytes that the boundary recorded.
    pub recorded: u64,
    /// True if the boundary did not record all bytes.
    pub truncated: bool,
    /// SHA-256 digest of the recorded bytes.
    pub sha256: ContentDigest,
    /// BLAKE3 digest of the recorded bytes. The store and the HTTP interface use this digest as the name of the bytes.
    pub blake3: Blake3Digest,
    /// Number of places at which the boundary replaced a secret by a mask.
    pub redactions: u64,
}

impl Stream {
    /// Returns the record of a stream without output.
    pub fn empty() -> Self {
        Self {
            bytes: 0,
            recorded: 0,
            truncated: false,
            sha256: ContentDigest::of(b""),
            blake3: Blake3Digest::of(b""),
            redactions: 0,
        }
    }
}

/// The files that a run left. The manifest is a blob `[{path, bytes, sha256, blake3, executable}]`, sorted by path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Number of files.
    pub count: u64,
    /// Sum of the sizes in bytes.
    pub bytes: u64,
    /// SHA-256 digest of the manifest's canonical JSON.
    pub manifest: ContentDigest,
}

/// Manifest of a run that left no files behind.
const EMPTY_MANIFEST: &[u8] = b"[]";

impl Files {
    /// Returns the record of a run that left no files behind.
    pub fn none() -> Self {
        Self {
            count: 0,
            bytes: 0,
            manifest: ContentDigest::of(EMPTY_MANIFEST),
        }
    }

    /// Returns the record of a run that left the files of `manifest`.
    ///
    /// # Errors
    /// Returns an error if the manifest breaks a rule: number, order or size.
    pub fn of(manifest: &Manifest) -> Result<Self, Malformed> {
        let canonical = manifest.to_canonical()?;
        let bytes = manifest.0.iter().map(|entry| entry.bytes);
        Ok(Self {
            count: manifest.0.len() as u64,
            bytes: bytes.fold(0, u64::saturating_add),
            manifest: ContentDigest::of(&canonical),
        })
    }
}

/// The resources that a run used.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// CPU time of all processes of the run, in milliseconds.
    pub cpu_ms: u64,
    /// Largest resident memory that the boundary measured, in bytes.
    pub memory_peak_bytes: u64,
    /// Largest number of processes at the same time. Absent if the kernel did not count them.
    pub processes_peak: Option<u64>,
}

/// The boundary that signs a receipt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptBoundary {
    /// Name of the boundary.
    pub name: BoundaryName,
    /// Id of the boundary: the digest of the first seal of its log.
    pub id: SealDigest,
    /// Id of the key that signs.
    pub keyid: KeyId,
    /// Version of the boundary's program.
    pub version: String,
}

impl Receipt {
    /// Returns the statement with its subjects.
    pub fn into_statement(self) -> Statement<Self> {
        let subjects = self.subjects();
        Statement::new(self, subjects)
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![
            Subject::new("authorization", self.authorization.digest.as_bytes()),
            Subject::new("stdout", self.output.stdout.sha256.as_bytes()),
            Subject::new("stderr", self.output.stderr.sha256.as_bytes()),
            Subject::new("files", self.files.manifest.as_bytes()),
        ]
    }
}

impl Predicate for Receipt {
    const KIND: &'static str = "receipt";
    const MAX_BYTES: usize = 9_728;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        check_sorted("/predicate/decision/approvers", &self.decision.approvers)?;
        check_sorted("/predicate/decision/groups", &self.decision.groups)?;
        check_sorted("/predicate/decision/excluded", &self.decision.excluded)?;
        let room = self.decision.check_room();
        let _room = room.map_err(|error| error.below("/predicate/decision"))?;
        self.sandbox.check()?;
        if let Some(programs) = &self.programs {
            programs
                .check()
                .map_err(|error| error.below("/predicate/programs"))?;
        }
        let limit = self.outcome.limit.as_deref();
        if limit.is_some_and(|limit| !is_limit(limit)) {
            return Err(Malformed::at(
                "/predicate/outcome/limit",
                "expected the name of a limit of the profile",
            ));
        }
        if self.finished_at < self.started_at {
            return Err(Malformed::at("/predicate/finished_at", "before started_at"));
        }
        for (name, stream) in [
            ("stdout", &self.output.stdout),
            ("stderr", &self.output.stderr),
        ] {
            // The masking of secrets changes lengths, so `bytes` and `recorded` are compared only if nothing was masked.
            let whole = stream.recorded == stream.bytes;
            if stream.redactions == 0
                && (stream.recorded > stream.bytes || stream.truncated == whole)
            {
                return Err(Malformed::at(
                    format!("/predicate/output/{name}"),
                    "the fields `bytes`, `recorded` and `truncated` contradict each other",
                ));
            }
        }
        check_subjects(subjects, &self.subjects())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        AuthorizationDigest, Capabilities, Envelope, EnvelopeSignature, FilesystemFacts, HeldLimit,
        HostRefusal, LandlockFacts, LandlockStatus, Layer, Level, LimitFacts, LimitHolder,
        MAX_ENTRY_BYTES, MAX_INTEGER, MAX_PROGRAM_FACTS_BYTES, MAX_SIGNATURES, Masks, NetworkMode,
        RefusedHost, Root, SeccompFacts, UNBOUNDED, Workdir,
    };

    fn name<T: std::str::FromStr>(at: usize) -> T
    where
        T::Err: std::fmt::Debug,
    {
        format!("{at:02}{}", "n".repeat(62))
            .parse()
            .expect("a name")
    }

    fn decision(groups: usize) -> Decision {
        Decision {
            approvers: (0..MAX_SIGNATURES).map(name).collect(),
            groups: (0..groups).map(name).collect(),
            excluded: (0..8).map(name).collect(),
            handed_in_by: name(99),
            policy: PolicyDigest::of(b""),
        }
    }

    fn largest_decision() -> Decision {
        (0..99)
            .map(decision)
            .take_while(|decision| decision.check_room().is_ok())
            .last()
            .expect("one without groups is taken")
    }

    /// Returns the largest receipt of this version.
    fn largest() -> Receipt {
        let most = MAX_INTEGER;
        let key = |n: u8| {
            let key = crate::crypto::signature::SecretKey::from_seed([n; 32]).public();
            crate::crypto::ssh_key::SshKey::from_public(key, "")
                .expect("a key")
                .keyid()
        };
        let stream = Stream {
            bytes: most,
            recorded: most,
            truncated: false,
            sha256: ContentDigest::of(b"x"),
            blake3: Blake3Digest::of(b"x"),
            redactions: most,
        };
        let layers = || {
            use Layer as L;
            vec![
                L::Capabilities,
                L::Filesystem,
                L::Landlock,
                L::Namespaces,
                L::Network,
                L::Seccomp,
            ]
        };
        let held = Some(HeldLimit {
            max: most,
            by: LimitHolder::Cgroup2,
        });
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        Receipt {
            consumption: ConsumptionRef {
                index: most,
                leaf: LeafHash::from_bytes([9; 32]),
                item: 15,
            },
            authorization: AuthorizationRef {
                digest: AuthorizationDigest::of(b"a"),
                index: most,
                leaf: LeafHash::from_bytes([8; 32]),
            },
            decision: largest_decision(),
            outcome: Outcome {
                limit: Some("output_bytes".to_owned()),
                ..Outcome::of(Status::Killed)
            },
            started_at: Timestamp::from_unix(0),
            finished_at: Timestamp::from_unix(0),
            duration_ms: most,
            output: Output {
                stdout: stream.clone(),
                stderr: stream,
            },
            files: Files {
                count: most,
                bytes: most,
                manifest: ContentDigest::of(b""),
            },
            sandbox: Enforcement {
                level: Level::BestEffort,
                layers: layers(),
                missing: layers(),
                ns: words(&["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]),
                landlock: Some(LandlockFacts {
                    abi: most,
                    status: LandlockStatus::Partially,
                    rules: most,
                }),
                seccomp: Some(SeccompFacts {
                    sha256: "a".repeat(64),
                }),
                caps: Some(Capabilities::None),
                fs: Some(FilesystemFacts {
                    mode: Workdir::InPlace,
                    root: Root::Host,
                    masked: Some(0),
                    masked_before: Some(most),
                    deny: Some(Masks::PointInTime),
                }),
                contacted: Some(
                    (0..6)
                        .map(|at| format!("{at:02}{}:65535", "a".repeat(244)))
                        .collect(),
                ),
                refused_hosts: Some(
                    (56..64)
                        .map(|at| RefusedHost {
                            at,
                            why: HostRefusal::Unreachable,
                        })
                        .collect(),
                ),
                net: Some(NetworkMode::Allow),
                limits: Some(LimitFacts {
                    cpu: held,
                    disk: held,
                    file: held,
                    memory: held,
                    output: held,
                    processes: held,
                    unbounded: Some(UNBOUNDED.map(str::to_owned).to_vec()),
                    wall: held,
                }),
                kill: words(&["cgroup.kill", "pidns", "subreaper"]),
                left: Some(most),
            },
            programs: Some(serde_json::from_value(largest_programs()).expect("the field")),
            usage: Usage {
                cpu_ms: most,
                memory_peak_bytes: most,
                processes_peak: Some(most),
            },
            session: Some(SessionChange {
                before: ContentDigest::of(b"a"),
                after: ContentDigest::of(b"b"),
            }),
            seal: SealDigest::of(b""),
            boundary: ReceiptBoundary {
                name: "n".repeat(40).parse().expect("a boundary's name"),
                id: SealDigest::of(b""),
                keyid: key(1),
                version: "v".repeat(32),
            },
        }
    }

    /// Returns the largest list of programs of a receipt. The paths in the list use all allowed bytes.
    fn largest_programs() -> Value {
        let fill = |bytes: usize| {
            let path = |at: usize| json!({"path": format!("/{at:02}{}", "p".repeat(bytes)), "count": MAX_INTEGER});
            json!({
                "mode": "listed", "listed": 128,
                "refused": {"paths": (0..8).map(path).collect::<Vec<_>>(), "more": MAX_INTEGER},
                "started": {"paths": (0..16).map(path).collect::<Vec<_>>(), "more": MAX_INTEGER},
            })
        };
        (0..200)
            .map(fill)
            .take_while(|programs| {
                canonical::to_canonical(programs).len() <= MAX_PROGRAM_FACTS_BYTES
            })
            .last()
            .expect("short paths fit")
    }

    #[test]
    fn a_receipt_with_everything_at_its_maximum_fits_into_its_payload_and_a_log_entry() {
        let payload = largest()
            .into_statement()
            .to_payload()
            .expect("within its size");
        // A real receipt can have more facts about the sandbox than this one: kinds of memory without a limit, and the
        // number of names that the previous run masked.
        let most = <Receipt as Predicate>::MAX_BYTES;
        assert!(payload.len() + 102 <= most, "{} bytes", payload.len());
        let signature = EnvelopeSignature::new(largest().boundary.keyid, &[255; 64]);
        let leaf = canonical::canonical_of(&Envelope::new(&vec![b'x'; most], vec![signature]))
            .expect("canonical");
        assert!(leaf.len() <= MAX_ENTRY_BYTES, "{} bytes", leaf.len());
    }

    #[test]
    fn an_authorization_is_refused_if_its_decision_would_not_fit_into_a_receipt() {
        let fits = largest_decision();
        let more = decision(fits.groups.len() + 1);
        assert!(more.check_room().expect_err("one group more").too_large);
        assert!(!fits.groups.is_empty());
    }

    #[test]
    fn only_limits_of_the_profile_can_kill_a_run() {
        let killed = |limit: &str| {
            Outcome {
                limit: Some(limit.to_owned()),
                ..Outcome::of(Status::Killed)
            }
            .check()
        };
        assert!(killed("memory_bytes").is_ok());
        assert!(killed("patience").is_err());
        assert!(Outcome::of(Status::Killed).check().is_err());
    }
}
