//! What a run can have in addition to its script and parameters: a session, artifacts, a plan and a manifest.
//!
//! The file also defines the facts about the programs that a run executed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    ArtifactName, Blake3Digest, ContentDigest, HostPath, MAX_PROGRAMS, Malformed, RelativePath,
    SessionId, Subject, Timestamp, canonical, check_by, check_bytes, check_count, check_range,
};

/// Maximum number of artifacts of one run.
pub const MAX_ARTIFACTS: usize = 16;
/// Maximum size of an artifact, and of all artifacts of one run together, in bytes.
pub const MAX_ARTIFACTS_BYTES: u64 = 64 << 20;
/// Path of the file that contains the outputs of a step: the canonical JSON object `{NAME: value}`. No other file of a
/// run has this path.
pub const OUTPUTS_PATH: &str = ".outputs.json";
/// Maximum number of files that a run can leave.
pub const MAX_MANIFEST_ENTRIES: usize = 1000;
/// Maximum size of a manifest, in bytes of canonical JSON.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;
/// Maximum number of uses of a grant.
pub const MAX_USES: u64 = 100_000;
/// Maximum validity of a grant in seconds (90 days).
pub const MAX_GRANT_S: u64 = 90 * 24 * 3600;
/// Maximum age of a plan in seconds (30 days).
pub const MAX_PLAN_AGE_S: u64 = 30 * 24 * 3600;

/// Only the value `true` is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Emergency(#[schemars(extend("const" = true))] bool);

impl Emergency {
    /// Marks a run as an emergency.
    pub fn yes() -> Self {
        Self(true)
    }

    /// Refuses the value `false`.
    ///
    /// # Errors
    /// Returns an error that says how to leave the field out.
    pub fn check(self) -> Result<(), Malformed> {
        if self.0 {
            Ok(())
        } else {
            Err(Malformed::at(
                "",
                "expected true: to say false, leave the field out",
            ))
        }
    }
}

/// Number of the use of a grant: 1 for the first use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Use")]
pub struct GrantUse(#[schemars(range(min = 1, max = MAX_USES))] pub u64);

/// A session in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionReference {
    /// Id of the session. Its first 48 bits are the end of the session in milliseconds since 1970.
    pub id: SessionId,
    /// Digest of the session's state.
    pub state: ContentDigest,
}

impl SessionReference {
    /// Checks that a window ends with the session at the latest. `pointer` is the place of this part.
    ///
    /// # Errors
    /// Returns an error with the end of the session.
    pub fn check_end(&self, pointer: &str, expires_at: Timestamp) -> Result<(), Malformed> {
        let end = self.id.end();
        if expires_at <= end {
            return Ok(());
        }
        let message = format!("the session ends at {end}, before expires_at");
        Err(Malformed::at(format!("{pointer}/id"), message))
    }
}

/// The states of a session before and after a run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionChange {
    /// Digest of the session's state before the run.
    pub before: ContentDigest,
    /// Digest of the session's state after the run.
    pub after: ContentDigest,
}

/// An uploaded file that a run receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Name of the file in the run.
    pub name: ArtifactName,
    /// SHA-256 digest of the content.
    pub digest: ContentDigest,
    /// Size in bytes.
    #[schemars(range(max = MAX_ARTIFACTS_BYTES))]
    pub bytes: u64,
}

/// The uploaded files that a run receives, sorted by name, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifacts(#[schemars(length(min = 1, max = MAX_ARTIFACTS))] pub Vec<Artifact>);

impl Artifacts {
    /// Returns the subjects of the artifacts, in the order of the artifacts.
    pub fn subjects(&self) -> Vec<Subject> {
        let subject =
            |one: &Artifact| Subject::new(format!("artifact/{}", one.name), one.digest.as_bytes());
        self.0.iter().map(subject).collect()
    }

    /// Checks the number, the order and the sizes of the artifacts.
    ///
    /// # Errors
    /// Returns the error, with a pointer into the artifacts.
    pub fn check(&self) -> Result<(), Malformed> {
        check_count("", self.0.len(), 1, MAX_ARTIFACTS)?;
        check_by("", &self.0, |artifact| artifact.name.as_str())?;
        check_artifact_bytes(&self.0)
    }
}

/// Checks the sizes of artifacts, of each one and of all together.
///
/// # Errors
/// Returns the error, with a pointer into the artifacts.
pub fn check_artifact_bytes(artifacts: &[Artifact]) -> Result<(), Malformed> {
    for (at, artifact) in artifacts.iter().enumerate() {
        check_range(
            &format!("/{at}/bytes"),
            artifact.bytes,
            0,
            MAX_ARTIFACTS_BYTES,
        )?;
    }
    let bytes: u64 = artifacts.iter().map(|artifact| artifact.bytes).sum();
    if bytes > MAX_ARTIFACTS_BYTES {
        let message = format!(
            "all artifacts together have {bytes} bytes, at most {MAX_ARTIFACTS_BYTES} are allowed"
        );
        return Err(Malformed::at("", message));
    }
    Ok(())
}

/// The plan that a run applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanReference {
    /// Digest of the payload of the plan's receipt.
    pub receipt: ContentDigest,
    /// SHA-256 digest of the plan's recorded standard output.
    pub output: ContentDigest,
}

/// A file that a run left.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// Path of the file, relative to the directory in which the run leaves files.
    pub path: RelativePath,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 digest of the content.
    pub sha256: ContentDigest,
    /// BLAKE3 digest of the content.
    pub blake3: Blake3Digest,
    /// True if the file is executable.
    pub executable: bool,
}

/// The manifest: the files that a run left, sorted by path. The receipt contains the digest of the manifest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Manifest(
    #[schemars(length(min = 1, max = MAX_MANIFEST_ENTRIES))] pub Vec<ManifestEntry>,
);

impl Manifest {
    /// Checks the number and the order of the files, and the size of the manifest.
    ///
    /// # Errors
    /// Returns the error, with a pointer into the manifest.
    pub fn check(&self) -> Result<(), Malformed> {
        check_count("", self.0.len(), 1, MAX_MANIFEST_ENTRIES)?;
        check_by("", &self.0, |entry| entry.path.as_str())?;
        check_bytes("", self, MAX_MANIFEST_BYTES)
    }

    /// Returns the canonical JSON: the blob whose SHA-256 a receipt contains.
    ///
    /// # Errors
    /// Returns an error if the manifest breaks a rule, with a pointer into the manifest.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Malformed> {
        self.check()?;
        Ok(canonical::canonical_of(self)?)
    }
}

/// Maximum number of programs that a step or a rule of policy names.
pub const MAX_NAMED_PROGRAMS: usize = 128;
/// Maximum size of the programs that a step names, in bytes of canonical JSON.
pub const MAX_NAMED_PROGRAMS_BYTES: usize = 4 << 10;
/// Maximum size of the field `programs` in a receipt, in bytes.
pub const MAX_PROGRAM_FACTS_BYTES: usize = 2 << 10;
/// Maximum number of refused programs that a receipt names.
pub const MAX_REFUSED: usize = 8;
/// Maximum number of started programs that a receipt names.
pub const MAX_STARTED: usize = 16;

/// Directories in which a run searches programs by name.
pub const SEARCHED: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The programs that a run executed, as far as the boundary recorded them.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramFacts {
    /// Whether the run could execute only the programs of a list.
    pub mode: ProgramMode,
    /// Number of entries in the signed list. 0 if the run had no list.
    #[schemars(range(max = MAX_PROGRAMS))]
    pub listed: u64,
    /// Executions that the kernel refused. Absent if the boundary did not record them.
    pub refused: Option<Executions>,
    /// Programs that the run executed. Absent if the boundary did not record them.
    pub started: Option<Executions>,
}

words! {
    /// Whether a run can execute only the programs of a list.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ProgramMode {
        /// The run can execute every program of the host.
        Any = "any",
        /// The run can execute only the programs of a list.
        Listed = "listed",
    }
}

/// Numbers of executions, by path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Executions {
    /// Paths with the number of their executions, sorted by path, each path once.
    pub paths: Vec<Execution>,
    /// Number of executions whose path is not in `paths`.
    pub more: u64,
}

/// A path and the number of its executions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// Path of the program.
    pub path: HostPath,
    /// Number of executions.
    #[schemars(range(min = 1))]
    pub count: u64,
}

impl ProgramFacts {
    /// Checks that the numbers and the lists of paths agree.
    ///
    /// # Errors
    /// Returns the error, with a pointer into this part.
    pub fn check(&self) -> Result<(), Malformed> {
        check_range("/listed", self.listed, 0, MAX_PROGRAMS as u64)?;
        if (self.mode == ProgramMode::Any) != (self.listed == 0) {
            return Err(Malformed::at(
                "/listed",
                "expected 0 with mode any, and more than 0 with every other mode",
            ));
        }
        for (name, executions, most) in [
            ("refused", &self.refused, MAX_REFUSED),
            ("started", &self.started, MAX_STARTED),
        ] {
            let Some(Executions { paths, .. }) = executions else {
                continue;
            };
            let pointer = format!("/{name}/paths");
            check_count(&pointer, paths.len(), 0, most)?;
            for (at, one) in paths.iter().enumerate() {
                check_range(&format!("{pointer}/{at}/count"), one.count, 1, u64::MAX)?;
            }
            check_by(&pointer, paths, |one| one.path.as_str())?;
        }
        check_bytes("", self, MAX_PROGRAM_FACTS_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Files;

    fn artifacts(sizes: &[u64]) -> Result<(), Malformed> {
        let one = |(at, bytes): (usize, &u64)| Artifact {
            name: format!("a{at:02}").parse().expect("a name"),
            digest: ContentDigest::of(b""),
            bytes: *bytes,
        };
        Artifacts(sizes.iter().enumerate().map(one).collect()).check()
    }

    #[test]
    fn artifacts_have_at_most_64_mib_together() {
        for good in [
            &[0][..],
            &[MAX_ARTIFACTS_BYTES],
            &[MAX_ARTIFACTS_BYTES - 1, 1],
            &[1; MAX_ARTIFACTS],
        ] {
            assert_eq!(artifacts(good), Ok(()), "{good:?}");
        }
        for (bad, pointer) in [
            (&[][..], ""),
            (&[1; MAX_ARTIFACTS + 1], ""),
            (&[MAX_ARTIFACTS_BYTES, 1], ""),
            (&[1, MAX_ARTIFACTS_BYTES + 1], "/1/bytes"),
            (&[u64::MAX, u64::MAX], "/0/bytes"),
        ] {
            assert_eq!(
                artifacts(bad).expect_err(pointer).pointer,
                pointer,
                "{bad:?}"
            );
        }
    }

    fn manifest(count: usize, name: &str) -> Manifest {
        let entry = |at: usize| {
            let digests = (ContentDigest::of(b"done"), Blake3Digest::of(b"done"));
            let (sha256, blake3) = digests;
            let path = format!("{at:04}{name}").parse().expect("a path");
            ManifestEntry {
                path,
                bytes: 4,
                sha256,
                blake3,
                executable: false,
            }
        };
        Manifest((0..count).map(entry).collect())
    }

    #[test]
    fn a_manifest_has_at_most_1000_files_and_1_mib() {
        let files = Files::of(&manifest(MAX_MANIFEST_ENTRIES, "")).expect("within the limits");
        assert_eq!((files.count, files.bytes), (1000, 4000));
        let canonical = manifest(2, "").to_canonical().expect("canonical");
        let again: Manifest = serde_json::from_slice(&canonical).expect("a manifest");
        assert_eq!(
            Files::of(&again).expect("files").manifest,
            ContentDigest::of(&canonical)
        );
        assert!(Files::of(&manifest(MAX_MANIFEST_ENTRIES + 1, "")).is_err());
        assert!(
            Files::of(&manifest(0, "")).is_err(),
            "no files have no manifest"
        );
        let long = format!("/{}", "x".repeat(250)).repeat(4);
        assert!(
            Files::of(&manifest(MAX_MANIFEST_ENTRIES, &long))
                .expect_err("too large")
                .too_large
        );
        let mut twice = manifest(2, "");
        twice.0[1].path = twice.0[0].path.clone();
        assert_eq!(Files::of(&twice).expect_err("twice").pointer, "/1");
        assert!(serde_json::from_value::<Manifest>(json!([{"path": "../a"}])).is_err());
    }
}
