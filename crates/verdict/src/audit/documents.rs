//! Checks the signatures of a bundle's documents and their inclusion in the log.

use crate::{
    Chain, CheckStop, Checked, KeyHolder, TrustedRoster,
    audit::check_ledger::{ensure, failed},
};
use documents::{
    Authorization, Base64, BoundaryRef, Bundle, Checkpoint, Consumption, Envelope, Hash, Note,
    Predicate, Receipt, SIGNATURE_BYTES, Seal, SealDigest, Signed, Spent, SshKey, StatementKey,
    TlogProof, Verified, VerifiedSignature, canonical, checkpoint, merkle,
    note::{self, NoteError},
};

/// Seal in force, with its roster and the boundary's id.
pub struct SealedRoster<'a> {
    pub seal: Verified<Seal>,
    pub digest: SealDigest,
    pub boundary: BoundaryRef,
    pub roster: &'a TrustedRoster,
}

/// Inclusion proofs of the receipt, the authorization, the consumption and the seal in one checkpoint.
pub struct LogProofs {
    pub checkpoint: Checkpoint,
    /// Signed note of the checkpoint, with all its signatures.
    pub note: Note,
    pub receipt: TlogProof,
    pub authorization: TlogProof,
    pub consumption: TlogProof,
    pub seal: TlogProof,
}

pub fn check_document<P: Predicate>(envelope: &Envelope) -> Checked<Signed<P>> {
    let signed = Signed::<P>::from_envelope(envelope, Base64::Strict)?;
    let _complete = signed.check_document()?;
    Ok((signed, format!("a complete {}, canonical", P::KIND)))
}

/// Refuses a document of the boundary unless the document has exactly one signature.
pub fn check_lone_signature<P: Predicate>(signed: &Signed<P>) -> Result<(), CheckStop> {
    let found = signed.signature_count();
    ensure(found == 1, || {
        format!("found {found} signatures, expected only the signature of the boundary")
    })
}

pub fn verify_seal(seal: Signed<Seal>, roster: &TrustedRoster) -> Checked<Verified<Seal>> {
    check_lone_signature(&seal)?;
    let any_boundary = |keyid: &_| match roster.signer(keyid) {
        Some((KeyHolder::Boundary(_), key)) => Some(key),
        _ => None,
    };
    let seal = seal.verify_raw(any_boundary)?;
    // The payload contains the boundary's name, so the name is read only after the signature is verified. The signing
    // key must belong to the boundary with this name.
    let name = &seal.predicate().boundary.name;
    let of_that_name = seal
        .keyids()
        .all(|keyid| roster.boundary_key(name, keyid).is_some());
    ensure(of_that_name, || {
        format!("the seal is not signed by a key of boundary {name}")
    })?;
    let detail = format!("by boundary {name}");
    Ok((seal, detail))
}

pub fn check_roster_in_seal<'a>(
    seal: Verified<Seal>,
    chain: &'a Chain,
) -> Checked<SealedRoster<'a>> {
    let (stated, roster) = (seal.predicate(), chain.last());
    ensure(stated.roster == roster.digest(), || {
        format!(
            "the seal names roster {}, but the last roster in the bundle is {}",
            stated.roster,
            roster.digest()
        )
    })?;
    let keys = roster.boundary_keyids(&stated.boundary.name);
    ensure(stated.keys == keys, || {
        format!(
            "the keys in the seal differ from the keys of boundary {} in the roster",
            stated.boundary.name
        )
    })?;
    let digest = SealDigest::from_bytes(seal.digest());
    // The parser of the seal ensures that only the genesis seal (number 0) contains no boundary id. The digest of the
    // genesis seal is the boundary's id.
    let boundary = BoundaryRef {
        name: stated.boundary.name.clone(),
        id: stated.boundary.id.unwrap_or(digest),
        epoch: stated.epoch.clone(),
    };
    let detail = format!(
        "version {}, {} boundary key(s)",
        roster.version(),
        keys.len()
    );
    Ok((
        SealedRoster {
            seal,
            digest,
            boundary,
            roster,
        },
        detail,
    ))
}

pub fn verify_by_boundary<P: Predicate>(
    signed: Signed<P>,
    sealed: &SealedRoster<'_>,
) -> Checked<Verified<P>> {
    check_lone_signature(&signed)?;
    let name = &sealed.boundary.name;
    let verified = signed.verify_raw(|keyid| sealed.roster.boundary_key(name, keyid))?;
    Ok((verified, format!("by boundary {name}")))
}

pub fn check_checkpoint(bundle: &Bundle, sealed: &SealedRoster<'_>) -> Checked<LogProofs> {
    let proof = |name: &str, text: &str| {
        TlogProof::parse(text).map_err(|error| failed(format!("{name}: {error}")))
    };
    let receipt = proof("receipt", &bundle.proofs.receipt)?;
    let authorization = proof("authorization", &bundle.proofs.authorization)?;
    let consumption = proof("consumption", &bundle.proofs.consumption)?;
    let seal = proof("seal", &bundle.proofs.seal)?;
    let others = [&authorization, &consumption, &seal];
    ensure(
        others
            .iter()
            .all(|proof| proof.checkpoint == receipt.checkpoint),
        || "the four proofs contain different checkpoints",
    )?;
    let signed = Note::parse(&receipt.checkpoint)?;
    let name = &sealed.boundary.name;
    let origin = checkpoint::origin(name, &sealed.boundary.id);
    let text = signed_text(&signed, &origin, sealed.roster.boundary_keys(name))?;
    let text = text.ok_or_else(|| {
        failed(format!(
            "the checkpoint of the log {origin} has no signature by a key of boundary {name}"
        ))
    })?;
    let checkpoint = Checkpoint::parse(text)?;
    ensure(checkpoint.origin == origin, || {
        format!(
            "the checkpoint belongs to the log {}, not to the log {origin}",
            checkpoint.origin
        )
    })?;
    let detail = format!("{origin}, {} entries", checkpoint.size);
    Ok((
        LogProofs {
            checkpoint,
            note: signed,
            receipt,
            authorization,
            consumption,
            seal,
        },
        detail,
    ))
}

pub fn check_included(envelope: &Envelope, proof: &TlogProof, log: &LogProofs) -> Checked<u64> {
    let leaf = leaf_of(envelope)?;
    let _included = merkle::verify_inclusion(
        &leaf,
        proof.index,
        log.checkpoint.size,
        &proof.hashes,
        &log.checkpoint.root,
    )?;
    Ok((
        proof.index,
        format!("entry {} of {}", proof.index, log.checkpoint.size),
    ))
}

/// Returns the RFC 6962 leaf hash of an envelope's canonical JSON.
pub fn leaf_of(envelope: &Envelope) -> Result<Hash, CheckStop> {
    Ok(merkle::leaf_hash(&canonical::canonical_of(envelope)?))
}

/// Returns the text of a note if one of the keys signed the note. Each signature by one of the keys must be valid.
pub fn signed_text<'n>(
    note: &'n Note,
    origin: &str,
    keys: &[SshKey],
) -> Result<Option<&'n str>, NoteError> {
    let mut text = None;
    for key in keys {
        match note::verify_note(note, origin, key.public()) {
            Ok(verified) => text = Some(verified.as_str()),
            Err(NoteError::NotSignedBy(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(text)
}

/// Returns the item of the consumption that the receipt names.
pub fn item<'c>(receipt: &Receipt, consumption: &'c Consumption) -> Option<&'c Spent> {
    consumption
        .spent
        .get(usize::try_from(receipt.consumption.item).ok()?)
}

pub fn verify_authorization(
    signed: Signed<Authorization>,
    roster: &TrustedRoster,
) -> Checked<Verified<Authorization>> {
    let claimed: Vec<_> = signed.claimed().copied().collect();
    ensure(
        claimed.is_sorted_by(|before, after| before < after),
        || "the signatures are not sorted by key id, or a key occurs twice",
    )?;
    let verified = signed.verify(|keyid| match roster.statement_signer(keyid)? {
        (KeyHolder::Approver(_), key) => Some(key),
        (KeyHolder::Proposer(_) | KeyHolder::Boundary(_), key @ StatementKey::Ssh(_)) => Some(key),
        _ => None,
    })?;
    let authorization = verified.predicate();
    for VerifiedSignature { keyid, sig, .. } in verified.signatures() {
        let holder = roster.statement_signer(keyid).map(|(holder, _)| holder);
        let fits = match (holder, &authorization.grant, &authorization.by) {
            (Some(KeyHolder::Approver(_)), None, None) => true,
            (Some(KeyHolder::Proposer(name)), Some(_), None) => *name == authorization.proposer,
            (Some(KeyHolder::Boundary(name)), Some(_), Some(_)) => {
                *name == authorization.boundary.name && sig.len() == SIGNATURE_BYTES
            }
            _ => false,
        };
        ensure(fits, || match authorization.grant {
            Some(_) if authorization.by.is_some() => {
                format!(
                    "only a raw signature by a key of the boundary counts, and this one is by {keyid}"
                )
            }
            Some(_) => {
                format!(
                    "the key {keyid} is no key of the proposer {}, who uses a grant",
                    authorization.proposer
                )
            }
            None => format!("the key {keyid} is no key of an approver"),
        })?;
    }
    let detail = format!("{} verify", claimed.len());
    Ok((verified, detail))
}
