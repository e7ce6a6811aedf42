//! One bundle, verified with a trusted roster only.
//!
//! Every check is *established*, *failed* or *not checked*. A check whose input was not established is not
//! checked: in the code its input is then not there, so it can't be looked at by mistake.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::audit::facts;
use crate::audit::ledger::{Got, Ledger, Stop, ensure, failed};
use crate::audit::report::{BundleReport, CheckName, Finding};
use crate::crypto::canonical;
use crate::crypto::digest::{BlobDigest, LeafHash, PolicyDigest, RosterDigest, SealDigest, StepDigest, unhex32};
use crate::crypto::json;
use crate::crypto::merkle::{self, Hash};
use crate::crypto::note::{self, Note, TlogProof};
use crate::decision::exclusion::{self, Excluded, Tokens};
use crate::decision::parameters::{ParametersError, check_parameters};
use crate::decision::permissions::check_permissions;
use crate::decision::place::check_place;
use crate::decision::quorum::{self, Count, NotCounted, QuorumMet, Rules};
use crate::decision::step::{HashedStep, check_step};
use crate::decision::window::check_window;
use crate::policy::file::Policy;
use crate::policy::{self, Ruling};
use crate::record::authorization::{Authorization, authorization_digest};
use crate::record::bundle::Bundle;
use crate::record::checkpoint::{self, Checkpoint};
use crate::record::consumption::Consumption;
use crate::record::document::Predicate;
use crate::record::envelope::{Base64, Envelope, Signed, Verified};
use crate::record::ident::StepRef;
use crate::record::receipt::{Files, Receipt, Status, Stream};
use crate::record::roster::MAX_ROSTER_BYTES;
use crate::record::seal::Seal;
use crate::record::step::RegistryLeaf;
use crate::record::validity::{SKEW_S, Timestamp};
use crate::registry::parameters::ParameterSchema;
use crate::trust::chain::{Chain, Pinned, payload_of};
use crate::trust::roster::{Holder, TrustedRoster};

/// What the one who verifies trusts beforehand. It never comes out of a bundle.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Nothing: then nothing can be verified.
    Nothing,
    /// The digest of a roster's payload, `sha256:…`.
    Digest(RosterDigest),
    /// The bytes of a roster file: an envelope.
    Roster(Vec<u8>),
}

/// What may be said about a verification besides trust.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Now: a receipt of a later time is refused. Without it times are compared with each other only.
    pub at: Option<Timestamp>,
}

/// There is nothing to verify with: exit code 2, and the digests seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Untrusted {
    /// What is missing, and how to get it.
    pub message: String,
    /// The digest of version 1 of the bundle's roster, as far as it was readable: to compare with the one that
    /// the operator tells you.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_roster: Option<RosterDigest>,
    /// The digest of its last version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_roster: Option<RosterDigest>,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.first_roster {
            Some(digest) => write!(f, "; version 1 of the roster in the bundle is {digest}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Untrusted {}

/// Verifies a bundle.
///
/// # Errors
/// When there is no trusted roster, or a bad one: then nothing is verified. All else is in the report.
pub fn verify(bundle: &[u8], trust: &Trust, options: Options) -> Result<BundleReport, Untrusted> {
    let parsed = Bundle::parse(bundle);
    let pinned = match trust {
        Trust::Nothing => {
            Err("no trusted roster: give one with --roster, the file or the digest that the operator tells you"
                .to_owned())
        }
        Trust::Digest(digest) => Ok(Pinned::Digest(*digest)),
        Trust::Roster(file) => json::parse_as::<Envelope>(file, 2 * MAX_ROSTER_BYTES)
            .map_err(|error| error.to_string())
            .and_then(|envelope| Pinned::from_envelope(&envelope).map_err(|error| error.to_string()))
            .map_err(|error| {
                format!("the trusted roster can't be used: {error}; get it again from where you trust it")
            }),
    };
    let pinned = pinned.map_err(|message| {
        let seen = |envelope: Option<&Envelope>| {
            envelope
                .and_then(|envelope| payload_of(envelope, Base64::Strict).ok())
                .map(|payload| RosterDigest::of(&payload))
        };
        let rosters = parsed.as_ref().map_or(&[][..], |bundle| &bundle.roster);
        Untrusted { message, first_roster: seen(rosters.first()), last_roster: seen(rosters.last()) }
    })?;
    let mut ledger = Ledger::default();
    let parsed = ledger.check(CheckName::Bundle, || match parsed {
        Ok(bundle) => Ok((bundle, "strict JSON, all fields known".to_owned())),
        Err(error) => Err(failed(error)),
    });
    Ok(verify_parsed(ledger, &parsed, &pinned, options))
}

/// The checks whose result a lone bundle may leave open.
const MAY_BE_OPEN: [CheckName; 5] = [
    CheckName::Permissions,
    CheckName::Sandbox,
    CheckName::KeysStillRostered,
    CheckName::SealInForce,
    CheckName::Witnesses,
];

fn verify_parsed(mut ledger: Ledger, bundle: &Got<Bundle>, pinned: &Pinned, options: Options) -> BundleReport {
    use CheckName as C;

    let bundle = by_ref(bundle);
    let chain = ledger.check(C::RosterChain, || {
        let chain = Chain::connect(pinned, &bundle?.roster).map_err(failed)?;
        let detail = format!(
            "version {} ({}) is connected with the trusted {}",
            chain.last().version(),
            chain.last().digest(),
            pinned.digest()
        );
        Ok((chain, detail))
    });
    let chain = by_ref(&chain);

    // What is signed by the boundary. The last roster of the bundle gives the keys, and `roster-in-seal` then
    // establishes that it is the one that the seal names.
    let receipt = check_document::<Receipt>(&mut ledger, C::ReceiptDocument, bundle.map(|bundle| &bundle.receipt));
    let consumption =
        check_document::<Consumption>(&mut ledger, C::ConsumptionDocument, bundle.map(|bundle| &bundle.consumption));
    let seal = check_document::<Seal>(&mut ledger, C::SealDocument, bundle.map(|bundle| &bundle.seal));
    let receipt_read = by_ref(&receipt).map(|_| ());
    let consumption_read = by_ref(&consumption).map(|_| ());
    let seal_read = by_ref(&seal).map(|_| ());
    let seal = ledger.check(C::SealSignature, || verify_seal(seal?, chain?.last()));
    let sealed = ledger.check(C::RosterInSeal, || check_roster_in_seal(seal?, chain?.last()));
    let sealed = by_ref(&sealed);
    let consumption = ledger.check(C::ConsumptionSignature, || verify_by_boundary(consumption?, sealed?));
    let consumption = by_ref(&consumption);
    let receipt = ledger.check(C::ReceiptSignature, || {
        let (receipt, detail) = verify_by_boundary(receipt?, sealed?)?;
        let said = receipt.predicate().boundary.keyid;
        ensure(receipt.signatures().iter().all(|signature| signature.keyid == said), || {
            format!("the receipt says that {said} signs it, another key did")
        })?;
        Ok((receipt, detail))
    });
    let receipt = by_ref(&receipt);

    // The log.
    let log = ledger.check(C::Checkpoint, || check_checkpoint(bundle?, sealed?));
    let log = by_ref(&log);
    let receipt_at = ledger.check(C::ReceiptIncluded, || {
        receipt_read?;
        check_included(&bundle?.receipt, &log?.receipt, log?)
    });
    let consumption_at = ledger.check(C::ConsumptionIncluded, || {
        consumption_read?;
        check_included(&bundle?.consumption, &log?.consumption, log?)
    });
    let seal_at = ledger.check(C::SealIncluded, || {
        seal_read?;
        check_included(&bundle?.seal, &log?.seal, log?)
    });
    let _order = ledger.check(C::LogOrder, || {
        let (seal_at, consumption_at, receipt_at) = (seal_at?, consumption_at?, receipt_at?);
        ensure(seal_at < consumption_at && consumption_at < receipt_at, || {
            format!("seal {seal_at}, consumption {consumption_at}, receipt {receipt_at}: expected them in this order")
        })?;
        let seal = sealed?.seal.predicate();
        ensure((seal.number == 0) == (seal_at == 0), || {
            format!("seal number {} is entry {seal_at}: number 0 begins the log, and only it", seal.number)
        })?;
        ensure(seal.at <= consumption?.predicate().at, || "the consumption is older than its seal".to_owned())?;
        Ok(((), format!("seal {seal_at}, consumption {consumption_at}, receipt {receipt_at}")))
    });

    // What approvers signed. It becomes readable when every signature on it verifies.
    let authorization = check_document::<Authorization>(
        &mut ledger,
        C::AuthorizationDocument,
        receipt.map(|receipt| &receipt.predicate().authorization),
    );
    let authorization_read = by_ref(&authorization).map(|_| ());
    let authorization =
        ledger.check(C::AuthorizationSignatures, || verify_authorization(authorization?, sealed?.roster));
    let authorization = by_ref(&authorization);

    let _place = ledger.check(C::Boundary, || {
        let sealed = sealed?;
        let seal = sealed.seal.predicate();
        let _place = check_place(&authorization?.predicate().boundary, &seal.boundary.name, &sealed.id, &seal.epoch)
            .map_err(failed)?;
        let said = &receipt?.predicate().boundary;
        ensure(said.name == seal.boundary.name && said.id == sealed.id, || {
            format!("the receipt is of {} ({})", said.name, said.id)
        })?;
        Ok(((), format!("{} ({}), epoch {}", seal.boundary.name, sealed.id, seal.epoch)))
    });
    let in_force =
        ledger.check(C::Seal, || check_seal(bundle?, sealed?, consumption?.predicate(), receipt?.predicate()));
    let _spent = ledger.check(C::Consumption, || {
        check_consumption(bundle?, log?, consumption?.predicate(), receipt?.predicate(), authorization?)
    });

    // The decision, again, by the same functions that the boundary calls.
    let step = ledger.check(C::Step, || {
        let step = HashedStep::parse(&bundle?.step).map_err(failed)?;
        let _sealed = check_step(authorization?.predicate(), Some(&step)).map_err(failed)?;
        let detail = format!("{} is {}", step.definition().reference, step.digest());
        Ok((step, detail))
    });
    let step = by_ref(&step);
    let _registered = ledger.check(C::StepInRegistry, || check_registered(bundle?, sealed?.seal.predicate()));
    let _fit = ledger.check(C::Parameters, || {
        let schema = ParameterSchema::compile(&step?.definition().params)
            .map_err(|flaws| failed(ParametersError::Schema(flaws)))?;
        let fit = check_parameters(authorization?.predicate(), &schema).map_err(failed)?;
        Ok(((), format!("complete and valid, {}", fit.params().digest())))
    });
    let rules = ledger.check(C::Quorum, || {
        in_force?;
        read_rules(bundle?, step?)
    });
    let rules = by_ref(&rules);
    let excluded =
        ledger.check(C::Excluded, || check_excluded(authorization?.predicate(), receipt?.predicate(), sealed?.roster));
    let excluded = by_ref(&excluded);
    let count = ledger.check(C::AuthorizationSignatures, || {
        let count = quorum::count(
            authorization?.signatures(),
            sealed?.roster,
            excluded?,
            &rules?.rules,
            consumption?.predicate().at,
        );
        check_each_counts(count)
    });
    let count = by_ref(&count);
    let nobody_excluded = ledger.check(C::Excluded, || {
        let signed: Vec<_> = count?
            .uncounted()
            .iter()
            .filter(|signature| signature.why == NotCounted::Excluded)
            .map(ToString::to_string)
            .collect();
        ensure(signed.is_empty(), || signed.join("; "))?;
        let names: Vec<_> = excluded?.names().iter().map(ToString::to_string).collect();
        Ok(((), format!("none of {} signed", names.join(", "))))
    });
    let met = ledger.check(C::Quorum, || {
        nobody_excluded?;
        check_quorum(&rules?.rules, count?, receipt?.predicate())
    });
    let _window = ledger.check(C::Window, || {
        let at = consumption?.predicate().at;
        let signed = authorization?.predicate();
        let _within = check_window(signed, at, None).map_err(failed)?;
        if let Some(now) = options.at {
            let last = at.max(receipt?.predicate().finished_at);
            ensure(last <= now.plus(SKEW_S), || {
                format!("the receipt is of {last}, it is {now} now; set the clocks right")
            })?;
        }
        Ok(((), format!("spent at {at}, valid from {} until {}", signed.not_before, signed.expires_at)))
    });
    let _permissions = ledger.check(C::Permissions, || check_asked(rules?, authorization?.predicate()));
    let _sandbox = ledger.check(C::Sandbox, || check_sandbox(authorization?.predicate(), receipt?.predicate()));

    // How it ended.
    let _outcome = ledger.check(C::Outcome, || check_outcome(receipt?.predicate(), consumption?.predicate()));
    let _subjects = ledger.check(C::ReceiptSubjects, || {
        authorization_read?;
        check_subjects(receipt?)
    });

    // What a bundle alone can't settle.
    let _rostered = ledger.check(C::KeysStillRostered, || {
        let _met = met?;
        check_still_rostered(chain?, sealed?, receipt?, count?)
    });
    let _in_force = ledger.check::<()>(C::SealInForce, || {
        sealed?;
        Err(Stop::NotChecked("only the whole log can tell: `countersign audit`".to_owned()))
    });
    let _witnesses = ledger.check(C::Witnesses, || {
        let named = sealed?.roster.tables().witness.len();
        if named == 0 {
            Ok(((), "the roster names none".to_owned()))
        } else {
            Err(Stop::NotChecked(format!("the roster names {named}, this version does not look at their signatures")))
        }
    });

    let facts = match (receipt, sealed) {
        (Ok(receipt), Ok(sealed)) => {
            Some(Box::new(facts::collect(receipt, sealed.roster, consumption.ok(), authorization.ok(), count.ok())))
        }
        _ => None,
    };
    let mut warnings = Vec::new();
    if chain.is_ok_and(|chain| !chain.last().is_guarded()) {
        warnings.push("the roster is unguarded (threshold 0): whoever runs the boundary can replace it".to_owned());
    }
    let checks = ledger.into_checks();
    let verified = checks.iter().all(|check| match check.finding {
        Finding::Established => true,
        Finding::NotChecked => MAY_BE_OPEN.contains(&check.name),
        Finding::Failed => false,
    });
    BundleReport { verified, checks, facts, boundary_says: facts::boundary_says(), warnings }
}

/// The seal in force, its roster, and the boundary's id that follows from it.
struct Sealed<'a> {
    seal: Verified<Seal>,
    digest: SealDigest,
    id: SealDigest,
    roster: &'a TrustedRoster,
}

/// The three proofs and their one checkpoint.
struct LogProofs {
    checkpoint: Checkpoint,
    receipt: TlogProof,
    consumption: TlogProof,
    seal: TlogProof,
}

/// What policy says of the step.
struct InForce {
    ruling: Ruling,
    rules: Rules,
    /// Policy or built-ins hold rules that this version can't decide.
    undecidable: bool,
}

fn by_ref<T>(got: &Got<T>) -> Got<&T> {
    got.as_ref().map_err(|name| *name)
}

fn check_document<P: Predicate>(ledger: &mut Ledger, name: CheckName, envelope: Got<&Envelope>) -> Got<Signed<P>> {
    ledger.check(name, || {
        let signed = Signed::<P>::from_envelope(envelope?, Base64::Strict).map_err(failed)?;
        let _complete = signed.check_document().map_err(failed)?;
        Ok((signed, format!("a complete {}, canonical", P::KIND)))
    })
}

fn verify_seal(seal: Signed<Seal>, roster: &TrustedRoster) -> Result<(Verified<Seal>, String), Stop> {
    ensure(seal.signature_count() == 1, || {
        format!("{} signatures, expected the boundary's one", seal.signature_count())
    })?;
    let any_boundary = |keyid: &_| match roster.signer(keyid) {
        Some((Holder::Boundary(_), key)) => Some(key),
        _ => None,
    };
    let seal = seal.verify(any_boundary).map_err(failed)?;
    // Which boundary's key it has to be is known only now: the one whose name the seal carries.
    let name = &seal.predicate().boundary.name;
    let of_that_name = seal.signatures().iter().all(|signature| roster.boundary_key(name, &signature.keyid).is_some());
    ensure(of_that_name, || format!("not signed by a key of boundary {name}"))?;
    let detail = format!("by boundary {name}");
    Ok((seal, detail))
}

fn check_roster_in_seal<'a>(seal: Verified<Seal>, roster: &'a TrustedRoster) -> Result<(Sealed<'a>, String), Stop> {
    let stated = seal.predicate();
    ensure(stated.roster == roster.digest(), || {
        format!("the seal names roster {}, the last one of the bundle is {}", stated.roster, roster.digest())
    })?;
    let mut keys: Vec<_> =
        roster.boundary_keys(&stated.boundary.name).iter().map(crate::crypto::sshsig::SshKey::keyid).collect();
    keys.sort();
    ensure(stated.keys == keys, || {
        format!("the keys in the seal are not those that the roster gives boundary {}", stated.boundary.name)
    })?;
    let digest = SealDigest::from_bytes(seal.digest());
    // `number` 0 and no id go together, as the document's check holds: then this is the genesis seal.
    let id = stated.boundary.id.unwrap_or(digest);
    let detail = format!("version {}, {} boundary key(s)", roster.version(), keys.len());
    Ok((Sealed { seal, digest, id, roster }, detail))
}

fn verify_by_boundary<P: Predicate>(signed: Signed<P>, sealed: &Sealed<'_>) -> Result<(Verified<P>, String), Stop> {
    ensure(signed.signature_count() == 1, || {
        format!("{} signatures, expected the boundary's one", signed.signature_count())
    })?;
    let name = &sealed.seal.predicate().boundary.name;
    let verified = signed.verify(|keyid| sealed.roster.boundary_key(name, keyid)).map_err(failed)?;
    Ok((verified, format!("by boundary {name}")))
}

fn check_checkpoint(bundle: &Bundle, sealed: &Sealed<'_>) -> Result<(LogProofs, String), Stop> {
    let proof = |name: &str, text: &str| TlogProof::parse(text).map_err(|error| failed(format!("{name}: {error}")));
    let receipt = proof("receipt", &bundle.proofs.receipt)?;
    let consumption = proof("consumption", &bundle.proofs.consumption)?;
    let seal = proof("seal", &bundle.proofs.seal)?;
    ensure(receipt.checkpoint == consumption.checkpoint && receipt.checkpoint == seal.checkpoint, || {
        "the three proofs carry different checkpoints".to_owned()
    })?;
    let signed = Note::parse(&receipt.checkpoint).map_err(failed)?;
    let name = &sealed.seal.predicate().boundary.name;
    let origin = checkpoint::origin(name, &sealed.id);
    // Every line of a known key must hold; at least one must be there.
    let mut text = None;
    for key in sealed.roster.boundary_keys(name) {
        match note::verify_note(&signed, &origin, key.public()) {
            Ok(verified) => text = Some(verified.as_str()),
            Err(note::NoteError::NotSignedBy(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let text = text.ok_or_else(|| {
        failed(format!("the checkpoint is not signed for the log {origin} by a key of boundary {name}"))
    })?;
    let checkpoint = Checkpoint::parse(text).map_err(failed)?;
    ensure(checkpoint.origin == origin, || {
        format!("a checkpoint of the log {}, expected {origin}", checkpoint.origin)
    })?;
    let detail = format!("{origin}, {} entries", checkpoint.size);
    Ok((LogProofs { checkpoint, receipt, consumption, seal }, detail))
}

fn check_included(envelope: &Envelope, proof: &TlogProof, log: &LogProofs) -> Result<(u64, String), Stop> {
    let leaf = leaf_of(envelope)?;
    let _included =
        merkle::verify_inclusion(&leaf, proof.index, log.checkpoint.size, &proof.hashes, &log.checkpoint.root)
            .map_err(failed)?;
    Ok((proof.index, format!("entry {} of {}", proof.index, log.checkpoint.size)))
}

/// RFC 6962 hash of an envelope's leaf, its canonical JSON.
fn leaf_of(envelope: &Envelope) -> Result<Hash, Stop> {
    canonical::canonical_of(envelope).map(|data| merkle::leaf_hash(&data)).map_err(failed)
}

fn verify_authorization(
    signed: Signed<Authorization>,
    roster: &TrustedRoster,
) -> Result<(Verified<Authorization>, String), Stop> {
    let claimed: Vec<_> = signed.claimed().copied().collect();
    ensure(claimed.is_sorted_by(|before, after| before < after), || {
        "the signatures are not sorted by key id, or a key stands twice".to_owned()
    })?;
    let verified = signed.verify(|keyid| roster.approver_of(keyid).map(|(_, key)| key)).map_err(failed)?;
    let detail = format!("{} verify", claimed.len());
    Ok((verified, detail))
}

fn check_seal(
    bundle: &Bundle,
    sealed: &Sealed<'_>,
    consumption: &Consumption,
    receipt: &Receipt,
) -> Result<((), String), Stop> {
    let seal = sealed.seal.predicate();
    let policy = PolicyDigest::of(&canonical::to_canonical(&bundle.policy));
    let builtins = BlobDigest::of(&canonical::to_canonical(&bundle.builtins));
    for (same, what) in [
        (seal.policy == policy, "the policy in the bundle is not the sealed one"),
        (seal.builtins == builtins, "the built-in lists in the bundle are not the sealed ones"),
        (sealed.roster.policy() == policy, "the roster was made for another policy"),
        (receipt.decision.policy == policy, "the receipt names another policy"),
        (consumption.seal == sealed.digest, "the consumption names another seal"),
        (receipt.seal == sealed.digest, "the receipt names another seal"),
    ] {
        ensure(same, || what.to_owned())?;
    }
    Ok(((), format!("number {}, {}, policy {policy}", seal.number, sealed.digest)))
}

fn check_consumption(
    bundle: &Bundle,
    log: &LogProofs,
    consumption: &Consumption,
    receipt: &Receipt,
    authorization: &Verified<Authorization>,
) -> Result<((), String), Stop> {
    let named = &receipt.consumption;
    let leaf = LeafHash::from_bytes(leaf_of(&bundle.consumption)?);
    ensure(named.leaf == leaf, || format!("the receipt names the leaf {}, the consumption's is {leaf}", named.leaf))?;
    ensure(named.index == log.consumption.index, || {
        format!("the receipt names entry {}, the consumption is entry {}", named.index, log.consumption.index)
    })?;
    let item = usize::try_from(named.item).ok().and_then(|item| consumption.spent.get(item));
    let item = item.ok_or_else(|| failed(format!("the consumption has no item {}", named.item)))?;
    let signed = authorization.predicate();
    ensure(item.authorization == authorization_digest(authorization.payload()), || {
        format!("item {} spends another authorization", named.item)
    })?;
    ensure(item.nonce == signed.nonce, || format!("item {} spends another nonce", named.item))?;
    ensure(item.expires_at == signed.expires_at, || format!("item {} gives another end of validity", named.item))?;
    Ok(((), format!("item {} of entry {}, nonce {}", named.item, named.index, item.nonce)))
}

fn check_registered(bundle: &Bundle, seal: &Seal) -> Result<((), String), Stop> {
    let reference = bundle.step.get("ref").and_then(Value::as_str).and_then(|text| text.parse::<StepRef>().ok());
    let reference = reference.ok_or_else(|| failed("the step has no ref"))?;
    let leaf = RegistryLeaf { digest: StepDigest::of(&canonical::to_canonical(&bundle.step)), reference };
    let leaf = merkle::leaf_hash(&canonical::canonical_of(&leaf).map_err(failed)?);
    let proof = &bundle.step_proof;
    let hashes: Option<Vec<Hash>> = proof.hashes.iter().map(|hash| unhex32(hash)).collect();
    let hashes = hashes.ok_or_else(|| failed("a hash of the step's proof is not 64 lower-case hex digits"))?;
    let _included = merkle::verify_inclusion(&leaf, proof.index, proof.size, &hashes, seal.registry_root.as_bytes())
        .map_err(failed)?;
    Ok(((), format!("step {} of {} under {}", proof.index, proof.size, seal.registry_root)))
}

fn read_rules(bundle: &Bundle, step: &HashedStep) -> Result<(InForce, String), Stop> {
    let policy = Policy::from_sealed(&bundle.policy).map_err(|errors| {
        failed(format!(
            "the policy can't be read: {}",
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        ))
    })?;
    let definition = step.definition();
    let ruling = policy::resolve(&policy, &definition.reference);
    let rules = Rules::combine(ruling.approvals.as_ref().map(|approvals| &approvals.value), &definition.approvals)
        .map_err(failed)?;
    // Built-in lists of this version are empty but for their version.
    let lists = bundle.builtins.as_object().is_some_and(|lists| lists.keys().any(|key| key != "version"));
    Ok((InForce { ruling, rules, undecidable: policy.has_rules() || lists }, String::new()))
}

fn check_excluded(
    signed: &Authorization,
    receipt: &Receipt,
    roster: &TrustedRoster,
) -> Result<(Excluded, String), Stop> {
    let decision = &receipt.decision;
    let known = exclusion::judge(&signed.proposer, &decision.handed_in_by, Tokens::Unknown, roster).map_err(failed)?;
    // Owners of tokens are the boundary's word; whom the bundle itself shows must be among those it names.
    let left_out: Vec<_> =
        known.names().iter().filter(|name| !decision.excluded.contains(name)).map(ToString::to_string).collect();
    ensure(left_out.is_empty(), || format!("the receipt does not exclude {}", left_out.join(", ")))?;
    Ok((known.with(&decision.excluded), String::new()))
}

/// A boundary embeds only signatures that count, so any other one shows that it does not do what it should.
fn check_each_counts(count: Count) -> Result<(Count, String), Stop> {
    let others: Vec<_> = count
        .uncounted()
        .iter()
        .filter(|signature| signature.why != NotCounted::Excluded)
        .map(ToString::to_string)
        .collect();
    ensure(others.is_empty(), || others.join("; "))?;
    let names: Vec<_> = count.counted().iter().map(|person| person.name.to_string()).collect();
    Ok((count, format!("of {}", names.join(", "))))
}

fn check_quorum(rules: &Rules, count: &Count, receipt: &Receipt) -> Result<(QuorumMet, String), Stop> {
    let met = quorum::decide(rules, count).map_err(failed)?;
    let decision = &receipt.decision;
    ensure(decision.approvers == met.approvers(), || {
        "the receipt names other approvers than those who count".to_owned()
    })?;
    ensure(decision.groups == met.groups(), || {
        "the receipt names other groups than those who count are for".to_owned()
    })?;
    let list = |names: Vec<String>| names.join(", ");
    let detail = format!(
        "{} for {}",
        list(met.approvers().iter().map(ToString::to_string).collect()),
        list(met.groups().iter().map(ToString::to_string).collect())
    );
    Ok((met, detail))
}

fn check_asked(rules: &InForce, signed: &Authorization) -> Result<((), String), Stop> {
    let _covered = check_permissions(&rules.ruling, &[], &signed.permissions).map_err(failed)?;
    if rules.undecidable {
        return Err(Stop::NotChecked(
            "policy or built-ins hold rules about commands, files or environment, which this version can't evaluate"
                .to_owned(),
        ));
    }
    Ok(((), "policy lets the step run and asks nothing".to_owned()))
}

fn check_sandbox(signed: &Authorization, receipt: &Receipt) -> Result<((), String), Stop> {
    let held = &receipt.sandbox;
    if matches!(receipt.outcome.status, Status::NotStarted | Status::Unknown) {
        return Err(Stop::NotChecked(format!("the outcome is {}", receipt.outcome.status)));
    }
    let words = |layers: Vec<&crate::record::profile::Layer>| {
        layers.iter().map(|layer| layer.word()).collect::<Vec<_>>().join(", ")
    };
    let lacking: Vec<_> = signed.sandbox.require.iter().filter(|layer| !held.layers.contains(layer)).collect();
    ensure(lacking.is_empty(), || format!("required and not held: {}", words(lacking)))?;
    let both: Vec<_> = held.missing.iter().filter(|layer| held.layers.contains(layer)).collect();
    ensure(both.is_empty(), || format!("said to be both held and missing: {}", words(both)))?;
    if signed.sandbox.require.is_empty() {
        return Ok(((), "no layer was required".to_owned()));
    }
    Ok(((), format!("held: {}", words(signed.sandbox.require.iter().collect()))))
}

fn check_outcome(receipt: &Receipt, consumption: &Consumption) -> Result<((), String), Stop> {
    receipt.outcome.check().map_err(failed)?;
    ensure(consumption.at <= receipt.started_at, || {
        format!("started at {}, before its nonce was spent at {}", receipt.started_at, consumption.at)
    })?;
    ensure(receipt.started_at <= receipt.finished_at, || "finished before it started".to_owned())?;
    let unknown = receipt.outcome.status == Status::Unknown;
    ensure(!unknown || receipt.started_at == receipt.finished_at, || {
        "an unknown run has one time, that of recovery".to_owned()
    })?;
    Ok(((), receipt.outcome.status.to_string()))
}

/// The other subjects equal their twins, as the document's check holds; here the twins are held against what they count.
fn check_subjects(receipt: &Verified<Receipt>) -> Result<((), String), Stop> {
    let subjects = &receipt.statement().subject;
    let receipt = receipt.predicate();
    let _named = receipt.check_authorization_subject(subjects).map_err(failed)?;
    let (nothing, none) = (Stream::empty(), Files::none());
    for (name, stream) in [("stdout", &receipt.output.stdout), ("stderr", &receipt.output.stderr)] {
        let is_empty = stream.sha256 == nothing.sha256 && stream.blake3 == nothing.blake3;
        ensure((stream.recorded == 0) == is_empty, || {
            format!("{name} has {} recorded bytes and the digests of something else", stream.recorded)
        })?;
    }
    let files = &receipt.files;
    ensure((files.count == 0) == (files.manifest == none.manifest), || {
        "the manifest is not one of that many files".to_owned()
    })?;
    ensure(files.count > 0 || files.bytes == 0, || "bytes of no files".to_owned())?;
    Ok((
        (),
        format!(
            "{} and {} bytes recorded, {} files",
            receipt.output.stdout.recorded, receipt.output.stderr.recorded, files.count
        ),
    ))
}

/// A key that is gone from the newest roster may have been withdrawn before this run: only the log can tell.
fn check_still_rostered(
    chain: &Chain,
    sealed: &Sealed<'_>,
    receipt: &Verified<Receipt>,
    count: &Count,
) -> Result<((), String), Stop> {
    let newest = chain.newest();
    let name = &sealed.seal.predicate().boundary.name;
    let mut gone: Vec<String> = receipt
        .signatures()
        .iter()
        .chain(sealed.seal.signatures())
        .filter(|signature| newest.boundary_key(name, &signature.keyid).is_none())
        .map(|signature| format!("{} of boundary {name}", signature.keyid))
        .collect();
    gone.extend(
        count
            .counted()
            .iter()
            .filter(|person| newest.approver_of(&person.keyid).is_none_or(|(approver, _)| approver.name != person.name))
            .map(|person| format!("{} of {}", person.keyid, person.name)),
    );
    gone.dedup();
    if gone.is_empty() {
        Ok(((), format!("in version {}, the newest known", newest.version())))
    } else {
        Err(Stop::NotChecked(format!(
            "no longer in version {}: {}; only the log can tell whether that was before",
            newest.version(),
            gone.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/golden")
    }

    fn trust(named: &str) -> Trust {
        named.parse().map_or_else(|_| Trust::Roster(std::fs::read(golden().join(named)).expect(named)), Trust::Digest)
    }

    fn report(file: &str, roster: &str) -> BundleReport {
        let bundle = std::fs::read(golden().join(file)).expect(file);
        verify(&bundle, &trust(roster), Options::default()).expect("a trusted roster")
    }

    #[test]
    fn every_valid_golden_bundle_is_verified() {
        for (file, roster) in [
            ("valid/bundle.json", "valid/roster.json"),
            ("valid/bundle-sshsig.json", "valid/roster.json"),
            ("valid/bundle-sk.json", "valid/roster-sk.json"),
            ("valid/bundle-roster-2.json", "valid/roster.json"),
        ] {
            let report = report(file, roster);
            assert!(report.verified, "{file}: {:#?}", report.checks);
        }
    }

    #[test]
    fn every_refused_golden_bundle_fails_at_the_check_that_its_index_names() {
        let index = std::fs::read(golden().join("refused/index.json")).expect("index");
        let index: Vec<Value> = serde_json::from_slice(&index).expect("index");
        assert!(index.len() > 50, "{}", index.len());
        let mut wrong = Vec::new();
        for entry in index {
            let text = |field: &str| entry[field].as_str().expect(field);
            let report = report(text("file"), text("roster"));
            assert!(!report.verified, "{}", text("file"));
            let mut failed: Vec<_> = report.failed().map(|check| check.name.word()).collect();
            let mut expected = vec![text("expect")];
            expected.extend(entry["also"].as_array().expect("also").iter().filter_map(Value::as_str));
            failed.sort_unstable();
            expected.sort_unstable();
            if failed != expected {
                wrong.push(format!(
                    "{}: expected {expected:?}, got {:?}",
                    text("file"),
                    report.failed().collect::<Vec<_>>()
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
