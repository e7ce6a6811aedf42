//! A step of a registry, and the checks before a step is registered:
//!
//! - contents of the files of a step, and the rules for the files that a runbook names
//! - declarations of a step's outputs
//! - declarations of parameters that several steps of a registry share
//! - errors of a shell script that no run could avoid

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::{
    FileProblem, FoundStep, ParameterError, ParameterSchema, ReadLimit, ReadScript, RenderError,
    RunbookFiles, ScriptTemplate, Shell, StepPlace, TemplateFlaw, nearest,
    registry::{attributes::listed_names, evaluate::ParameterPatterns, placeholders::advice_about},
    step_template,
};
use documents::{
    ContentDigest, GroupSource, MAX_DEFINITION_BYTES, MAX_FILE_BYTES, MAX_FILES, MAX_FILES_BYTES,
    MAX_SOURCE_BYTES, Malformed, Parameter, RelativePath, SCRIPT_NAMES, StepDefinition, StepDigest,
    StepFile, StepOutput, StepRef, canonical_of, inside_a_file, joined, locked, parameter_variable,
};

/// A file of a step with its content.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// Entry of the definition.
    pub file: StepFile,
    /// The content, which several steps can share.
    pub bytes: Arc<[u8]>,
}

impl FileContent {
    /// Returns the file of these bytes.
    pub fn new(path: &str, bytes: Vec<u8>, executable: bool) -> Self {
        let file = StepFile {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            digest: ContentDigest::of(&bytes),
            executable,
        };
        Self {
            file,
            bytes: bytes.into(),
        }
    }
}

/// Writes the files into a definition, and returns their contents in the same order.
pub fn put_files(definition: &mut StepDefinition, files: &[FileContent]) -> Vec<Arc<[u8]>> {
    definition.files = files.iter().map(|one| one.file.clone()).collect();
    files.iter().map(|one| Arc::clone(&one.bytes)).collect()
}

/// Checks the path of a file that a runbook gives to its steps.
///
/// # Errors
/// Returns a message about a path that leaves the directory of the run, that is hidden, or that is the script.
pub fn check_file_path(path: &str) -> Result<(), String> {
    if let Err(error) = path.parse::<RelativePath>() {
        return Err(format!(
            "{path:?} can't be the path of a file of the step: {error}"
        ));
    }
    if path.split('/').any(|segment| segment.starts_with('.')) {
        return Err(format!(
            "{path:?} is hidden: programs read hidden files as settings, and settings can start programs that the script \
             does not name; use a name without a dot at its beginning"
        ));
    }
    if path
        .split('/')
        .next()
        .is_some_and(|first| SCRIPT_NAMES.contains(&first))
    {
        return Err(format!(
            "{path:?} is the path of the script in a run: rename the file"
        ));
    }
    Ok(())
}

/// Reads the files that the attribute `files=` names, separated by commas. The files are sorted by path.
///
/// # Errors
/// Returns a message about the first name that is no file of the runbook's directory, or about a limit.
pub fn named_files(text: &str, directory: &RunbookFiles) -> Result<Vec<FileContent>, String> {
    let mut found: Vec<FileContent> = Vec::new();
    for name in listed_names(text, "file")? {
        if found.len() == MAX_FILES {
            return Err(format!(
                "the step has more than {MAX_FILES} files: name fewer files"
            ));
        }
        let (bytes, executable) = directory.content(name, MAX_FILE_BYTES)?;
        check_file_path(name)?;
        found.push(FileContent::new(name, bytes, executable));
    }
    check_files(&mut found)?;
    Ok(found)
}

/// Sorts the files of a step by path, and checks them together.
///
/// # Errors
/// Returns a message about two files that can't both exist, or about a limit.
pub fn check_files(found: &mut [FileContent]) -> Result<(), String> {
    found.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    if let Some(pair) = found
        .windows(2)
        .find(|pair| pair[0].file.path == pair[1].file.path)
    {
        return Err(format!(
            "{:?} is a file of the page and in `files`: name one of the two",
            pair[0].file.path
        ));
    }
    if let Some((at, above)) = inside_a_file(found.iter().map(|one| one.file.path.as_str())) {
        let path = &found[at].file.path;
        return Err(format!(
            "{path:?} lies below the file {above:?} of the step: name one of the two"
        ));
    }
    let bytes: u64 = found.iter().map(|one| one.file.bytes).sum();
    if bytes > MAX_FILES_BYTES {
        return Err(format!(
            "the files of the step have {bytes} bytes together, and at most {MAX_FILES_BYTES} are allowed: name fewer or \
             smaller files"
        ));
    }
    Ok(())
}

/// Sealed step.
#[derive(Debug, Clone)]
pub struct RegisteredStep {
    /// Definition of the step. The definition decides everything that runs.
    pub definition: Arc<StepDefinition>,
    /// Number of bytes of [`Self::canonical`].
    pub size: usize,
    /// Step digest.
    pub digest: StepDigest,
    /// Parameter schema, ready to validate values.
    pub schema: ParameterSchema,
    /// Contents of the definition's files, in the same order. Empty if the step has no files, or if the registry was
    /// built without contents.
    pub contents: Vec<Arc<[u8]>>,
    /// Template of the script, ready to fill in, or `None` if the script has no placeholders for parameters.
    pub template: Option<Arc<ScriptTemplate>>,
    /// Place of the step, or `None` if the step was read from a store.
    pub place: Option<StepPlace>,
}

impl RegisteredStep {
    /// Returns the step without its place in a file, like a step from a store.
    pub fn stored(&self) -> Self {
        Self {
            place: None,
            ..self.clone()
        }
    }

    /// Returns the canonical JSON of the definition. The step digest is the digest of these bytes. The bytes are not
    /// kept, because they would take as much memory as the definition.
    #[expect(clippy::expect_used, reason = "`register` made these bytes once")]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = canonical_of(&self.definition).expect("a canonical form");
        // A seal collects the bytes of all steps, and the writer reserves some KB for each.
        bytes.shrink_to_fit();
        debug_assert_eq!(
            StepDigest::of(&bytes),
            self.digest,
            "not the definition of a step that `filled` returned"
        );
        bytes
    }

    /// Returns the step with the script that runs for these parameters. The step digest stays the digest of the
    /// definition with the template.
    ///
    /// # Errors
    /// Returns the parameter whose value can't be written in its place of the script.
    pub fn filled(&self, params: &Value) -> Result<Self, RenderError> {
        let Some(template) = &self.template else {
            return Ok(self.clone());
        };
        let definition = StepDefinition {
            source: template.render(params)?,
            ..(*self.definition).clone()
        };
        Ok(Self {
            definition: definition.into(),
            template: None,
            ..self.clone()
        })
    }

    /// Returns the definition that policy reads before the parameters are known. A template has a harmless value in
    /// each place.
    pub fn sample(&self) -> Cow<'_, StepDefinition> {
        match &self.template {
            None => Cow::Borrowed(&self.definition),
            Some(template) => Cow::Owned(template.sampled(&self.definition)),
        }
    }

    /// Returns an error about the step, with the ref and the place.
    pub fn flaw(&self, what: &impl fmt::Display) -> FileProblem {
        let reference = &self.definition.reference;
        match &self.place {
            Some(place) => FileProblem::of_step(place, format!("{reference}: {what}")),
            None => FileProblem::whole(reference.as_str(), what.to_string()),
        }
    }
}

/// Step for a registry that is built from stored steps.
pub enum StoredStep {
    /// Step that another registry already contains. Both registries share it in memory.
    Known(RegisteredStep),
    /// Step that was read from the store, with the contents of its files.
    Read(Box<StepDefinition>, Vec<Arc<[u8]>>),
    /// Step of a runbook file. It must also obey the rules of this version about templates.
    Found(Box<StepDefinition>, Vec<Arc<[u8]>>),
}

impl StoredStep {
    /// Returns the step of a runbook file.
    pub(super) fn found(step: FoundStep) -> Self {
        Self::Found(step.definition, step.contents)
    }

    pub(super) fn reference(&self) -> &StepRef {
        match self {
            Self::Known(step) => &step.definition.reference,
            Self::Read(definition, _) | Self::Found(definition, _) => &definition.reference,
        }
    }
}

/// How the script of a step is checked before the step is registered.
#[derive(Clone, Copy, PartialEq)]
pub enum ScriptCheck {
    /// The step comes from a store and stays in force: only a template that no version renders is refused.
    Sealed,
    /// A person runs the step at a terminal without policy: the template has only places that this version renders.
    Template,
    /// As `Template`. The parser must also be able to read a shell script, and each `$PARAM_NAME` is a parameter.
    Shell,
}

/// Seals one step. A step of a store has no place in a file, so `at` only names it in errors.
///
/// # Errors
/// Returns the reasons why this version can't seal the step.
pub fn register(
    definition: StepDefinition,
    contents: Vec<Arc<[u8]>>,
    at: &StepPlace,
    schemas: &SharedSchemas,
    check: ScriptCheck,
) -> Result<RegisteredStep, Vec<FileProblem>> {
    let whole = |message: String| vec![FileProblem::of_step(at, message)];
    let (definition, schema, canonical) = checked(definition, schemas).map_err(whole)?;
    let differs = |(file, bytes): (&StepFile, &Arc<[u8]>)| file.bytes != bytes.len() as u64;
    if !contents.is_empty()
        && (contents.len() != definition.files.len()
            || definition.files.iter().zip(&contents).any(differs))
    {
        return Err(whole(
            "the contents of the step's files differ from its definition".to_owned(),
        ));
    }
    let mut flaws = Vec::new();
    let template = match check {
        ScriptCheck::Sealed => step_template::of_sealed_step(&definition),
        _ => step_template::of_step(&definition),
    };
    let template = template.unwrap_or_else(|found| {
        flaws = found;
        None
    });
    if check == ScriptCheck::Shell {
        let sample = template.as_ref().map_or(Cow::Borrowed(&definition), |one| {
            Cow::Owned(one.sampled(&definition))
        });
        // The reader of templates has already reported the errors of a template that it can't read.
        let sample = Some(sample.source.as_str()).filter(|_| flaws.is_empty());
        let more = script_flaws(&definition, sample);
        flaws.extend(more);
    }
    if !flaws.is_empty() {
        return Err(if check == ScriptCheck::Sealed {
            whole(joined(flaws.iter().map(TemplateFlaw::in_words), "; "))
        } else {
            flaws
                .iter()
                .map(|flaw| FileProblem::of_template(at, flaw))
                .collect()
        });
    }
    let template = template.map(Arc::new);
    let digest = StepDigest::of(&canonical);
    let (size, definition) = (canonical.len(), definition.into());
    Ok(RegisteredStep {
        digest,
        size,
        schema,
        definition,
        contents,
        template,
        place: (check != ScriptCheck::Sealed).then(|| at.clone()),
    })
}

/// Checks everything but the template of a step. Returns the definition with its parameter schema and its canonical
/// JSON.
fn checked(
    mut definition: StepDefinition,
    schemas: &SharedSchemas,
) -> Result<(StepDefinition, ParameterSchema, Vec<u8>), String> {
    definition.check().map_err(|error| error.to_string())?;
    if definition.source.len() > MAX_SOURCE_BYTES {
        return Err(format!(
            "the script is larger than {MAX_SOURCE_BYTES} bytes: move a part of it to another step"
        ));
    }
    if let Some(fault) = definition.approvals.fault(GroupSource::OrWhomPolicyNames) {
        return Err(fault);
    }
    let schema = schemas.get(&definition.params).map_err(|flaws| {
        flaws
            .first()
            .map_or_else(String::new, |flaw| format!("params: {flaw}"))
    })?;
    definition.params = Arc::clone(schema.declared());
    let _outputs = output_schema(&definition.outputs).map_err(|error| error.to_string())?;
    let canonical = canonical_of(&definition).map_err(|error| error.to_string())?;
    if canonical.len() > MAX_DEFINITION_BYTES {
        return Err(format!(
            "the step's definition is larger than {MAX_DEFINITION_BYTES} bytes: make it smaller"
        ));
    }
    Ok((definition, schema, canonical))
}

/// Checks the declaration of the object that contains the outputs of a step. Every output is optional. A run gives the
/// value itself, and the value is stored with the receipt, so an output has no default and is not secret.
///
/// # Errors
/// Returns the first error, with its place in the definition.
pub fn output_schema(outputs: &[StepOutput]) -> Result<ParameterSchema, Malformed> {
    for (at, output) in outputs.iter().enumerate() {
        for (word, is_there) in [
            ("default", output.schema.default.is_some()),
            ("x-secret", output.schema.secret.is_some()),
        ] {
            if is_there {
                let message = format!("an output can't have `{word}`: leave the word out");
                return Err(Malformed::at(
                    format!("/step/outputs/{at}/schema/{word}"),
                    message,
                ));
            }
        }
    }
    let properties = outputs
        .iter()
        .map(|output| (output.name.to_string(), output.schema.clone()));
    let declared = Parameter::object(properties.collect(), Vec::new());
    ParameterSchema::compile(&declared).map_err(|flaws| first(outputs, flaws))
}

/// Returns the first flaw with its place in the definition.
fn first(outputs: &[StepOutput], flaws: Vec<ParameterError>) -> Malformed {
    let Some(flaw) = flaws.into_iter().next() else {
        return Malformed::at("/step/outputs", "the schemas of the outputs are invalid");
    };
    // The pointer is `/properties/NAME` and the place in the schema.
    let mut tokens = flaw.pointer.splitn(4, '/').skip(2);
    let name = tokens.next().unwrap_or_default();
    let inner = tokens
        .next()
        .map_or(String::new(), |inner| format!("/{inner}"));
    let mut names = outputs.iter().map(|output| output.name.as_str());
    let place = match names.position(|one| one == name) {
        Some(at) if inner.is_empty() => format!("/step/outputs/{at}"),
        Some(at) => format!("/step/outputs/{at}/schema{inner}"),
        None => "/step/outputs".to_owned(),
    };
    Malformed::at(place, flaw.message)
}

/// Parameter schemas of a registry. Several steps with equal schemas share one checked schema.
#[derive(Default)]
pub struct SharedSchemas {
    patterns: Arc<ParameterPatterns>,
    known: Mutex<HashMap<Arc<Parameter>, ParameterSchema>>,
}

impl SharedSchemas {
    /// Replaces the schema of a step with an equal schema that is already stored. `register` reports the flaws of a
    /// schema.
    pub fn share(&self, step: &mut StepDefinition) {
        if let Ok(schema) = self.get(&step.params) {
            step.params = Arc::clone(schema.declared());
        }
    }

    pub fn get(&self, schema: &Arc<Parameter>) -> Result<ParameterSchema, Vec<ParameterError>> {
        let known = || locked(&self.known);
        if let Some(known) = known().get(schema) {
            return Ok(known.clone());
        }
        let checked = ParameterSchema::shared(Arc::clone(schema), Arc::clone(&self.patterns))?;
        Ok(known().entry(Arc::clone(schema)).or_insert(checked).clone())
    }
}

/// Returns the errors of a script that no run could avoid: text that the parser can't read, and variables that no
/// parameter gives. `sample` is the script that the parser reads: a template has a value in each place. Returns no
/// error for a script of another language.
///
/// A policy denies a script that the parser can't read. So a registry of files refuses the script, and its author
/// learns it before a proposer does. Steps from a store are not checked here, because a step that was sealed stays in
/// force.
fn script_flaws(step: &StepDefinition, sample: Option<&str>) -> Vec<TemplateFlaw> {
    // The reader of the file reports an empty script.
    let Some(shell) = Shell::of(&step.interpreter).filter(|_| !step.source.trim().is_empty())
    else {
        return Vec::new();
    };
    let mut flaws = unknown_variables(step);
    let found = sample.map(|text| {
        ReadScript::new(shell, text, ReadLimit::Step).and_then(|script| script.found())
    });
    if let Some(Err(not)) = found {
        let advice = sample
            .and_then(|text| advice_about(text, not.place.line))
            .map(|advice| format!(" ({advice})"));
        let advice = advice.unwrap_or_default();
        let message = format!(
            "the parser can't read the script, so every policy denies it: {}{advice}",
            not.message
        );
        flaws.push(TemplateFlaw {
            offset: 0,
            place: not.place,
            message,
        });
    }
    flaws
}

/// Returns an error for each `$PARAM_NAME` that is no parameter of the step. A name that the script also writes without
/// `$` may be set there, and `${PARAM_NAME-}` says that the variable may be missing.
fn unknown_variables(step: &StepDefinition) -> Vec<TemplateFlaw> {
    let source = step.source.as_str();
    let keys = step.params.keys();
    let known: Vec<String> = keys.map(|(name, _)| parameter_variable(name)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let (mut flaws, mut set) = (Vec::new(), Vec::new());
    for (at, _) in source.match_indices("PARAM_") {
        let before = &source[..at];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = source[at..]
            .find(|c| !is_name(c))
            .unwrap_or(source.len() - at);
        let (name, after) = source[at..].split_at(length);
        let is_comment = before
            .rsplit('\n')
            .next()
            .is_some_and(|line| line.trim_start().starts_with('#'));
        if before.ends_with(is_name) || is_comment || known.contains(&name) {
            continue;
        }
        let after = after.trim_start_matches(':');
        let is_required = before.ends_with("${") && !after.starts_with(['-', '=', '+', '?']);
        if !before.ends_with('$') && !is_required {
            set.push(name);
            continue;
        }
        let hint = nearest(name, &known)
            .map(|near| format!(" (did you mean ${near}?)"))
            .unwrap_or_default();
        let message = format!(
            "no parameter gives ${name}{hint}: declare the parameter, or write ${{{name}-}} if it may be missing"
        );
        flaws.push((name, at, message));
    }
    flaws
        .into_iter()
        .filter(|(name, ..)| !set.contains(name))
        .map(|(_, at, message)| TemplateFlaw::new(source, at, message))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_runbook_names_files_of_its_own_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join("runbooks").join(name);
        fs::create_dir_all(at("tool")).expect("directories");
        fs::write(home.path().join("outside"), "x").expect("a file");
        for (name, text) in [
            ("lib.sh", "f() { :; }\n"),
            ("tool/x.py", "print(1)\n"),
            (".env", ""),
            ("a b", ""),
        ] {
            fs::write(at(name), text).expect("a file");
        }
        fs::write(at("countersign-script"), "").expect("a file");
        fs::write(at("large"), vec![0; (1 << 20) + 1]).expect("a file");
        for number in 0..5 {
            fs::write(at(&format!("part{number}")), vec![0; 1 << 20]).expect("a file");
        }
        fs::set_permissions(at("tool/x.py"), fs::Permissions::from_mode(0o755))
            .expect("executable");
        std::os::unix::fs::symlink("../outside", at("out")).expect("a link");
        std::os::unix::fs::symlink("lib.sh", at("link.sh")).expect("a link");
        let files = RunbookFiles::new(at(""), None);
        let found = named_files("tool/x.py, lib.sh,a b,link.sh", &files).expect("files");
        let facts: Vec<(&str, u64, bool)> = found
            .iter()
            .map(|one| (one.file.path.as_str(), one.file.bytes, one.file.executable))
            .collect();
        assert_eq!(
            facts,
            [
                ("a b", 0, false),
                ("lib.sh", 11, false),
                ("link.sh", 11, false),
                ("tool/x.py", 9, true)
            ]
        );
        assert_eq!(&*found[1].bytes, b"f() { :; }\n");
        assert_eq!(found[1].file.digest, ContentDigest::of(b"f() { :; }\n"));
        let outside = home.path().join("outside").display().to_string();
        for (text, words) in [
            ("", "a name is empty"),
            ("lib.sh,,a b", "a name is empty"),
            ("lib.sh,lib.sh", "listed twice"),
            ("none.sh", "can't be read"),
            ("../outside", "not a path inside"),
            (&outside, "not a path inside"),
            ("out", "leads out of"),
            ("tool", "not a regular file"),
            ("./lib.sh", "can't be the path"),
            ("tool/../lib.sh", "not a path inside"),
            (".env", "is hidden"),
            ("countersign-script", "is the path of the script"),
            ("large", "larger than 1048576 bytes"),
            (
                "part0,part1,part2,part3,part4",
                "have 5242880 bytes together",
            ),
        ] {
            let error = named_files(text, &files).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let many: Vec<String> = (0..=MAX_FILES).map(|number| format!("f{number}")).collect();
        many.iter()
            .for_each(|name| fs::write(at(name), "").expect("a file"));
        let error = named_files(&many.join(","), &files).expect_err("too many");
        assert!(error.contains("more than 256 files"), "{error}");
    }
}

#[cfg(test)]
mod output_schema_tests {
    use serde_json::{Value, json};

    use super::*;

    fn compiled(outputs: &Value) -> Result<ParameterSchema, Malformed> {
        let outputs: Vec<StepOutput> = serde_json::from_value(outputs.clone()).expect("outputs");
        output_schema(&outputs)
    }

    #[test]
    fn an_output_has_the_schema_of_a_text_an_integer_or_a_boolean() {
        let schema = compiled(&json!([
            {"name": "id", "schema": {"type": "string", "pattern": "^[a-z]+$"}},
            {"name": "size", "schema": {"type": "integer", "minimum": 1}},
        ]));
        let schema = schema.expect("no error");
        assert!(
            schema.check(&json!({"id": "abc"})).is_ok(),
            "an output is optional"
        );
        for wrong in [
            json!({"id": "ABC"}),
            json!({"size": 0}),
            json!({"other": 1}),
            json!({"id": "-rf"}),
        ] {
            assert!(schema.check(&wrong).is_err(), "{wrong}");
        }
        for (outputs, place) in [
            (
                json!([{"name": "id", "schema": {"type": "string", "default": "x"}}]),
                "/step/outputs/0/schema/default",
            ),
            (
                json!([{"name": "id", "schema": {"type": "string", "x-secret": true}}]),
                "/step/outputs/0/schema/x-secret",
            ),
            (
                json!([{"name": "id", "schema": {"type": "string", "pattern": "x"}}]),
                "/step/outputs/0/schema/pattern",
            ),
        ] {
            assert_eq!(compiled(&outputs).expect_err(place).pointer, place);
        }
    }
}
