//! The next seal: its content from the operator's files, and what these files would change.

use serde_json::{Value, json};

use crate::{
    BoundaryFiles, Config,
    node::{
        file_refusals::of_sound_files,
        host_sandbox::configure,
        roster_succession::{self, FoundRosters},
    },
    read_policy,
};
use boundary::{Boundary, NoteSource, sound_registry, tokens_in_force, told_steps};
use crossing::{Refusal, SealContent, SealError, SealPredecessor, Sealed, Stopped};
use documents::{Code, Configuration, KeyId, Name, joined};
use reading::{FileProblem, Policy, Problems};
use sandbox::LinuxSandbox;
use store::{Ledger, StoreResult};
use verdict::{Chain, Revocations, StepsInForce, TrustedRoster};

/// Findings about the operator's files.
#[derive(Default)]
pub struct FileFindings {
    pub notes: Vec<String>,
    /// Notes about missing signatures and missing files of newer roster versions.
    pub following: Vec<String>,
    /// Newest roster version that has enough signatures.
    pub newest: u64,
    /// The first error of each runbook that is not sealed.
    pub skipped: Vec<FileProblem>,
}

/// The inputs of the next seal, except the files.
pub struct NextSeal<'a> {
    pub config: &'a Config,
    pub ledger: &'a Ledger,
    pub keyid: KeyId,
    pub sandbox: &'a LinuxSandbox,
    /// The revocations, also those of keys in closed logs.
    pub revoked: &'a Revocations,
    pub configuration: Configuration,
}

impl NextSeal<'_> {
    /// Returns the content of the seal after `sealed`. An unusable new roster or policy is not put in force.
    pub fn content(
        &self,
        sealed: &Sealed,
        files: &BoundaryFiles,
    ) -> StoreResult<(SealContent, FileFindings)> {
        let FoundRosters {
            signed,
            mut candidates,
            mut notes,
            following,
        } = roster_succession::find(self.config, &sealed.rosters, &sealed.policy, files);
        let lacks = |chain: &Chain| {
            chain.lacks_without(&sealed.roster, None, |keyid| self.revoked.has_key(keyid))
        };
        if let Some(lacking) = lacks(&signed) {
            candidates.retain(|(version, _)| lacks(&signed.until(*version)).is_none());
            notes.push(format!(
                "a version of the roster is not in force, because a key that signed it is revoked: {lacking}"
            ));
        }
        let known = self.ledger.reads().tokens()?;
        let now = self.ledger.now();
        let tokens = tokens_in_force(&sealed.tokens, self.revoked, now);
        let content = |rosters: Chain, policy: &Policy| {
            let content = SealContent {
                name: self.config.name.clone(),
                registry: files.registry.clone(),
                policy: policy.clone(),
                rosters,
                tokens: tokens.clone(),
                configuration: self.configuration.clone(),
                bundles_from: self.config.bundles_from_roster,
            };
            self.sound(content, Some(sealed.steps()))
        };
        let names = known.into_iter().map(|row| row.token.name);
        let sealed_names = sealed.tokens.iter().map(|token| token.name.clone());
        let names: Vec<Name> = names.chain(sealed_names).collect();
        // Use the newest usable version of the roster. An unusable version must not block an earlier version.
        let next = candidates.into_iter().rev().find_map(|(version, policy)| {
            let content = content(signed.until(version), policy);
            let taken = self
                .check_roster(content.rosters.last(), &names)
                .and_then(|()| {
                    // A new roster that contradicts other files must not stop the service. For example, a step may need a
                    // group that the new roster lacks.
                    let draft = content.draft(SealPredecessor::After(sealed), self.ledger.now());
                    draft.map(|_| content).map_err(|error| error.to_string())
                });
            let refused = |why| {
                notes.push(format!(
                    "version {version} of the roster is signed and not in force: {why}"
                ))
            };
            taken.map_err(refused).ok()
        });
        let content = next.unwrap_or_else(|| content(sealed.rosters.clone(), &sealed.policy));
        let (newest, skipped) = (signed.last().version(), content.registry.skipped().to_vec());
        Ok((
            content,
            FileFindings {
                notes,
                following,
                newest,
                skipped,
            },
        ))
    }

    /// Removes the runbooks that the host or the policy does not allow, if the configuration says so.
    pub fn sound(&self, mut content: SealContent, known: Option<&StepsInForce>) -> SealContent {
        if self.config.skip_invalid_runbooks
            && let Ok(registry) = sound_registry(
                &content,
                known,
                self.sandbox,
                &self.config.runbook_directories(),
            )
        {
            content.registry = registry;
        }
        content
    }

    pub fn is_key_of(&self, roster: &TrustedRoster) -> bool {
        roster
            .boundary_key(&self.config.name, &self.keyid)
            .is_some()
    }

    /// Returns the reason why this node cannot use a signed version of the roster.
    fn check_roster(&self, roster: &TrustedRoster, tokens: &[Name]) -> Result<(), String> {
        if !self.is_key_of(roster) {
            return Err(format!(
                "the roster gives the boundary {} other keys than the key in {}: under `key`, name the file of a \
                 key of the roster, and restart the service",
                self.config.name,
                self.config.key.display()
            ));
        }
        // People and tokens share one namespace, and a token's name is never used twice.
        match tokens
            .iter()
            .find_map(|name| roster.check_token_name(name).err())
        {
            None => Ok(()),
            Some(taken) => Err(format!(
                "a token has or had the same name as the {} {} of the roster: give the person another name",
                taken.by, taken.name
            )),
        }
    }

    /// Returns a note if `content`, which comes from the files of this node, differs from the seal in force.
    pub fn differences(&self, content: &SealContent, sealed: &Sealed) -> Option<String> {
        let draft = match content.draft(SealPredecessor::After(sealed), self.ledger.now()) {
            Ok(draft) => draft.seal,
            Err(error) => return Some(format!("the files of this node can't be sealed: {error}")),
        };
        let before = &sealed.seal;
        let steps = told_steps(&sealed.registry, &content.registry)
            .map(|steps| format!("the runbooks ({steps})"));
        let others = [
            (draft.policy != before.policy, "the policy".to_owned()),
            (
                draft.roster != before.roster,
                format!("version {} of the roster", content.rosters.last().version()),
            ),
            (
                draft.configuration != before.configuration,
                "the limits or the sandbox".to_owned(),
            ),
            (
                (draft.builtins, &draft.engine) != (before.builtins, &before.engine),
                "the version of the program".to_owned(),
            ),
        ];
        let others = others
            .into_iter()
            .filter_map(|(differs, what)| differs.then_some(what));
        let all = joined(steps.into_iter().chain(others), ", ");
        (!all.is_empty()).then(|| {
            format!(
                "this node differs from the seal in force, which stays in force: {all}; `countersign seal` at the active node \
                 puts its files in force"
            )
        })
    }
}

/// Puts the files of the operator in force while the boundary is open. Returns the answer for the operator.
pub async fn seal_files(
    config: Config,
    boundary: &Boundary,
    new_epoch: bool,
) -> Result<Value, Stopped> {
    let refused = |what: &dyn std::fmt::Display| {
        Refusal::new(
            Code::Malformed,
            format!("nothing is sealed, and the old seal stays in force:\n{what}"),
        )
    };
    let crossing = boundary.crossing.clone();
    let next = move |sealed: &Sealed, ledger: &Ledger, keyid: KeyId, sandbox: &LinuxSandbox| {
        let revoked = &*crossing.revoked();
        let files = BoundaryFiles::read(&config).map_err(|problems| {
            // The errors of some runbooks must not hide the refused steps of the others.
            let policy = read_policy(&config)
                .ok()
                .filter(|policy| policy.digest() == sealed.policy.digest());
            let more = policy
                .map(|policy| of_sound_files(&config, &policy, Some(&sealed.roster)))
                .unwrap_or_default();
            refused(&Problems::new(
                problems.list().iter().cloned().chain(more).collect(),
            ))
        })?;
        let configuration =
            configure(&config, sandbox.probe()).map_err(|problems| refused(&problems))?;
        let next = NextSeal {
            config: &config,
            ledger,
            keyid,
            sandbox,
            revoked,
            configuration,
        };
        let (mut content, found) = next.content(sealed, &files)?;
        let sound = sound_registry(
            &content,
            Some(sealed.steps()),
            sandbox,
            &config.runbook_directories(),
        );
        content.registry = sound.map_err(|errors| {
            let state = content
                .draft(SealPredecessor::After(sealed), ledger.now())
                .err()
                .map(|error| error.state);
            refused(&SealError {
                steps: errors,
                state: state.unwrap_or_default(),
                too_long: None,
            })
        })?;
        Ok((content, found))
    };
    let (
        changed,
        FileFindings {
            notes, following, ..
        },
    ) = boundary.sealing.seal_next(new_epoch, next).await?;
    let all: Vec<String> = notes.iter().chain(&following).cloned().collect();
    boundary.health.set(NoteSource::Files, notes);
    boundary
        .health
        .set_roster_notes(boundary.crossing.state().roster.version(), following);
    let sealed = boundary.crossing.state();
    let bounds: Vec<String> = sealed.bounds().notes().collect();
    Ok(json!({ "changed": changed, "seal": sealed.seal.number, "notes": all, "bounds": bounds }))
}
