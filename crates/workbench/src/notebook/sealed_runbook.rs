//! The steps of a runbook as a boundary has sealed them, beside the steps of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use client::{Client, CommandFailure, CommandResult, DefinitionDifferences, Exit};
use documents::{
    Approvals, SessionId, SessionUse, StepDefinition, StepDigest, StepRef, json as strict,
    to_canonical,
};
use reading::{RegisteredStep, Registry};
use wire::{RegistryView, SessionList, StepSummary, StepView};

use crate::{OpenPage, local::author_preview::differences_from};

/// A step of a boundary, whose definition has the digest that the boundary states.
pub struct SealedStep {
    /// The definition.
    pub definition: StepDefinition,
    /// Digest of the definition, computed on this machine.
    pub digest: StepDigest,
    /// Approval rules of the step and the policy.
    pub approvals: Vec<Approvals>,
    /// Reason why nobody can approve or run the step.
    pub hopeless: Option<String>,
    /// Open sessions that the step can use.
    pub sessions: Vec<SessionId>,
    /// The definition as JSON.
    document: serde_json::Value,
}

impl SealedStep {
    /// Reads a step, and computes the digest of its definition.
    ///
    /// # Errors
    /// Returns an error if the boundary does not answer, or if it returns another definition than its digest names.
    pub fn read(client: &Client, listed: &StepSummary) -> CommandResult<Self> {
        let reference = &listed.reference;
        let view: StepView = client.get(&format!("/v1/steps/{reference}"))?;
        let lie = |what: &str| {
            let what = format!(
                "{what}: nothing of this step is shown, and it can't be proposed here. Don't trust this boundary, and tell \
                 its operator"
            );
            CommandFailure::refused(what)
        };
        let digest = StepDigest::of(&to_canonical(&view.definition));
        if digest != view.digest {
            let what = format!(
                "the boundary says that {reference} has the digest {}, but its definition has the digest {digest}",
                view.digest
            );
            return Err(lie(&what));
        }
        let definition: StepDefinition = strict::typed(&view.definition).map_err(|error| {
            lie(&format!(
                "the definition of {reference} can't be read: {error}"
            ))
        })?;
        if definition.reference != *reference {
            return Err(lie(&format!(
                "this page asked for {reference}, but the boundary returned another step"
            )));
        }
        definition.check().map_err(CommandFailure::refused)?;
        let denied = view
            .denied
            .map(|why| format!("policy refuses each run of the step: {why}"));
        let hopeless = denied.or_else(|| {
            listed
                .unavailable
                .as_ref()
                .map(|why| format!("the boundary can't run the step: {why}"))
        });
        Ok(Self {
            definition,
            digest,
            approvals: view.approvals,
            hopeless,
            sessions: Vec::new(),
            document: view.definition,
        })
    }

    /// Returns the step with its digest, as a proposal names it.
    pub fn exact(&self) -> String {
        format!("{}@{}", self.definition.reference, self.digest)
    }
}

/// Returns true if a proposal of the step names a session.
pub fn takes_session(definition: &StepDefinition) -> bool {
    definition.session != SessionUse::None && definition.plan.is_none()
}

/// A step of the file beside the boundary's step of the same reference.
pub enum SealedBlock {
    /// The boundary has no such step, or the token may not see it.
    Missing,
    /// The boundary has the step, but it can't be shown.
    Unread(String),
    /// The sealed step, and what differs in the file.
    Sealed(Box<SealedStep>, Option<DefinitionDifferences>),
}

/// The steps of a file at a boundary.
pub struct SealedRunbook {
    /// Name that the boundary states.
    pub boundary: String,
    /// Blocks by the ids of the steps.
    pub blocks: BTreeMap<String, SealedBlock>,
    /// Steps of the sealed runbook that the file lacks.
    pub only_sealed: Vec<StepRef>,
}

impl SealedRunbook {
    /// Reads the sealed steps of an open file.
    ///
    /// # Errors
    /// Returns an error if the boundary refuses or does not answer.
    pub fn read(client: &Client, page: &OpenPage) -> CommandResult<Self> {
        let registry: RegistryView = client.get("/v1/registry")?;
        let paths: BTreeSet<&str> = registry
            .steps
            .iter()
            .map(|step| step.reference.path())
            .collect();
        let first = page
            .steps
            .first()
            .map_or("", |step| step.step.definition.reference.path());
        let own = first.rsplit('/').next().unwrap_or(first);
        let file = &page.runbook.real;
        let path = path_at_boundary(&paths, file, own).map(str::to_owned);
        // A digest covers the reference, so the file is read again under its name at the boundary.
        let ending = file
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(own))
            .unwrap_or(".md");
        let in_file = match &path {
            None => Vec::new(),
            Some(path) => {
                let read = Registry::of_file(file, &format!("{path}{ending}"), &page.runbook.shown);
                read.map(|found| found.steps).unwrap_or_default()
            }
        };
        let of_path = |step: &&StepSummary| Some(step.reference.path()) == path.as_deref();
        let listed: Vec<&StepSummary> = registry.steps.iter().filter(of_path).collect();
        let mut blocks = BTreeMap::new();
        for step in &page.steps {
            let block = match listed
                .iter()
                .find(|listed| listed.reference.step() == step.name())
            {
                None => SealedBlock::Missing,
                Some(listed) => block(client, listed, &in_file)?,
            };
            blocks.insert(step.name().to_owned(), block);
        }
        let lacks = listed
            .iter()
            .filter(|listed| !blocks.contains_key(listed.reference.step()));
        let only_sealed = lacks.map(|listed| listed.reference.clone()).collect();
        Ok(Self {
            boundary: registry.boundary.name.to_string(),
            blocks,
            only_sealed,
        })
    }
}

fn block(
    client: &Client,
    listed: &StepSummary,
    in_file: &[Arc<RegisteredStep>],
) -> CommandResult<SealedBlock> {
    let sealed = match SealedStep::read(client, listed) {
        Ok(mut sealed) => {
            if takes_session(&sealed.definition) {
                let open: SessionList = client.get("/v1/sessions")?;
                let own = open
                    .sessions
                    .into_iter()
                    .filter(|one| one.runbook == listed.reference.path());
                sealed.sessions = own.map(|one| one.id).collect();
            }
            sealed
        }
        Err(failure) if failure.exit == Exit::Unreachable => return Err(failure),
        Err(failure) => return Ok(SealedBlock::Unread(failure.message)),
    };
    let own = in_file
        .iter()
        .find(|step| step.definition.reference == listed.reference);
    let differs = match own {
        Some(own) if own.digest == sealed.digest => None,
        Some(own) => Some(differences_from(&sealed.document, own)),
        // The file has the step, but can't be read under the name that it has at the boundary.
        None => Some(DefinitionDifferences::default()),
    };
    Ok(SealedBlock::Sealed(Box::new(sealed), differs))
}

/// Returns the path of a file at a boundary: the longest sealed path with which the path of the file ends, or else the
/// only sealed path whose last name is `own`.
fn path_at_boundary<'a>(paths: &BTreeSet<&'a str>, file: &Path, own: &str) -> Option<&'a str> {
    let whole = format!("{}/{own}", file.parent()?.to_string_lossy());
    let ends = |path: &&&str| whole.ends_with(&format!("/{path}"));
    if let Some(longest) = paths.iter().filter(ends).max_by_key(|path| path.len()) {
        return Some(longest);
    }
    let mut named = paths
        .iter()
        .filter(|path| path.rsplit('/').next() == Some(own));
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_longest_sealed_path_or_the_only_one_with_its_name() {
        let of = |paths: &[&'static str], file: &str| {
            let own = Path::new(file)
                .file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a name")
                .to_owned();
            path_at_boundary(&paths.iter().copied().collect(), Path::new(file), &own)
        };
        assert_eq!(
            of(&["page", "ops/page", "web/page"], "/srv/ops/page.md"),
            Some("ops/page")
        );
        assert_eq!(of(&["page", "web/page"], "/srv/ops/page.md"), Some("page"));
        assert_eq!(
            of(&["ops/page", "ops/other"], "/home/page.md"),
            Some("ops/page")
        );
        assert_eq!(
            of(&["ops/page", "web/page"], "/home/page.md"),
            None,
            "the boundary does not say which of them"
        );
        assert_eq!(of(&["homepage", "page/x"], "/home/page.md"), None);
    }
}
