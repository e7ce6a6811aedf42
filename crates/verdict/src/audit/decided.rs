//! Repeats the boundary's decision and checks how the run ended.

use serde_json::Value;

use crate::{
    Chain, CheckStop, Checked, ExcludedSigners, HashedStep, LogProofs, NotCounted, QuorumMet,
    QuorumRules, SealedRoster, SignatureCount, Tokens, TrustedRoster,
    audit::{
        check_ledger::{ensure, failed},
        documents::{item, leaf_of},
    },
    check_permissions, exclusion, judge_excluded, quorum, rules_of_run,
};
use documents::{
    Authorization, AuthorizationRef, BlobDigest, Bundle, Consumption, ENGINE, Files, Grant, Hash,
    Layer, LeafHash, MAX_MANIFEST_ENTRIES, OUTPUTS_PATH, Permission, PolicyDigest, ProgramMode,
    Receipt, RegistryLeaf, Seal, Status, StepDigest, StepRef, Stream, Timestamp, Verified,
    canonical, joined, merkle, parses_alike, unhex32,
};
use reading::{
    Builtins, Policy, PolicyDenied, ProgramNames, Ruling, check_list, check_programs,
    required_permissions::needs, ruling,
};

/// Permissions and approval rules that policy gives for the step.
pub struct StepInSeal {
    /// Permissions that policy requires for each run, or the reason why policy denies the step.
    pub asked: Result<Vec<Permission>, PolicyDenied>,
    pub rules: QuorumRules,
    /// Names of the programs that a run may execute, or `None` if a run may execute every program.
    pub programs: Option<ProgramNames>,
    /// The rules of policy for the step.
    pub ruling: Ruling,
}

pub fn check_seal(
    bundle: &Bundle,
    sealed: &SealedRoster<'_>,
    consumption: &Consumption,
    receipt: &Receipt,
) -> Result<String, CheckStop> {
    let seal = sealed.seal.predicate();
    let policy = PolicyDigest::of(&canonical::to_canonical(&bundle.policy));
    let builtins = BlobDigest::of(&canonical::to_canonical(&bundle.builtins));
    for (same, what) in [
        (
            seal.policy == policy,
            "the field `policy` of the bundle is not the policy that the seal names: the bundle was changed, so get it again",
        ),
        (
            seal.builtins == builtins,
            "the field `builtins` of the bundle (lists of programs) is not what the seal names: the bundle was changed, so get it again",
        ),
        (
            sealed.roster.policy() == policy,
            "the roster names another policy than the seal",
        ),
        (
            receipt.decision.policy == policy,
            "the receipt names another policy than the seal",
        ),
        (
            consumption.seal == sealed.digest,
            "the consumption names another seal than the seal in the bundle",
        ),
        (
            receipt.seal == sealed.digest,
            "the receipt names another seal than the seal in the bundle",
        ),
    ] {
        ensure(same, || what)?;
    }
    Ok(format!(
        "number {}, {}, policy {policy}",
        seal.number, sealed.digest
    ))
}

pub fn check_consumption(
    bundle: &Bundle,
    log: &LogProofs,
    consumption: &Consumption,
    receipt: &Receipt,
    authorization: &Verified<Authorization>,
) -> Result<String, CheckStop> {
    let named = &receipt.consumption;
    let leaf = LeafHash::from_bytes(leaf_of(&bundle.consumption)?);
    ensure(named.leaf == leaf, || {
        format!(
            "the receipt names the leaf {}, but the leaf of the consumption is {leaf}",
            named.leaf
        )
    })?;
    ensure(named.index == log.consumption.index, || {
        format!(
            "the receipt names entry {}, but the consumption is entry {}",
            named.index, log.consumption.index
        )
    })?;
    let item = item(receipt, consumption)
        .ok_or_else(|| failed(format!("the consumption has no item {}", named.item)))?;
    let signed = authorization.predicate();
    let in_bundle = AuthorizationRef {
        digest: authorization.digest_as(),
        index: log.authorization.index,
        leaf: LeafHash::from_bytes(leaf_of(&bundle.authorization)?),
    };
    ensure(receipt.authorization == in_bundle, || {
        let (named, here) = (&receipt.authorization, &in_bundle);
        format!(
            "the receipt names the authorization {} at entry {} with the leaf {}, but the bundle has {} at entry {} with \
             the leaf {}",
            named.digest, named.index, named.leaf, here.digest, here.index, here.leaf
        )
    })?;
    for (same, what) in [
        (
            item.authorization == in_bundle,
            "does not spend the authorization in the bundle",
        ),
        (
            consumption.is_directly_after(named.item as usize, named.index),
            "is not directly after the authorization",
        ),
        (
            item.handed_in_by == receipt.decision.handed_in_by,
            "names another submitter than the receipt",
        ),
        (
            item.nonce == signed.nonce,
            "does not spend the nonce of the authorization",
        ),
        (
            item.grant == signed.grant,
            "names another grant than the authorization",
        ),
        (
            item.session == signed.session,
            "has another session than the authorization",
        ),
    ] {
        ensure(same, || {
            format!("item {} of the consumption {what}", named.item)
        })?;
    }
    check_session(signed, receipt)?;
    let session = signed.session.as_ref().map_or_else(String::new, |session| {
        format!("; the content of the state of {} is not checked, because only the boundary knows the salt", session.id)
    });
    Ok(format!(
        "item {} of entry {}, nonce {}{session}",
        named.item, named.index, item.nonce
    ))
}

/// Checks that the receipt has the state of the signed session as the state before the run, or no session.
pub fn check_session(signed: &Authorization, receipt: &Receipt) -> Result<(), CheckStop> {
    match (&signed.session, &receipt.session) {
        (None, None) => Ok(()),
        (Some(session), Some(change)) => ensure(change.before == session.state, || {
            format!(
                "the receipt says that the run used the state {}, but {} is signed",
                change.before, session.state
            )
        }),
        (Some(_), None) => Err(failed(
            "the authorization names a session, but the receipt does not",
        )),
        (None, Some(_)) => Err(failed(
            "the receipt has states of a session, but the authorization names no session",
        )),
    }
}

pub fn check_registered(bundle: &Bundle, seal: &Seal) -> Result<String, CheckStop> {
    let reference = bundle
        .step
        .get("ref")
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<StepRef>().ok());
    let reference = reference.ok_or_else(|| failed("the step in the bundle has no valid `ref`"))?;
    let leaf = RegistryLeaf {
        digest: StepDigest::of(&canonical::to_canonical(&bundle.step)),
        reference,
    };
    let leaf = merkle::leaf_hash(&canonical::canonical_of(&leaf)?);
    let proof = &bundle.step_proof;
    let hashes: Option<Vec<Hash>> = proof.hashes.iter().map(|hash| unhex32(hash)).collect();
    let hashes = hashes.ok_or_else(|| {
        failed("a hash in the proof of the step does not have 64 lower-case hex digits")
    })?;
    let _included = merkle::verify_inclusion(
        &leaf,
        proof.index,
        proof.size,
        &hashes,
        seal.registry_root.as_bytes(),
    )?;
    Ok(format!(
        "step {} of {} under {}",
        proof.index, proof.size, seal.registry_root
    ))
}

pub fn read_rules(
    bundle: &Bundle,
    step: &HashedStep,
    signed: &Authorization,
) -> Checked<StepInSeal> {
    let policy = Policy::from_sealed(&bundle.policy).map_err(|errors| {
        failed(format!(
            "the policy can't be read: {}",
            joined(&errors, "; ")
        ))
    })?;
    let definition = step.definition();
    let builtins = Builtins::from_sealed(&bundle.builtins).map_err(|errors| {
        failed(format!(
            "the built-in lists can't be read: {}",
            joined(&errors, "; ")
        ))
    })?;
    let ruling = ruling::resolve(&policy, &builtins, &definition.reference);
    let rules = QuorumRules::combine(
        ruling.approvals.as_ref().map(|approvals| &approvals.value),
        &definition.approvals,
    )?
    .with_passkeys(ruling.passkeys);
    let rules = rules_of_run(signed, rules, &ruling, &definition.approvals)?;
    let needs = needs(&ruling, definition);
    Ok((
        StepInSeal {
            asked: needs.permissions,
            rules,
            programs: needs.programs,
            ruling,
        },
        String::new(),
    ))
}

pub fn check_excluded(
    signed: &Authorization,
    grant: Option<&Grant>,
    receipt: &Receipt,
    roster: &TrustedRoster,
) -> Checked<ExcludedSigners> {
    let decision = &receipt.decision;
    let mut known = exclusion::judge(
        &signed.proposer,
        &decision.handed_in_by,
        Tokens::Unknown,
        roster,
    )?;
    if let Some(grant) = grant {
        known = known.with(&judge_excluded(grant, Tokens::Unknown, roster)?.names());
    }
    // The bundle does not show the owners of tokens, so the owners come from the receipt's list of excluded people. The
    // list must contain each person whom the documents in the bundle exclude.
    let mut left_out = known.names();
    left_out.retain(|name| !decision.excluded.contains(name));
    ensure(left_out.is_empty(), || {
        format!("the receipt does not exclude {}", joined(&left_out, ", "))
    })?;
    Ok((known.with(&decision.excluded), String::new()))
}

/// Refuses a signature that does not count, because a correct boundary logs only signatures that count.
pub fn check_each_counts(count: SignatureCount) -> Checked<SignatureCount> {
    let others: Vec<_> = count
        .uncounted()
        .iter()
        .filter(|signature| !matches!(signature.why, NotCounted::Excluded | NotCounted::Revoked))
        .map(ToString::to_string)
        .collect();
    ensure(others.is_empty(), || others.join("; "))?;
    let names = joined(count.counted().iter().map(|person| &person.name), ", ");
    Ok((count, format!("of {names}")))
}

pub fn check_quorum(
    rules: &QuorumRules,
    count: &SignatureCount,
    receipt: &Receipt,
) -> Checked<QuorumMet> {
    let met = quorum::decide(rules, count)?;
    let decision = &receipt.decision;
    ensure(
        decision.approvers == met.approvers(),
        || "the approvers in the receipt differ from the approvers who count",
    )?;
    ensure(
        decision.groups == met.groups(),
        || "the groups in the receipt differ from the groups of the approvers who count",
    )?;
    let detail = format!(
        "{} for {}",
        joined(met.approvers(), ", "),
        joined(met.groups(), ", ")
    );
    Ok((met, detail))
}

pub fn check_asked(
    rules: &StepInSeal,
    step: &HashedStep,
    signed: &Authorization,
    seal: &Seal,
) -> Result<String, CheckStop> {
    check_list(
        &rules.ruling,
        step.definition(),
        rules.programs.as_ref(),
        &signed.sandbox,
    )?;
    let asked = rules.asked.as_ref().map_or(0, Vec::len);
    // The program finds the permissions by parsing the script, and another program version may parse the script
    // differently.
    let stop = |rests_on_reading: bool, error: &dyn std::fmt::Display| {
        if parses_alike(&seal.engine) || !rests_on_reading {
            return failed(error);
        }
        CheckStop::NotChecked(format!(
            "{:?} made the decision, but this program ({ENGINE}) decides differently: {error}",
            seal.engine
        ))
    };
    let _covered = check_permissions(&rules.asked, &signed.permissions)
        .map_err(|error| stop(error.rests_on_reading(), &error))?;
    let list = signed.sandbox.programs.as_ref();
    check_programs(rules.programs.as_ref(), list)
        .map_err(|error| stop(error.rests_on_reading, &error))?;
    let list = list.map_or_else(String::new, |programs| {
        format!(
            "; the list has only names that the step needs ({})",
            programs.programs().len()
        )
    });
    Ok(format!(
        "policy lets the step run; all {asked} permissions that policy asks for are signed{list}"
    ))
}

pub fn check_sandbox(signed: &Authorization, receipt: &Receipt) -> Result<String, CheckStop> {
    let held = &receipt.sandbox;
    if matches!(receipt.outcome.status, Status::NotStarted | Status::Unknown) {
        return Err(CheckStop::NotChecked(format!(
            "the outcome is {}",
            receipt.outcome.status
        )));
    }
    let words = |layers: Vec<&Layer>| joined(layers.iter().map(|layer| layer.word()), ", ");
    let lacking: Vec<_> = signed
        .sandbox
        .require
        .iter()
        .filter(|layer| !held.layers.contains(layer))
        .collect();
    ensure(lacking.is_empty(), || {
        format!("required but not enforced: {}", words(lacking))
    })?;
    let both: Vec<_> = held
        .missing
        .iter()
        .filter(|layer| held.layers.contains(layer))
        .collect();
    ensure(both.is_empty(), || {
        format!(
            "the receipt lists the same layers as enforced and as missing: {}",
            words(both)
        )
    })?;
    check_program_facts(signed, receipt)?;
    if signed.sandbox.require.is_empty() {
        return Ok("no layer was required".to_owned());
    }
    Ok(format!(
        "enforced: {}",
        words(signed.sandbox.require.iter().collect())
    ))
}

/// Checks that the receipt of a run with a list of programs states the number of these programs, and that no other
/// receipt states a list.
fn check_program_facts(signed: &Authorization, receipt: &Receipt) -> Result<(), CheckStop> {
    let expected = signed
        .sandbox
        .programs
        .as_ref()
        .map(|programs| programs.programs().len() as u64);
    let stated = receipt
        .programs
        .as_ref()
        .filter(|facts| facts.mode == ProgramMode::Listed)
        .map(|facts| facts.listed);
    let known = signed
        .sandbox
        .programs
        .as_ref()
        .is_none_or(|list| list.is_known());
    ensure(expected == stated || !known && stated.is_some(), || {
        let words = |count: Option<u64>| {
            count.map_or("no list".to_owned(), |count| {
                format!("a list of {count} programs")
            })
        };
        format!(
            "the approvers signed {}, but the receipt states {}",
            words(expected),
            words(stated)
        )
    })
}

pub fn check_outcome(receipt: &Receipt, consumed_at: Timestamp) -> Result<String, CheckStop> {
    receipt.outcome.check()?;
    ensure(consumed_at <= receipt.started_at, || {
        format!(
            "the run started at {}, before its nonce was spent at {consumed_at}",
            receipt.started_at
        )
    })?;
    ensure(
        receipt.started_at <= receipt.finished_at,
        || "the run finished before its start",
    )?;
    let unknown = receipt.outcome.status == Status::Unknown;
    ensure(
        !unknown || receipt.started_at == receipt.finished_at,
        || "an unknown run must start and end at the same time, the time of recovery",
    )?;
    Ok(receipt.outcome.status.to_string())
}

/// Checks the digests and counts of the output and the files. The parser of the receipt has already compared the
/// subjects with the receipt's fields.
pub fn check_subjects(bundle: &Bundle, receipt: &Receipt) -> Result<String, CheckStop> {
    let detail = check_counted(receipt)?;
    check_manifest(bundle, receipt)?;
    let contents = if bundle.manifest.is_some() {
        ", whose contents are not checked"
    } else {
        ""
    };
    Ok(detail + contents)
}

/// Checks that the bundle has the manifest that the receipt names, if the run left files.
fn check_manifest(bundle: &Bundle, receipt: &Receipt) -> Result<(), CheckStop> {
    let Some(manifest) = &bundle.manifest else {
        return ensure(receipt.files.count == 0, || {
            format!(
                "the receipt counts {} files, but the bundle has no manifest",
                receipt.files.count
            )
        });
    };
    let files = Files::of(manifest)?;
    ensure(files == receipt.files, || {
        format!(
            "the manifest has {} files of {} bytes and the digest {}, but the receipt states {} files of {} bytes and the \
             digest {}",
            files.count,
            files.bytes,
            files.manifest,
            receipt.files.count,
            receipt.files.bytes,
            receipt.files.manifest
        )
    })?;
    // If `outputs` is missing or no array, the check `step` fails.
    let without_outputs = bundle.step["outputs"].as_array().is_some_and(Vec::is_empty);
    ensure(
        !without_outputs
            || manifest
                .0
                .iter()
                .all(|entry| entry.path.as_str() != OUTPUTS_PATH),
        || format!("the manifest has the file {OUTPUTS_PATH}, but the step has no outputs"),
    )
}

/// Checks that the digests of the output and the files agree with their counts.
pub fn check_counted(receipt: &Receipt) -> Result<String, CheckStop> {
    let (nothing, none) = (Stream::empty(), Files::none());
    for (name, stream) in [
        ("stdout", &receipt.output.stdout),
        ("stderr", &receipt.output.stderr),
    ] {
        let empty = [
            stream.sha256 == nothing.sha256,
            stream.blake3 == nothing.blake3,
        ];
        ensure(empty == [stream.recorded == 0; 2], || {
            format!(
                "the receipt counts {} recorded bytes of {name}, but the digests of {name} contradict this number",
                stream.recorded
            )
        })?;
    }
    let files = &receipt.files;
    ensure(
        (files.count == 0) == (files.manifest == none.manifest),
        || {
            format!(
                "the receipt counts {} files, but the digest of the `manifest` belongs to another number",
                files.count
            )
        },
    )?;
    ensure(files.count <= MAX_MANIFEST_ENTRIES as u64, || {
        format!(
            "the receipt counts {} files, but a run can leave at most {MAX_MANIFEST_ENTRIES}",
            files.count
        )
    })?;
    ensure(
        files.count > 0 || files.bytes == 0,
        || "the receipt counts bytes of files but no files",
    )?;
    Ok(format!(
        "{} and {} bytes recorded, {} files",
        receipt.output.stdout.recorded, receipt.output.stderr.recorded, files.count
    ))
}

/// Checks that the newest roster still has all keys that signed. If the roster no longer has a key, the result is *not
/// checked*, because only the log can show whether the key was removed before this run.
pub fn check_still_rostered(
    chain: &Chain,
    sealed: &SealedRoster<'_>,
    receipt: &Verified<Receipt>,
    count: &SignatureCount,
) -> Result<String, CheckStop> {
    let newest = chain.newest();
    let name = &sealed.seal.predicate().boundary.name;
    let mut gone: Vec<String> = receipt
        .keyids()
        .chain(sealed.seal.keyids())
        .filter(|keyid| newest.boundary_key(name, keyid).is_none())
        .map(|keyid| format!("{keyid} of boundary {name}"))
        .collect();
    gone.extend(
        count
            .counted()
            .iter()
            .filter(|person| {
                newest
                    .statement_approver(&person.keyid)
                    .is_none_or(|(approver, _)| approver.name != person.name)
            })
            .map(|person| format!("{} of {}", person.keyid, person.name)),
    );
    gone.dedup();
    if gone.is_empty() {
        Ok(format!(
            "all keys are in roster version {}, the newest known version",
            newest.version()
        ))
    } else {
        Err(CheckStop::NotChecked(format!(
            "roster version {} no longer has these keys: {}. Only the log can show whether the removal was before this \
             run: run `countersign audit`",
            newest.version(),
            gone.join(", ")
        )))
    }
}
