//! What a run leaves besides its output: files for the manifest of the receipt, and values for later steps.

use std::{
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
};

use serde_json::{Map, Value, json};

use crate::CarriedVariables;
use documents::{
    Blake3Digest, Blake3Stream, ContentDigest, MAX_MANIFEST_ENTRIES, Manifest, ManifestEntry,
    OUTPUTS_PATH, ParameterType, RelativePath, SessionUse, Sha256Stream, StepDefinition,
    StepOutput, canonical,
};
use reading::{ParameterSchema, output_schema};
use sandbox::{CapturedFile, PlannedFile, ResultLimits, RunResults, StreamSearch};

/// Maximum size of all captured files of a run, in bytes.
pub const MAX_FILES_BYTES: u64 = 64 << 20;
/// Maximum size of the outputs of a run, in bytes of canonical JSON.
const MAX_OUTPUTS_BYTES: usize = 16 << 10;
const PIECE: usize = 256 << 10;

/// Variables that name the places of the results.
const RESULT_VARIABLES: [&str; 4] = [
    "COUNTERSIGN_OUTPUT",
    "RUNBOOKS_OUTPUT",
    "GENERATED_FILES",
    "RUNBOOK_OUTPUT",
];

/// Returns true if a run gets places for its results, because the step declares outputs, or because its script or one of
/// its files names such a place.
pub fn wants_results(step: &StepDefinition, files: &[PlannedFile]) -> bool {
    let names = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        RESULT_VARIABLES.iter().any(|name| text.contains(name))
    };
    !step.outputs.is_empty()
        || names(step.source.as_bytes())
        || files.iter().any(|file| names(&file.bytes))
}

/// A captured file with its entry in the manifest.
pub struct KeptFile {
    /// Entry in the manifest.
    pub entry: ManifestEntry,
    content: FileContent,
}

#[derive(Debug)]
enum FileContent {
    Captured(CapturedFile),
    Written(Vec<u8>),
}

/// The results of a run.
#[derive(Default)]
pub struct KeptResults {
    /// The captured files, sorted by path.
    pub files: Vec<KeptFile>,
    /// Lines for the person who reads the output of the run: results that were not kept, with the reason.
    pub notes: Vec<String>,
}

impl KeptFile {
    /// Passes the content to `to`, piece by piece.
    ///
    /// # Errors
    /// Returns an error if the file can't be read, or ends before its size.
    pub fn copy(&self, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let file = match &self.content {
            FileContent::Written(bytes) => return to(bytes),
            FileContent::Captured(file) => file.open().map_err(io::Error::other)?,
        };
        let (mut at, mut buffer) = (0, vec![0; PIECE]);
        while at < self.entry.bytes {
            let most = usize::try_from(self.entry.bytes - at)
                .unwrap_or(PIECE)
                .min(PIECE);
            let read = file.read_at(&mut buffer[..most], at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to(&buffer[..read])?;
            at += read as u64;
        }
        Ok(())
    }
}

impl KeptResults {
    /// Returns the manifest, or `None` if the run left no files.
    pub fn manifest(&self) -> Option<Manifest> {
        let entries: Vec<ManifestEntry> =
            self.files.iter().map(|file| file.entry.clone()).collect();
        (!entries.is_empty()).then_some(Manifest(entries))
    }
}

/// What decides which results of a run are kept. The default is for a run whose results are lost.
#[derive(Clone, Default)]
pub struct ResultsBasis {
    /// How the step uses its session.
    pub session: SessionUse,
    /// True if the shell of the step writes its state at its end.
    pub writes_state: bool,
    /// Outputs that the step declares.
    pub outputs: Vec<StepOutput>,
    /// Directories of the host that the run can see, in addition to the directories that every run can see.
    pub directories: Vec<String>,
    /// Variables of secrets, which no session carries.
    pub secret_variables: Vec<String>,
    /// The variables that the session of the run carries.
    pub carried: Option<CarriedVariables>,
}

/// Reads the results of a run that succeeded. `holds_secret` tells whether bytes contain a secret of the run. A file that
/// breaks a rule means that no file is kept.
pub fn kept_results(
    results: &RunResults,
    outputs: &[StepOutput],
    holds_secret: &dyn Fn(&[u8]) -> bool,
) -> KeptResults {
    let mut kept = KeptResults::default();
    let limits = ResultLimits {
        files: MAX_MANIFEST_ENTRIES,
        bytes: MAX_FILES_BYTES,
    };
    match results
        .files(&limits)
        .and_then(|files| read_files(files, holds_secret))
    {
        Ok(files) => kept.files = files,
        Err(why) => kept
            .notes
            .push(format!("the files of the run were not kept: {why}")),
    }
    if let Some(bytes) = read_outputs(results, outputs, holds_secret, &mut kept.notes) {
        match written(OUTPUTS_PATH, bytes) {
            Ok(file) => {
                kept.files.push(file);
                kept.files
                    .sort_by(|one, other| one.entry.path.as_str().cmp(other.entry.path.as_str()));
            }
            Err(error) => kept
                .notes
                .push(format!("the outputs of the run were not kept: {error}")),
        }
    }
    if let Some(Err(error)) = kept.manifest().map(|manifest| manifest.check()) {
        kept.notes
            .push(format!("the files of the run were not kept: {error}"));
        kept.files.clear();
    }
    kept
}

fn read_files(
    files: Vec<CapturedFile>,
    holds_secret: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<KeptFile>, String> {
    let kept = files.into_iter().map(|captured| {
        let (path, bytes, executable) =
            (captured.path.clone(), captured.bytes, captured.executable);
        if holds_secret(path.as_str().as_bytes()) {
            return Err("the name of a file contains a secret of the run".to_owned());
        }
        if path.as_str().split('/').next() == Some(OUTPUTS_PATH) {
            return Err(format!(
                "the name {OUTPUTS_PATH} is reserved for the outputs of a run: choose another name"
            ));
        }
        let unreadable = |error: io::Error| format!("{:?} can't be read: {error}", path.as_str());
        let (mut sha256, mut blake3) = (Sha256Stream::default(), Blake3Stream::default());
        let mut reader = captured.open()?;
        let (mut buffer, mut search, mut read) =
            (vec![0; PIECE], StreamSearch::new(holds_secret), 0);
        loop {
            let count = reader.read(&mut buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            read += count as u64;
            sha256.update(&buffer[..count]);
            blake3.update(&buffer[..count]);
            search.add(&buffer[..count]);
        }
        if search.found() {
            return Err(format!("{:?} contains a secret of the run", path.as_str()));
        }
        if read != bytes {
            return Err(format!("{:?} changed while it was read", path.as_str()));
        }
        let entry = ManifestEntry {
            path,
            bytes,
            sha256: ContentDigest::from_bytes(sha256.finish()),
            blake3: blake3.finish(),
            executable,
        };
        Ok(KeptFile {
            entry,
            content: FileContent::Captured(captured),
        })
    });
    kept.collect()
}

fn written(path: &str, bytes: Vec<u8>) -> Result<KeptFile, String> {
    let path: RelativePath = path
        .parse()
        .map_err(|error: documents::IdentError| error.to_string())?;
    let entry = ManifestEntry {
        path,
        bytes: bytes.len() as u64,
        sha256: ContentDigest::of(&bytes),
        blake3: Blake3Digest::of(&bytes),
        executable: false,
    };
    Ok(KeptFile {
        entry,
        content: FileContent::Written(bytes),
    })
}

/// Returns the outputs that the step declares, as canonical JSON. Adds a note for each output that is missing, not
/// declared or not valid.
fn read_outputs(
    results: &RunResults,
    declared: &[StepOutput],
    holds_secret: &dyn Fn(&[u8]) -> bool,
    notes: &mut Vec<String>,
) -> Option<Vec<u8>> {
    if declared.is_empty() {
        return None;
    }
    let lines = results.outputs();
    let read = lines.and_then(|lines| {
        Ok((
            lines,
            output_schema(declared).map_err(|error| error.to_string())?,
        ))
    });
    let (lines, schema) = match read {
        Ok(read) => read,
        Err(error) => {
            notes.push(format!("the outputs of the run were not kept: {error}"));
            return None;
        }
    };
    let mut values = Map::new();
    for (name, bytes) in lines {
        let Some(output) = declared.iter().find(|output| output.name.as_str() == name) else {
            notes.push(format!(
                "the output {name:?} was not kept: the step does not declare it"
            ));
            continue;
        };
        let value = if holds_secret(&bytes) {
            Err("its value contains a secret of the run".to_owned())
        } else {
            output_value(&bytes, output, &schema)
        };
        match value {
            Ok(value) => drop(values.insert(name, value)),
            Err(why) => notes.push(format!("the output {name:?} was not kept: {why}")),
        }
    }
    let missing = declared
        .iter()
        .map(|output| output.name.as_str())
        .filter(|name| !values.contains_key(*name));
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        notes.push(format!(
            "the run gave no valid value for the outputs {}",
            missing.join(", ")
        ));
    }
    if values.is_empty() {
        return None;
    }
    let canonical = canonical::canonical_of(&Value::Object(values)).ok()?;
    if canonical.len() > MAX_OUTPUTS_BYTES {
        notes.push(format!(
            "the outputs of the run were not kept: they have {} bytes as canonical JSON, and at most \
             {MAX_OUTPUTS_BYTES} are allowed: write large results to a file in $COUNTERSIGN_OUTPUT",
            canonical.len()
        ));
        return None;
    }
    Some(canonical)
}

/// Reads the value of an output as its declared type, and checks the value by the rules for parameters.
fn output_value(
    bytes: &[u8],
    output: &StepOutput,
    schema: &ParameterSchema,
) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its value is not UTF-8".to_owned())?;
    let value: Value = match output.schema.kind {
        ParameterType::Integer => text
            .parse::<i64>()
            .map_err(|_| "its value is not an integer".to_owned())?
            .into(),
        ParameterType::Boolean => text
            .parse::<bool>()
            .map_err(|_| "its value is not true or false".to_owned())?
            .into(),
        _ => text.into(),
    };
    let errors = schema.check(&json!({ output.name.as_str(): value })).err();
    errors
        .and_then(|errors| errors.into_iter().next())
        .map_or(Ok(value), |error| Err(error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_their_type_and_checked_like_parameters() {
        let read = |bytes: &[u8], schema: Value| {
            let output = StepOutput {
                name: "out".parse().expect("a name"),
                schema: serde_json::from_value(schema).expect("declared"),
            };
            let compiled = output_schema(std::slice::from_ref(&output)).expect("a schema");
            output_value(bytes, &output, &compiled)
        };
        let of = |kind: &str| json!({ "type": kind });
        assert_eq!(read(b"a=b", of("string")), Ok("a=b".into()));
        assert_eq!(read(b"-3", of("integer")), Ok((-3).into()));
        assert_eq!(read(b"true", of("boolean")), Ok(true.into()));
        assert_eq!(
            read(b"-rf", json!({"type": "string", "x-leading-dash": true})),
            Ok("-rf".into())
        );
        for (bytes, schema) in [
            (&b"1.5"[..], of("integer")),
            (b"9007199254740993", of("integer")),
            (b"", of("integer")),
            (b"yes", of("boolean")),
            (b"\xff", of("string")),
            (b"-rf", of("string")),
            (b"nul\0", of("string")),
            (b"ABC", json!({"type": "string", "pattern": "^[a-z]+$"})),
            (b"0", json!({"type": "integer", "minimum": 1})),
        ] {
            assert!(read(bytes, schema.clone()).is_err(), "{bytes:?} {schema}");
        }
    }
}
