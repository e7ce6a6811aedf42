//! Lists for the loops of a workflow, which a person gives with `--var`.
//!
//! A list is text (`items=a,b`) or a file (`items=file:data.txt`). The file must be inside of the project. Its digest is
//! checked before every iteration, so a loop never continues with other data than it began with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Project, local::workflow_walk::loop_values};
use client::{CommandFailure, CommandResult, PrintableText, read_bounded};
use documents::{ContentDigest, json as strict};
use reading::{LoopSource, MAX_ITERATIONS, Workflow};

/// Maximum size of a file with a list, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;

/// Lists of all loops of one workflow.
#[derive(Debug)]
pub struct LoopLists {
    lists: BTreeMap<String, LoopList>,
}

#[derive(Debug)]
struct LoopList {
    items: Vec<String>,
    file: Option<ListFile>,
}

/// File of a list as it was when the workflow began.
#[derive(Debug)]
struct ListFile {
    /// Path as the person typed it.
    typed: PathBuf,
    /// Path without links.
    real: PathBuf,
    digest: ContentDigest,
}

impl LoopLists {
    /// Reads the lists that the workflow needs. Each text in `given` has the form `NAME=VALUE`.
    ///
    /// # Errors
    /// Returns an error if a list is missing, not needed or given twice, if its file is not inside of the project, or if a
    /// list has more than 10,000 items.
    pub fn read(given: &[String], workflow: &Workflow, project: &Project) -> CommandResult<Self> {
        let needed: Vec<&str> = workflow
            .steps
            .iter()
            .filter_map(|step| match &step.repeat.as_ref()?.source {
                LoopSource::List { name, .. } => Some(name.as_str()),
                LoopSource::Range { .. } => None,
            })
            .collect();
        let mut lists = BTreeMap::new();
        for given in given {
            let wrong = |what: String| {
                CommandFailure::usage(format!("--var {}: {what}", PrintableText::text(given)))
            };
            let (name, value) = given
                .split_once('=')
                .ok_or_else(|| wrong("expected NAME=a,b or NAME=file:PATH".to_owned()))?;
            if !needed.contains(&name) {
                let known = if needed.is_empty() {
                    "it needs none".to_owned()
                } else {
                    format!("it needs {}", needed.join(", "))
                };
                return Err(wrong(format!("the runbook needs no such list; {known}")));
            }
            let list = match value.strip_prefix("file:") {
                Some(path) => {
                    from_file(Path::new(path), project).map_err(|failure| wrong(failure.message))?
                }
                None => LoopList {
                    items: from_text(value).map_err(wrong)?,
                    file: None,
                },
            };
            if list.items.len() > MAX_ITERATIONS as usize {
                return Err(wrong(format!(
                    "the list has more than {MAX_ITERATIONS} items: divide the list"
                )));
            }
            if lists.insert(name.to_owned(), list).is_some() {
                return Err(wrong(
                    "the list is given twice: keep one of the two".to_owned(),
                ));
            }
        }
        match needed.iter().find(|name| !lists.contains_key(**name)) {
            Some(name) => Err(CommandFailure::usage(format!(
                "the runbook needs the list {name}: add --var {name}=a,b or --var {name}=file:PATH"
            ))),
            None => Ok(Self { lists }),
        }
    }

    /// Returns the values of the loop of each step, and no values for a step without a loop.
    pub fn values(&self, workflow: &Workflow) -> Vec<Vec<String>> {
        let values = workflow.steps.iter().map(|step| {
            step.repeat.as_ref().map_or_else(Vec::new, |clause| {
                let items = match &clause.source {
                    LoopSource::List { name, .. } => {
                        self.lists.get(name).map_or(&[][..], |list| &list.items)
                    }
                    LoopSource::Range { .. } => &[],
                };
                loop_values(clause, items)
            })
        });
        values.collect()
    }

    /// Checks that the file of a list has not changed since the workflow began.
    ///
    /// # Errors
    /// Returns an error if the path leads to another file, or if the content differs.
    pub fn check_unchanged(&self, source: &LoopSource) -> CommandResult<()> {
        let LoopSource::List { name, .. } = source else {
            return Ok(());
        };
        let Some(file) = self.lists.get(name).and_then(|list| list.file.as_ref()) else {
            return Ok(());
        };
        let same_file = file
            .typed
            .canonicalize()
            .is_ok_and(|real| real == file.real);
        let bytes = if same_file {
            read_bounded(&file.real, MAX_LIST_BYTES).ok()
        } else {
            None
        };
        if bytes.is_some_and(|bytes| ContentDigest::of(&bytes) == file.digest) {
            return Ok(());
        }
        Err(CommandFailure::refused(format!(
            "the file {} has changed since the workflow began, so the loop over {name} stops: check the file, and run \
                 the rest of the items again",
            PrintableText::file(&file.typed)
        )))
    }
}

fn from_text(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text
        .split(',')
        .filter(|_| !text.is_empty())
        .map(|item| item.trim().to_owned())
        .collect();
    if items.iter().any(String::is_empty) {
        return Err("an item is empty: remove the extra comma".to_owned());
    }
    Ok(items)
}

fn from_file(path: &Path, project: &Project) -> CommandResult<LoopList> {
    let typed = project.cwd.join(path);
    let real = typed
        .canonicalize()
        .map_err(|error| CommandFailure::usage(format!("can't read the file: {error}")))?;
    if !real.starts_with(&project.repo) {
        return Err(CommandFailure::usage(format!(
            "the file is outside of the project {}: copy the file into the project",
            project.repo.display()
        )));
    }
    if !real.is_file() {
        return Err(CommandFailure::usage(
            "this is not a regular file: name a file",
        ));
    }
    let bytes = read_bounded(&real, MAX_LIST_BYTES)?;
    let digest = ContentDigest::of(&bytes);
    let text = String::from_utf8(bytes)
        .map_err(|_| CommandFailure::usage("the file is not UTF-8: save it as UTF-8"))?;
    let items = match real.extension().and_then(|ending| ending.to_str()) {
        Some("json") => match json_value(&text, 1)? {
            Value::Array(values) => values.into_iter().map(item).collect::<Result<_, _>>(),
            _ => Err("the file contains no JSON array: write a list like [\"a\",\"b\"]".to_owned()),
        }
        .map_err(CommandFailure::usage)?,
        Some("jsonl") => {
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty());
            let items = lines.map(|(index, line)| {
                item(json_value(line, index + 1)?).map_err(CommandFailure::usage)
            });
            items.collect::<Result<_, _>>()?
        }
        _ => text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    Ok(LoopList {
        items,
        file: Some(ListFile {
            typed,
            real,
            digest,
        }),
    })
}

fn json_value(text: &str, line: usize) -> CommandResult<Value> {
    strict::parse(text.as_bytes(), MAX_LIST_BYTES).map_err(|error| {
        CommandFailure::usage(format!(
            "line {line} of the file is not valid JSON: {error}"
        ))
    })
}

fn item(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(
            "an item of the list is neither text nor a number: write texts and numbers only"
                .to_owned(),
        ),
    }
}
