//! Checks before a start with a new boundary key.
//!
//! While a seal is in force, a new document counts only if a key in this seal's roster signed it. Therefore a start
//! with a new key is refused if work is open that only the old key can sign: an interrupted run without a receipt, or a
//! receipt that no checkpoint covers. A service that ended by SIGTERM leaves no open work.

use std::collections::HashMap;

use crate::node::config::Config;
use crate::node::file_problem::FileProblem;
use crate::store::ledger::Ledger;
use documents::crypto::digest::SealDigest;
use documents::crypto::json;
use documents::crypto::note::{self, Note};
use documents::record::document::Statement;
use documents::record::envelope::{Base64, Envelope};
use documents::record::kinds::LeafKind;
use documents::record::receipt::Receipt;
use documents::record::seal::Seal;
use judgement::trust::chain::Chain;
use judgement::trust::signer::{FileSigner, Signer as _};

#[derive(Debug)]
#[must_use]
pub(super) struct KeyHandoverChecked(());

/// Checks that no open work needs an earlier key of the boundary.
pub(super) fn check(
    config: &Config,
    ledger: &Ledger,
    sealed: &Chain,
    key: &FileSigner,
) -> Result<KeyHandoverChecked, FileProblem> {
    let keyid = key.key().keyid();
    if sealed.versions().iter().all(|roster| roster.boundary_key(&config.name, &keyid).is_some()) {
        // All rosters of the log list this key, so no other key is needed.
        return Ok(KeyHandoverChecked(()));
    }
    let unreadable = |error: &dyn std::fmt::Display| FileProblem::of_store(&config.database, error);
    let mut seals = Seals { ledger, known: HashMap::new() };
    let before = |what: String| {
        FileProblem::whole(
            &config.key,
            format!(
                "the key {keyid} can't sign open work of the previous key: {what}; start the service once more with \
                 the previous key, end the service with SIGTERM, then change the key"
            ),
        )
    };
    let mut open = 0;
    for run in ledger.unfinished().map_err(|error| unreadable(&error))? {
        let keys = seals.keys(run.seal).map_err(|error| unreadable(&error))?;
        open += usize::from(!keys.contains(&keyid));
    }
    if open > 0 {
        return Err(before(format!("the receipts of {open} interrupted runs")));
    }
    let recorded = ledger.recorded_checkpoint().map_err(|error| unreadable(&error))?;
    let origin = ledger.origin().unwrap_or_default();
    let by_this_key = recorded.as_ref().is_some_and(|row| {
        Note::parse(&row.note).is_ok_and(|note| note::verify_note(&note, &origin, key.key().public()).is_ok())
    });
    if by_this_key {
        return Ok(KeyHandoverChecked(()));
    }
    // This range is usually empty, because a service records a checkpoint over the whole log when it ends.
    for index in recorded.map_or(0, |row| row.size)..ledger.state().size {
        let leaf = ledger.leaf(index).map_err(|error| unreadable(&error))?;
        let Some(leaf) = leaf.filter(|leaf| leaf.kind == LeafKind::Receipt) else { continue };
        let receipt = read::<Receipt>(&leaf.data).map_err(|error| unreadable(&error))?;
        let keys = seals.keys(receipt.seal).map_err(|error| unreadable(&error))?;
        if !keys.contains(&keyid) {
            return Err(before(format!("a checkpoint over the receipt in log entry {index}")));
        }
    }
    Ok(KeyHandoverChecked(()))
}

/// Cache of the boundary's keys in the roster of each seal.
struct Seals<'a> {
    ledger: &'a Ledger,
    known: HashMap<SealDigest, Vec<documents::crypto::key_id::KeyId>>,
}

impl Seals<'_> {
    fn keys(&mut self, digest: SealDigest) -> Result<&[documents::crypto::key_id::KeyId], String> {
        if !self.known.contains_key(&digest) {
            let seals = self.ledger.seals().map_err(|error| error.to_string())?;
            let entry = seals.iter().find(|entry| entry.digest == digest);
            let index = entry.ok_or_else(|| format!("the seal {digest} is not in the log: restore a backup"))?.index;
            let leaf = self.ledger.leaf(index).map_err(|error| error.to_string())?;
            let leaf = leaf.ok_or_else(|| format!("log entry {index} is missing: restore a backup"))?;
            self.known.insert(digest, read::<Seal>(&leaf.data)?.keys);
        }
        Ok(&self.known[&digest])
    }
}

fn read<P: documents::record::document::Predicate>(data: &[u8]) -> Result<P, String> {
    let envelope: Envelope = json::parse_as(data, data.len()).map_err(|error| error.to_string())?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload).map_err(|error| error.to_string())?;
    Statement::<P>::from_payload(&payload).map(|statement| statement.predicate).map_err(|error| error.to_string())
}
